/* Models whose parts contradict each other: every command that opens one ends with status 3 and one line that says what
 * is wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/support/folder_doc.h"
#include "tests/support/gguf_doc.h"
#include "tests/support/program.h"
#include "tests/support/scratch.h"

SCRATCH_FIXTURE

/* The program must refuse the model: 3, one line with the text, nothing on standard output. */
static void expect_refusal(const char *path, const char *text)
{
    const char *const info[] = {"info", path, NULL}, *const trace[] = {"trace",     path, "--ids",     "1", "--on",
                                                                       "reference", "-o", "/dev/null", NULL};
    const char *const *const lines[] = {info, trace};
    for (int i = 0; i < 2; i++) {
        struct outcome outcome;
        program_run(&outcome, LOCKSTEP_PROGRAM, "", lines[i]);
        if (outcome.status != 3 || !strstr(outcome.err, text)) {
            print_message("expected \"%s\", got %d: %s\n", text, outcome.status, outcome.err);
        }
        assert_int_equal(outcome.status, 3);
        expect_one_line(outcome.err, text);
        assert_string_equal(outcome.out, "");
        outcome_free(&outcome);
    }
}

#define NORM "\"model.layers.1.post_feedforward_layernorm.weight\""

/* Edits of a healthy Gemma 3 folder: a replacement in config.json, a replacement in the header, or an added tensor. */
static const struct {
    const char *config, *config_becomes, *header, *header_becomes, *tensor, *shape, *text;
    uint64_t n;
} rows[] = {
    {.header = NORM,
     .header_becomes = "\"model.layers.1.mlp.spare\"",
     .text = "post_feedforward_layernorm.weight: no such tensor"},
    {.tensor = "model.layers.2.post_norm.weight", .shape = "[32]", .n = 32, .text = "post_norm.weight @"},
    {.tensor = "model.layers.2.self_attn.q_proj.bias", .shape = "[32]", .n = 32, .text = "attention_bias is false"},
    {.tensor = "model.layers.0.self_attn.sinks", .shape = "[2]", .n = 2, .text = "sinks @"},
    {.config = "\"num_hidden_layers\": 3",
     .config_becomes = "\"attention_bias\": true, \"num_hidden_layers\": 3",
     .text = "q_proj.bias: no such tensor"},
    {.config = "\"intermediate_size\": 48",
     .config_becomes = "\"intermediate_size\": 64",
     .text = "[48, 32], expected [64, 32] (intermediate_size"},
    {.config = "\"num_key_value_heads\": 1",
     .config_becomes = "\"num_key_value_heads\": 2",
     .text = "expected [32, 32] (num_key_value_heads"},
    {.config = "\"head_dim\": 16",
     .config_becomes = "\"head_dim\": 8",
     .text = "expected [16, 32] (num_attention_heads * head_dim"},
    {.config = "\"vocab_size\": 40",
     .config_becomes = "\"vocab_size\": 41",
     .text = "[40, 32], expected [41, 32] (vocab_size"},
    {.config = "\"gelu_pytorch_tanh\"", .config_becomes = "\"mish\"", .text = "hidden_activation: \"mish\""},
    {.config = "\"rope_type\": \"default\"", .config_becomes = "\"rope_type\": \"spiral\"", .text = "\"spiral\""},
    {.config = "\"bos_token_id\": 2",
     .config_becomes = "\"tie_word_embeddings\": false, \"bos_token_id\": 2",
     .text = "lm_head.weight: no such tensor"},
    {.config = "\"sliding_attention\", \"sliding_attention\"",
     .config_becomes = "\"sliding_attention\"",
     .text = "layer_types"},
    {.header = NORM, .header_becomes = "\"model.norm.weight\"", .text = "duplicate"},
    {.config = "\"num_hidden_layers\": 3", .config_becomes = "\"num_hidden_layers\": 4", .text = "layer_types"},
};

static void folders(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        static struct folder_doc doc;
        folder_doc_gemma3(&doc);
        if (rows[i].config) {
            text_replace(doc.config, sizeof(doc.config), rows[i].config, rows[i].config_becomes);
        }
        if (rows[i].header) {
            text_replace(doc.header, sizeof(doc.header), rows[i].header, rows[i].header_becomes);
        }
        if (rows[i].tensor) {
            folder_doc_add(&doc, rows[i].tensor, "F32", rows[i].shape, rows[i].n);
        }
        folder_doc_write(&doc, folder);
        expect_refusal(folder, rows[i].text);
        folder_doc_free(&doc);
    }
}

static void indexes(void **state)
{
    (void)state;
    static const struct {
        const char *index, *text;
    } spoiled[] = {
        {"{\"weight_map\": {\"model.norm.weight\": \"model-00002-of-00002.safetensors\"}}", "is missing in the folder"},
        {"{\"weight_map\": {\"model.norm.weight\": \"../model.safetensors\"}}",
         "../model.safetensors, expected the name"},
    };
    static struct folder_doc doc;
    char path[512];
    folder_doc_gemma3(&doc);
    folder_doc_write(&doc, folder);
    for (size_t i = 0; i < sizeof(spoiled) / sizeof(spoiled[0]); i++) {
        scratch_write(scratch_path(path, folder, "model.safetensors.index.json"), spoiled[i].index,
                      strlen(spoiled[i].index));
        expect_refusal(folder, spoiled[i].text);
    }
    unlink(path);
    folder_doc_write_weights(&doc, scratch_path(path, folder, "second.safetensors"));
    expect_refusal(folder, "a second tensor of this name");
    folder_doc_free(&doc);
}

