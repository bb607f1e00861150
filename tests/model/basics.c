/* Errors, arenas, and the tables of stages, ops, dtypes and families. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <string.h>

#include "model/arena.h"
#include "model/error.h"
#include "model/family.h"
#include "model/ops.h"
#include "model/stages.h"
#include "model/tensor.h"

static void writes_one_line(void **state)
{
    (void)state;
    struct error err;
    assert_int_equal(error_set(&err, STATUS_BAD_INPUT, "a.gguf", "version", 4, "%d, expected %d", 2, 3),
                     STATUS_BAD_INPUT);
    assert_int_equal(err.status, STATUS_BAD_INPUT);
    assert_string_equal(err.text, "a.gguf: version @4: 2, expected 3");
    error_set(&err, STATUS_IO, "a.h5", NULL, ERROR_NO_OFFSET, "disk full");
    assert_string_equal(err.text, "a.h5: disk full");
    error_set(&err, STATUS_IO, "a.h5", "/tokens", ERROR_NO_OFFSET, "missing");
    assert_string_equal(err.text, "a.h5: /tokens: missing");
    error_set(&err, STATUS_IO, "a.h5", NULL, 0, "cut");
    assert_string_equal(err.text, "a.h5: @0: cut");
    error_set(&err, STATUS_USAGE, NULL, NULL, ERROR_NO_OFFSET, "no");
    assert_string_equal(err.text, "no");
    error_set(&err, STATUS_BAD_INPUT, "a\nb", "c\033[31m", ERROR_NO_OFFSET, "d\r\te\177 \xc3\xa9");
    assert_string_equal(err.text, "a?b: c?[31m: d??e? \xc3\xa9"); /* UTF-8 is kept */
    assert_int_equal(error_set(NULL, STATUS_ABSENT, "x", "y", 1, "z"), STATUS_ABSENT);
}

static void cuts_what_is_too_long(void **state)
{
    (void)state;
    static char name[5000];
    struct error err;
    memset(name, 'n', sizeof(name) - 1);
    error_set(&err, STATUS_BAD_INPUT, name, name, 7, "%s", name);
    assert_int_equal(strlen(err.text), sizeof(err.text) - 1);
    error_set(&err, STATUS_BAD_INPUT, "short", NULL, ERROR_NO_OFFSET, "%s", name);
    assert_int_equal(strlen(err.text), sizeof(err.text) - 1);
}

static void arena_gives_zeroed_memory(void **state)
{
    (void)state;
    struct arena arena = {0};
    unsigned char *last = NULL;
    for (size_t size = 1; size < 300000; size = size * 3 + 1) {
        unsigned char *bytes = arena_alloc(&arena, size);
        assert_int_equal((uintptr_t)bytes % 16, 0);
        for (size_t i = 0; i < size; i++) {
            assert_int_equal(bytes[i], 0);
        }
        memset(bytes, 0xff, size);
        assert_ptr_not_equal(bytes, last);
        last = bytes;
    }
    assert_string_equal(arena_printf(&arena, "%s.%d", "blk", 3), "blk.3");
    assert_string_equal(arena_strndup(&arena, "abcdef", 3), "abc");
    arena_free(&arena);
    assert_null(arena.blocks);
}

static void stages_keep_their_names_and_order(void **state)
{
    (void)state;
    static const char *const names[] = {"embed",     "attn_norm",  "q_proj",         "k_proj",      "v_proj",
                                        "q_norm",    "k_norm",     "q_rope",         "k_rope",      "attn_probs",
                                        "attn_out",  "o_proj",     "post_attn_norm", "attn_resid",  "ffn_norm",
                                        "ffn_gate",  "ffn_up",     "ffn_act",        "ffn_down",    "post_ffn_norm",
                                        "layer_out", "final_norm", "logits",         "logits_final"};
    enum stage last = STAGE_embed;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]);
         i++) { /* stages of the file format; other stages may lie between them */
        enum stage stage = stage_by_name(names[i]);
        assert_int_not_equal(stage, STAGE_COUNT);
        assert_true(i == 0 || stage > last);
        assert_string_equal(stage_name(stage), names[i]);
        assert_true(strlen(stage_what(stage)) > 0);
        last = stage;
    }
    assert_int_equal(stage_by_name("attn_nrom"), STAGE_COUNT);
    assert_int_equal(stage_by_name(""), STAGE_COUNT);
    assert_true(stage_in_layer(STAGE_layer_out) && stage_in_layer(STAGE_attn_norm));
    assert_false(stage_in_layer(STAGE_embed) || stage_in_layer(STAGE_final_norm));
    assert_false(stage_in_layer(STAGE_logits) || stage_in_layer(STAGE_logits_final));
}

