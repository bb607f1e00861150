/* What llama.cpp's converter does to less simple models: llama3's rope scaling becomes a table, GPT-OSS's experts
 * become gate and up. The files are those of golden/same; tests/reference/same.c shows that they are the same models as
 * the safetensors. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/expect.h"
#include "tests/support/scratch.h"

#define GPT_OSS LOCKSTEP_SOURCE_DIR "/golden/same/gpt-oss-bf16.gguf"
#define LLAMA3 LOCKSTEP_SOURCE_DIR "/golden/same/llama3-rope-bf16.gguf"

SCRATCH_FILE_FIXTURE("model.gguf")

static uint8_t file[1 << 20];
static size_t n_file;

static void read_file(const char *name)
{
    n_file = scratch_read(name, file, sizeof(file));
}

/* Overwrites the only occurrence of some bytes. */
static void replace(const void *from, const void *to, size_t n)
{
    uint8_t *at = memmem(file, n_file, from, n);
    assert_non_null(at);
    assert_null(memmem(at + 1, n_file - (size_t)(at + 1 - file), from, n));
    memcpy(at, to, n);
}

static void opens_gpt_oss(void **state)
{
    (void)state;
    struct model model;
    expect_opens(&model, GPT_OSS, "gpt-oss");
    assert_string_equal(model.config.family->name, "gpt_oss");
    assert_true(model.config.n_experts == 5 && model.config.top_k == 2 && model.config.ffn == 32);
    assert_true(model.config.swiglu_limit == 7 && model.config.swiglu_alpha == 1.702f);
    assert_true(model.config.attention_bias && model.config.mlp_bias && model.config.sliding_window == 4);
    assert_true(model.config.layer_is_local[0] && !model.config.layer_is_local[1] && model.config.layer_is_local[2]);
    const struct rope *rope = &model.config.rope_global;
    assert_true(rope->type == ROPE_TYPE_YARN && rope->factor == 8 && rope->original == 32 && !rope->truncate);
    assert_true(rope->low == 1 && rope->high == 16 && rope->scale > 1);
    const struct tensor *experts = model_tensor(&model, "model.layers.2.mlp.experts.gate_up_proj");
    assert_non_null(experts);
    assert_int_equal(experts->dtype, DTYPE_MXFP4);
    assert_true(experts->shape[0] == 5 && experts->shape[1] == 64 && experts->shape[2] == 64);
    assert_null(model_tensor(&model, "model.layers.2.mlp.experts.up_proj"));
    assert_int_equal(model.n_notes, 1);
    assert_true(has_note(&model, "YaRN's range is not truncated"));
    model_close(&model);
}