static void ggufs(void **state)
{
    (void)state;
    static struct gguf_doc doc;
    char path[512];
    scratch_path(path, folder, "model.gguf");
    for (int i = 0; i < 3; i++) {
        gguf_doc_gemma3(&doc);
        if (i == 0) {
            gguf_doc_remove_tensor(&doc, "blk.3.post_ffw_norm.weight");
        } else if (i == 1) {
            gguf_doc_u32(&doc, "gemma3.feed_forward_length", 96);
        } else {
            gguf_doc_tensor(&doc, "blk.0.attn_norm.weight")->type = 8; /* a norm in Q8_0 */
        }
        size_t n_header;
        struct buffer bytes = gguf_doc_bytes(&doc, &n_header);
        scratch_write(path, bytes.bytes, bytes.size);
        expect_refusal(path, i == 0   ? "post_feedforward_layernorm.weight: no such tensor"
                             : i == 1 ? "expected [96, 32]"
                                      : "F32, F16 or BF16");
        buffer_free(&bytes);
        gguf_doc_free(&doc);
    }
}

/* GPT-OSS's config says that a module is not quantised (the router, or the experts), but the file holds it packed. */
static void packed_routers(void **state)
{
    (void)state;
    static const char plain[] = "router.weight\":{\"dtype\":\"BF16\",\"shape\":[5,64]",
                      packed[] = "router_blocks\":{\"dtype\":\"U8\",\"shape\":[5,128] ";
    static const struct {
        const char *module;
        bool pack;
        const char *text;
    } cases[] = {
        {"model.layers.*.mlp.router", true, "model.layers.0.mlp.router_blocks @"},
        {"model.layers.*.mlp.router", true, "modules_to_not_convert excludes model.layers.*.mlp.router"},
        {"lm_head", true, "blocks without their scales"},
        {"mlp.experts.down_proj", false, "mlp.experts.down_proj_blocks @"},
    };
    static char bytes[256 * 1024];
    static const char *const files[] = {"model.safetensors", "config.json"};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        for (int k = 0; k < 2; k++) {
            char path[512];
            scratch_path(path, LOCKSTEP_SOURCE_DIR "/golden/same/gpt-oss-bf16", files[k]);
            size_t n = scratch_read(path, bytes, sizeof(bytes));
            if (k == 0 && cases[i].pack) {
                assert_int_equal(strlen(plain), strlen(packed));
                memcpy(memmem(bytes, n, plain, strlen(plain)), packed, strlen(packed));
            } else if (k == 1) {
                text_replace(bytes, sizeof(bytes), "lm_head", cases[i].module);
                n = strlen(bytes);
            }
            scratch_write(scratch_path(path, folder, files[k]), bytes, n);
        }
        expect_refusal(folder, cases[i].text);
    }
}

#define SAME LOCKSTEP_SOURCE_DIR "/golden/same/llama-q4_k-rdrr"

/* The source's config says that a module is not quantised, but its matrices are in Q4_K. */
static void excluded_modules(void **state)
{
    (void)state;
    static char bytes[256 * 1024];
    static const struct {
        const char *modules, *text;
    } lists[] = {
        {"model.layers.*.mlp.up_proj", "up_proj.weight @"},
        {"k_proj", "k_proj.weight @"},
        {"model.layers.1.mlp", "model.layers.1.mlp."},
        {"lm_head", NULL},
        {"mlp.up", NULL}, /* plain floats; no such module */
    };
    char path[512], edit[256];
    static const char *const files[] = {"shard_00000.bin", "manifest.json"};
    for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
        for (int k = 0; k < 2; k++) {
            size_t n = scratch_read(scratch_path(path, SAME, files[k]), bytes, sizeof(bytes));
            snprintf(edit, sizeof(edit),
                     "\"config\": {\"quantization_config\": {\"modules_to_not_convert\": [\"%s\"]},", lists[i].modules);
            if (k == 1) {
                text_replace(bytes, sizeof(bytes), "\"config\": {", edit);
                n = strlen(bytes);
            }
            scratch_write(scratch_path(path, folder, files[k]), bytes, n);
        }
        if (lists[i].text) {
            expect_refusal(folder, lists[i].text);
            continue;
        }
        struct outcome outcome;
        program_run(&outcome, LOCKSTEP_PROGRAM, "", (const char *const[]){"info", folder, NULL});
        assert_int_equal(outcome.status, 0);
        outcome_free(&outcome);
    }
}

/* The twin: the models that are spoiled above open when they are whole. */
static void whole_models_open(void **state)
{
    (void)state;
    static struct folder_doc doc;
    struct outcome outcome;
    folder_doc_gemma3(&doc);
    folder_doc_write(&doc, folder);
    program_run(&outcome, LOCKSTEP_PROGRAM, "", (const char *const[]){"info", folder, NULL});
    assert_int_equal(outcome.status, 0);
    assert_string_equal(outcome.err, "");
    assert_non_null(strstr(outcome.out, "post_ffn_norm"));
    outcome_free(&outcome);
    folder_doc_free(&doc);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(folders, set_up, tear_down),
        cmocka_unit_test_setup_teardown(indexes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(ggufs, set_up, tear_down),
        cmocka_unit_test_setup_teardown(packed_routers, set_up, tear_down),
        cmocka_unit_test_setup_teardown(excluded_modules, set_up, tear_down),
        cmocka_unit_test_setup_teardown(whole_models_open, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