static void dtypes_are_ggmls(void **state)
{
    (void)state;
    static const struct {
        uint32_t dtype;
        const char *name;
        uint32_t elems, bytes, gguf;
    } rows[] = {
        {DTYPE_F32, "F32", 1, 4, 0},         {DTYPE_F16, "F16", 1, 2, 1},        {DTYPE_BF16, "BF16", 1, 2, 30},
        {DTYPE_Q4_0, "Q4_0", 32, 18, 2},     {DTYPE_Q4_1, "Q4_1", 32, 20, 3},    {DTYPE_Q8_0, "Q8_0", 32, 34, 8},
        {DTYPE_Q5_0, "Q5_0", 32, 22, 6},     {DTYPE_Q5_1, "Q5_1", 32, 24, 7},    {DTYPE_Q4_K, "Q4_K", 256, 144, 12},
        {DTYPE_Q5_K, "Q5_K", 256, 176, 13},  {DTYPE_Q6_K, "Q6_K", 256, 210, 14}, {DTYPE_MXFP4, "MXFP4", 32, 17, 39},
        {DTYPE_IQ4_NL, "IQ4_NL", 32, 18, 20}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const struct dtype_info *info = dtype_info(rows[i].dtype);
        assert_string_equal(info->name, rows[i].name);
        assert_int_equal(info->block_elems, rows[i].elems);
        assert_int_equal(info->block_bytes, rows[i].bytes);
        assert_int_equal(info->gguf_type, rows[i].gguf);
    }
    struct tensor tensor = {.dtype = DTYPE_Q4_1, .n_dims = 3, .shape = {2, 3, 64}};
    assert_int_equal(tensor_rows(&tensor), 6);
    assert_int_equal(tensor_row_elems(&tensor), 64);
    assert_int_equal(tensor_row_bytes(&tensor), 40);
}

static void families_are_found(void **state)
{
    (void)state;
    char types[256], small[10];
    assert_string_equal(family_by_model_type("llama")->name, "llama");
    assert_string_equal(family_by_model_type("gemma3")->name, "gemma3");
    assert_ptr_equal(family_by_model_type("gemma3_text"), family_by_gguf("gemma3"));
    assert_null(family_by_model_type("gemma3_textual"));
    assert_null(family_by_gguf("mamba"));
    family_list_types(types, sizeof(types));
    assert_non_null(strstr(types, "llama, gemma2, gemma3_text, gemma3, gpt_oss"));
    family_list_types(small, sizeof(small));
    assert_string_equal(small, "llama");
}

static void ops_have_names(void **state)
{
    (void)state;
    for (int op = 0; op < OP_COUNT; op++) {
        const struct op_info *info = op_info((enum op)op);
        assert_true(strlen(info->name) > 0 && strlen(info->what) > 0);
        assert_true(info->n_inputs <= OP_MAX_INPUTS && info->n_weights <= OP_MAX_WEIGHTS);
    }
    assert_string_equal(op_info(OP_attention)->name, "attention");
    assert_int_equal(op_info(OP_attention)->n_inputs, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writes_one_line),
        cmocka_unit_test(cuts_what_is_too_long),
        cmocka_unit_test(arena_gives_zeroed_memory),
        cmocka_unit_test(stages_keep_their_names_and_order),
        cmocka_unit_test(dtypes_are_ggmls),
        cmocka_unit_test(families_are_found),
        cmocka_unit_test(ops_have_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