static void refuses_spoiled_gpt_oss(void **state)
{
    (void)state;
    static const struct {
        const char *find, *becomes, *field, *text;
    } rows[] = {
        {"blk.1.ffn_up_exps.weight", "blk.1.ffn_uq_exps.weight", "model.layers.1.mlp.experts.gate_up_proj",
         "no such tensor"},
        {"blk.2.ffn_gate_exps.bias", "blk.2.ffn_gate_exqs.bias", "model.layers.2.mlp.experts.gate_up_proj_bias",
         "no such tensor"},
        {"blk.0.attn_sinks.weight", "blk.0.attn_sinkz.weight", "model.layers.0.self_attn.sinks", "no such tensor"},
        {"blk.0.ffn_down_exps.bias", "blk.0.ffn_down_exqs.bias", "experts.down_proj_bias", "no such tensor"},
        {"blk.1.ffn_gate_inp.weight", "blk.1.ffn_gate_ino.weight", "mlp.router.weight", "no such tensor"},
        {"gpt-oss.expert_count", "gpt-oss.expert_counx", "gpt-oss.expert_count", "missing"},
        {"gpt-oss.expert_used_count", "gpt-oss.expert_used_counx", "gpt-oss.expert_used_count", "missing"},
        {"gpt-oss.expert_feed_forward_length", "gpt-oss.expert_feed_forward_lengtx",
         "gpt-oss.expert_feed_forward_length", "missing"},
        {"original_context_length", "original_context_lengtx", "original_context_length", "missing"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        read_file(GPT_OSS);
        replace(rows[i].find, rows[i].becomes, strlen(rows[i].find));
        scratch_write(path, file, n_file);
        expect_refused(path, rows[i].becomes, NULL, rows[i].field, rows[i].text);
    }
}

/* A router in Q8_0 runs and is noted. */
static void notes_a_quantised_router(void **state)
{
    (void)state;
    static const char name[] = "blk.1.ffn_gate_inp.weight";
    struct model model;
    read_file(GPT_OSS);
    uint8_t *at = memmem(file, n_file, name, strlen(name));
    assert_non_null(at);
    at[strlen(name) + 4 + 2 * 8] = 8; /* the type, after the number of dims and the dims */
    scratch_write(path, file, n_file);
    expect_opens(&model, path, "router");
    assert_true(has_note(&model, "blk.1.ffn_gate_inp.weight is Q8_0: a quantised router"));
    model_close(&model);
}

/* With any byte before the weights changed, the file opens or is refused in one line. */
static void survives_changed_bytes(void **state)
{
    (void)state;
    static const char *const names[] = {GPT_OSS, LLAMA3};
    static const uint8_t changes[] = {1, 0x80, 0xff};
    for (int k = 0; k < 2; k++) {
        struct model model;
        size_t n_opened = 0, n = 0;
        expect_opens(&model, names[k], "healthy");
        uint64_t end = UINT64_MAX;
        for (uint32_t i = 0; i < model.n_tensors; i++) {
            end = model.tensors[i].offset < end ? model.tensors[i].offset : end;
        }
        model_close(&model);
        read_file(names[k]);
        scratch_write(path, file, n_file);
        for (size_t at = 24; at < end; at += 7, n++) {
            scratch_patch(path, at, file[at] ^ changes[n % 3]);
            n_opened += expect_no_crash(path);
            scratch_patch(path, at, file[at]);
        }
        assert_in_range(n_opened, 1, n - 1);
    }
}

/* Returns the table in the file. */
static float *table(void)
{
    static const float begin[] = {1, 1}; /* divisors of the two highest frequencies */
    read_file(LLAMA3);
    uint8_t *at = memmem(file, n_file, begin, sizeof(begin));
    assert_non_null(at);
    assert_int_equal((at - file) % 4, 0);
    return (float *)(void *)at;
}

static void opens_llama3(void **state)
{
    (void)state;
    struct model model;
    expect_opens(&model, LLAMA3, "llama3");
    const struct rope *rope = &model.config.rope_global;
    assert_true(rope->type == ROPE_TYPE_LLAMA3 && rope->factor == 8 && rope->low == 1 && rope->high == 4);
    assert_true(rope->original == 128);
    assert_null(model_tensor(&model, "rope_freqs.weight"));
    assert_int_equal(model.n_notes, 0);
    model_close(&model);
    float *divisors =
        table(); /* as another machine's pow gives it: one unit in the last place, between the two borders */
    int between = 0;
    for (int i = 0; i < 7; i++) {
        if (divisors[i] != 1 && divisors[i] != 8) {
            divisors[i] = nextafterf(divisors[i], 8);
            between++;
        }
    }
    assert_true(between > 0);
    scratch_write(path, file, n_file);
    expect_opens(&model, path, "a rounding apart");
    model_close(&model);
}

/* A table other than llama3's: no frequency may be off by more than rounding. */
static void refuses_other_tables(void **state)
{
    (void)state;
    static const float wrong[] = {1.00001f, 0, -1, NAN, INFINITY, 8.1f};
    for (int i = 0; i < 7; i++) {
        for (size_t k = 0; k < sizeof(wrong) / sizeof(wrong[0]); k++) {
            float *divisors = table();
            divisors[i] *= wrong[k];
            scratch_write(path, file, n_file);
            expect_refused(path, "table", "rope_freqs.weight @", "llama3's scaling does not make", NULL);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(opens_gpt_oss, set_up, tear_down),
        cmocka_unit_test_setup_teardown(refuses_spoiled_gpt_oss, set_up, tear_down),
        cmocka_unit_test_setup_teardown(notes_a_quantised_router, set_up, tear_down),
        cmocka_unit_test_setup_teardown(survives_changed_bytes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(opens_llama3, set_up, tear_down),
        cmocka_unit_test_setup_teardown(refuses_other_tables, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
