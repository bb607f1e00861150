/* config.json: keys of transformers 5 and of earlier versions mean the same, and what cannot be computed is refused by
 * name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tests/support/expect.h"
#include "tests/support/folder_doc.h"

SCRATCH_FIXTURE

/* Edits of the healthy config: replaces up to three of its lines. */
struct edit {
    const char *find, *replace;
};

static void open_edited(struct model *model, void (*make)(struct folder_doc *), const struct edit *edits)
{
    static struct folder_doc doc;
    make(&doc);
    for (; edits->find; edits++) {
        text_replace(doc.config, sizeof(doc.config), edits->find, edits->replace);
    }
    folder_doc_write(&doc, folder);
    folder_doc_free(&doc);
    if (model) {
        expect_opens(model, folder, "edited config");
    }
}

static void reads_llama(void **state)
{
    (void)state;
    struct model model;
    open_edited(&model, folder_doc_llama, (struct edit[]){{NULL, NULL}});
    const struct config *config = &model.config;
    assert_int_equal(config->n_layers, 2);
    assert_int_equal(config->hidden, 32);
    assert_int_equal(config->n_heads, 2);
    assert_int_equal(config->n_kv_heads, 1);
    assert_int_equal(config->head_dim, 16);
    assert_int_equal(config->ffn, 48);
    assert_int_equal(config->vocab, 40);
    assert_int_equal(config->max_positions, 64);
    assert_true(config->norm_eps == 1e-5f && config->norm_offset == 0 && config->embed_scale == 1);
    assert_true(config->query_scale == 0.25f && config->attn_softcap == 0 && config->final_softcap == 0);
    assert_true(config->rope_global.theta == 50000 && config->rope_global.factor == 1);
    assert_int_equal(config->rope_global.type, ROPE_TYPE_DEFAULT);
    assert_false(config->layer_is_local[0] || config->layer_is_local[1]);
    assert_int_equal(config->bos_id, 1);
    assert_int_equal(config->pad_id, -1);
    assert_int_equal(config->n_eos_ids, 2);
    assert_int_equal(config->eos_ids[1], 3);
    model_close(&model);
}

static void reads_older_llama(void **state)
{
    (void)state;
    struct model model;
    const char *rope = "\"rope_parameters\": {\"rope_theta\": 50000.0, \"rope_type\": \"default\"}";
    open_edited(
        &model, folder_doc_llama,
        (struct edit[]){{rope, "\"rope_theta\": 50000, \"rope_scaling\": {\"type\": \"linear\", \"factor\": 2.0}"},
                        {"\"head_dim\": 16,\n", ""},
                        {"\"pad_token_id\": null", "\"pad_token_id\": 40"},
                        {NULL, NULL}});
    assert_int_equal(model.config.head_dim, 16); /* hidden / heads */
    assert_true(model.config.rope_global.theta == 50000 && model.config.rope_global.factor == 2);
    assert_int_equal(model.config.rope_global.type, ROPE_TYPE_LINEAR);
    assert_int_equal(model.config.pad_id, -1);
    assert_true(has_note(&model, "pad token 40"));
    model_close(&model);
    open_edited(&model, folder_doc_llama, (struct edit[]){{rope, "\"rope_scaling\": null"}, {NULL, NULL}});
    assert_true(model.config.rope_global.theta == 10000);
    assert_true(has_note(&model, "rope_theta is missing"));
    model_close(&model);
}

static void reads_gemma3(void **state)
{
    (void)state;
    struct model model;
    open_edited(&model, folder_doc_gemma3, (struct edit[]){{NULL, NULL}});
    const struct config *config = &model.config;
    assert_string_equal(config->model_type, "gemma3_text");
    assert_true(config->norm_offset == 1 && config->query_scale == 0.125f); /* query_pre_attn_scalar, not head_dim */
    assert_true(config->embed_scale == (float)sqrt(32.0));
    assert_true(config->rope_global.theta == 1000000 && config->rope_local.theta == 10000);
    assert_true(config->layer_is_local[0] && config->layer_is_local[1] && !config->layer_is_local[2]);
    assert_int_equal(config->sliding_window, 5);
    assert_int_equal(config->activation, ACTIVATION_GELU_TANH);
    assert_true(config->tied_embeddings); /* by default */
    model_close(&model);
}

#define LAYER_TYPES "\"layer_types\": [\"sliding_attention\", \"sliding_attention\", \"full_attention\"],\n"
#define GEMMA_ROPE                                                                                         \
    "\"rope_parameters\": {\"full_attention\": {\"rope_theta\": 1000000.0, \"rope_type\": \"default\"},\n" \
    " \"sliding_attention\": {\"rope_theta\": 10000.0, \"rope_type\": \"default\"}}"

static void reads_older_gemma3(void **state)
{
    (void)state;
    struct model model;
    open_edited(&model, folder_doc_gemma3,
                (struct edit[]){{LAYER_TYPES, "\"sliding_window_pattern\": 3,\n"},
                                {GEMMA_ROPE, "\"rope_theta\": 2000000.0, \"rope_local_base_freq\": 20000.0, "
                                             "\"rope_scaling\": {\"rope_type\": \"linear\", \"factor\": 8.0}"},
                                {"\"attn_logit_softcapping\": null", "\"attn_logit_softcapping\": 50.0"},
                                {"\"final_logit_softcapping\": null", "\"final_logit_softcapping\": 30.0"},
                                {NULL, NULL}});
    const struct config *config = &model.config;
    assert_true(config->layer_is_local[0] && config->layer_is_local[1] && !config->layer_is_local[2]);
    assert_true(config->rope_global.theta == 2000000 && config->rope_global.factor == 8);
    assert_true(config->rope_local.theta == 20000 &&
                config->rope_local.factor == 1); /* scaling applies to the global rope only */
    assert_int_equal(config->rope_local.type, ROPE_TYPE_DEFAULT);
    assert_true(config->attn_softcap == 50 && config->final_softcap == 30);
    model_close(&model);
    open_edited(&model, folder_doc_gemma3, (struct edit[]){{LAYER_TYPES, ""}, {GEMMA_ROPE, "\"x\": 0"}, {NULL, NULL}});
    assert_true(model.config.layer_is_local[2]); /* every 6th layer is global: none of three */
    assert_true(model.config.rope_global.theta == 1000000 && model.config.rope_local.theta == 10000);
    assert_true(has_note(&model, "every 6. layer"));
    assert_true(has_note(&model, "rope_local_base_freq is missing"));
    model_close(&model);
}

/* A model with a vision tower: the text model's config is nested, its tensors have a prefix, and the tower's are not
 * read. */
static void reads_nested_gemma3(void **state)
{
    (void)state;
    static struct folder_doc doc;
    static char nested[8192];
    struct model model;
    folder_doc_gemma3(&doc);
    snprintf(nested, sizeof(nested), "{\"model_type\": \"gemma3\", \"eos_token_id\": [1, 3],\n\"text_config\": %s}",
             doc.config);
    text_replace(nested, sizeof(nested), "\"eos_token_id\": 1,\n", "");
    memcpy(doc.config, nested, sizeof(doc.config));
    while (strstr(doc.header, "\"model.")) {
        text_replace(doc.header, sizeof(doc.header), "\"model.", "\"language_model.model.");
    }
    folder_doc_add(&doc, "vision_tower.weight", "F32", "[4]", 4);
    folder_doc_write(&doc, folder);
    expect_opens(&model, folder, "nested");
    assert_int_equal(model.config.n_eos_ids, 2);
    assert_int_equal(model.config.n_layers, 3);
    assert_non_null(model_tensor(&model, "model.layers.2.self_attn.q_norm.weight"));
    assert_true(has_note(&model, "vision_tower.weight"));
    model_close(&model);
    folder_doc_free(&doc);
}

/* The scale is sqrt(hidden) whatever dtype the file has; a run's trace declares how it is rounded. 1152 and 640 are
 * Gemma 3's sizes. */
static void keeps_the_embedding_scale(void **state)
{
    (void)state;
    static const struct {
        const char *hidden, *dtype, *shape;
        uint64_t n;
        float scale;
    } rows[] = {
        {"1152", "BF16", "[40,1152]", 46080, 33.941125f}, {"640", "BF16", "[40,640]", 25600, 25.298221f},
        {"1152", "F16", "[40,1152]", 46080, 33.941125f},  {"640", "F16", "[40,640]", 25600, 25.298221f},
        {"1152", "F32", "[40,1152]", 46080, 33.941125f},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        static struct folder_doc doc;
        struct model model;
        char norm[64], wide[64];
        folder_doc_gemma3(&doc);
        buffer_free(&doc.data);
        snprintf(doc.header, sizeof(doc.header), "{}");
        text_replace(doc.config, sizeof(doc.config), "\"num_hidden_layers\": 3", "\"num_hidden_layers\": 1");
        text_replace(doc.config, sizeof(doc.config), LAYER_TYPES, "\"layer_types\": [\"full_attention\"],\n");
        snprintf(wide, sizeof(wide), "\"hidden_size\": %s", rows[i].hidden);
        text_replace(doc.config, sizeof(doc.config), "\"hidden_size\": 32", wide);
        folder_doc_add(&doc, "model.embed_tokens.weight", rows[i].dtype, rows[i].shape, rows[i].n);
        static const char *const matrices[][2] = {
            {"self_attn.q_proj", "[32,%s]"},        {"self_attn.k_proj", "[16,%s]"},
            {"self_attn.v_proj", "[16,%s]"},        {"self_attn.o_proj", "[%s,32]"},
            {"mlp.gate_proj", "[48,%s]"},           {"mlp.up_proj", "[48,%s]"},
            {"mlp.down_proj", "[%s,48]"},           {"input_layernorm", "[%s]"},
            {"post_attention_layernorm", "[%s]"},   {"pre_feedforward_layernorm", "[%s]"},
            {"post_feedforward_layernorm", "[%s]"},
        };
        static const uint64_t others[] = {32, 16, 16, 32, 48, 48, 48, 1, 1, 1, 1};
        for (size_t k = 0; k < 11; k++) {
            char name[128], shape[32];
            snprintf(name, sizeof(name), "model.layers.0.%s.weight", matrices[k][0]);
            snprintf(shape, sizeof(shape), matrices[k][1], rows[i].hidden);
            folder_doc_add(&doc, name, "F32", shape, others[k] * rows[i].n / 40);
        }
        folder_doc_add(&doc, "model.layers.0.self_attn.q_norm.weight", "F32", "[16]", 16);
        folder_doc_add(&doc, "model.layers.0.self_attn.k_norm.weight", "F32", "[16]", 16);
        snprintf(norm, sizeof(norm), "[%s]", rows[i].hidden);
        folder_doc_add(&doc, "model.norm.weight", "F32", norm, rows[i].n / 40);
        folder_doc_write(&doc, folder);
        expect_opens(&model, folder, rows[i].dtype);
        assert_true(model.config.embed_scale == rows[i].scale);
        model_close(&model);
        folder_doc_free(&doc);
    }
}

struct refusal {
    const char *find, *replace, *field, *text;
};

static void expect_all_refused(void (*make)(struct folder_doc *), const struct refusal *rows, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        open_edited(NULL, make, (struct edit[]){{rows[i].find, rows[i].replace}, {NULL, NULL}});
        expect_refused(folder, rows[i].replace, folder, rows[i].field, rows[i].text);
    }
}

static void refuses_spoiled_llama(void **state)
{
    (void)state;
    static const struct refusal rows[] = {
        {"{", "[", "config.json: JSON @", "expected"},
        {"\"vocab_size\": 40", "\"vocab_size\": 40, \"vocab_size\": 40", "config.json: JSON @", "duplicate"},
        {"\"model_type\": \"llama\"", "\"model_type\": \"mistral\"", "model_type", "\"mistral\", expected llama"},
        {"\"model_type\": \"llama\",", "", "model_type", "missing"},
        {"\"model_type\": \"llama\"", "\"model_type\": 3", "model_type", "3, expected llama"},
        {"\"num_hidden_layers\": 2,", "", "num_hidden_layers", "missing, expected an integer from 1"},
        {"\"hidden_size\": 32,", "", "hidden_size", "missing"},
        {"\"num_attention_heads\": 2,", "", "num_attention_heads", "missing"},
        {"\"intermediate_size\": 48,", "", "intermediate_size", "missing"},
        {"\"vocab_size\": 40,", "", "vocab_size", "missing"},
        {"\"rms_norm_eps\": 1e-05,", "", "rms_norm_eps", "missing"},
        {"\"hidden_act\": \"silu\",", "", "hidden_act", "missing"},
        {"\"num_hidden_layers\": 2", "\"num_hidden_layers\": 0", "num_hidden_layers", "0, expected"},
        {"\"num_hidden_layers\": 2", "\"num_hidden_layers\": 1000000", "num_hidden_layers", "1000000, expected"},
        {"\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3", "model.layers.2.input_layernorm.weight", "no such"},
        {"\"hidden_size\": 32", "\"hidden_size\": -32", "hidden_size", "-32, expected"},
        {"\"hidden_size\": 32", "\"hidden_size\": \"32\"", "hidden_size", "\"32\", expected"},
        {"\"hidden_size\": 32", "\"hidden_size\": 32.0", "hidden_size", "32.0, expected"},
        {"\"hidden_size\": 32", "\"hidden_size\": 48", "embed_tokens.weight @", "[40, 32], expected [40, 48]"},
        {"\"hidden_size\": 32", "\"hidden_size\": 99999999999", "hidden_size", "99999999999, expected"},
        {"\"vocab_size\": 40", "\"vocab_size\": 41", "embed_tokens.weight @", "expected [41, 32] (vocab_size"},
        {"\"intermediate_size\": 48", "\"intermediate_size\": 49", "mlp.gate_proj.weight @", "(intermediate_size"},
        {"\"num_key_value_heads\": 1", "\"num_key_value_heads\": 2", "self_attn.k_proj.weight @", "[16, 32], expected"},
        {"\"num_key_value_heads\": 1", "\"num_key_value_heads\": 3", "num_key_value_heads", "3, expected a divisor"},
        {"\"head_dim\": 16", "\"head_dim\": 15", "head_dim", "15, expected an even"},
        {"\"head_dim\": 16", "\"head_dim\": 2000000000", "num_attention_heads", "expected a product"},
        {"\"rms_norm_eps\": 1e-05", "\"rms_norm_eps\": 0", "rms_norm_eps", "0, expected a finite"},
        {"\"rms_norm_eps\": 1e-05", "\"rms_norm_eps\": 1e300", "rms_norm_eps", "expected a finite"},
        {"\"rms_norm_eps\": 1e-05", "\"rms_norm_eps\": NaN", "config.json: JSON @", "expected"},
        {"\"silu\"", "\"gelu\"", "hidden_act", "\"gelu\", expected silu or gelu_pytorch_tanh"},
        {"\"attention_bias\": false", "\"attention_bias\": true", "self_attn.q_proj.bias", "(attention_bias is true)"},
        {"\"attention_bias\": false", "\"attention_bias\": 0", "attention_bias", "0, expected true or false"},
        {"\"mlp_bias\": false", "\"mlp_bias\": true", "mlp.gate_proj.bias", "(mlp_bias is true)"},
        {"\"tie_word_embeddings\": true", "\"tie_word_embeddings\": false", "lm_head.weight",
         "(tie_word_embeddings is false)"},
        {"\"rope_type\": \"default\"", "\"rope_type\": \"llama3\", \"factor\": 8.0", "rope_parameters.low_freq_factor",
         "missing"},
        {"\"rope_type\": \"default\"", "\"rope_type\": \"yarn\"", "rope_parameters.factor", "missing"},
        {"\"rope_type\": \"default\"", "\"rope_type\": \"yarn\", \"factor\": 4", "original_max_position_embeddings",
         "missing"},
        {"\"rope_type\": \"default\"",
         "\"rope_type\": \"yarn\", \"factor\": 4, \"original_max_position_embeddings\": 64, \"truncate\": 1",
         "rope_parameters.truncate", "1, expected true or false"},
        {"\"rope_type\": \"default\"",
         "\"rope_type\": \"yarn\", \"factor\": 4, \"original_max_position_embeddings\": 64, \"beta_slow\": 40",
         "rope_parameters.beta_fast", "expected more than beta_slow"},
        {"\"rope_type\": \"default\"",
         "\"rope_type\": \"llama3\", \"factor\": 8, \"low_freq_factor\": 4, \"high_freq_factor\": 1, "
         "\"original_max_position_embeddings\": 64",
         "rope_parameters.high_freq_factor", "1, expected more than low_freq_factor"},
        {"\"rope_type\": \"default\"", "\"rope_type\": \"dynamic\"", "rope_parameters.rope_type", "\"dynamic\""},
        {"\"rope_type\": \"default\"", "\"rope_type\": \"linear\"", "rope_parameters.factor", "missing"},
        {", \"rope_type\": \"default\"", ", \"factor\": 2", "rope_parameters.rope_type", "missing"},
        {"\"rope_theta\": 50000.0", "\"rope_theta\": -1", "rope_parameters.rope_theta", "-1, expected"},
        {"\"rope_theta\": 50000.0", "\"rope_theta\": 1e4, \"partial_rotary_factor\": 0.5", "partial_rotary_factor",
         "0.5, expected 1"},
        {"\"bos_token_id\"", "\"rope_scaling\": {\"type\": \"linear\"}, \"bos_token_id\"", "rope_scaling", "beside"},
        {"\"rope_parameters\": {", "\"rope_parameters\": 3, \"x\": {", "rope_parameters", "3, expected an object"},
        {"\"bos_token_id\": 1", "\"bos_token_id\": \"1\"", "bos_token_id", "\"1\", expected a token id"},
        {"[2, 3]", "[2, 0.5]", "eos_token_id", "0.5, expected a token id"},
        {"\"bos_token_id\"", "\"layer_types\": [\"full_attention\"], \"bos_token_id\"", "layer_types",
         "num_hidden_layers names"},
        {"\"bos_token_id\"", "\"layer_types\": [\"full_attention\", \"sliding_attention\"], \"bos_token_id\"",
         "layer_types", "\"sliding_attention\", expected full_attention"},
        {"\"bos_token_id\"", "\"quantization_config\": {\"quant_method\": \"gptq\"}, \"bos_token_id\"",
         "quantization_config", "gptq"},
    };
    expect_all_refused(folder_doc_llama, rows, sizeof(rows) / sizeof(rows[0]));
}

static void refuses_spoiled_gemma3(void **state)
{
    (void)state;
    static const struct refusal rows[] = {
        {"\"query_pre_attn_scalar\": 64,", "", "query_pre_attn_scalar", "missing"},
        {"\"query_pre_attn_scalar\": 64", "\"query_pre_attn_scalar\": \"64\"", "query_pre_attn_scalar", "\"64\""},
        {"\"head_dim\": 16,", "", "head_dim", "missing"},
        {"\"hidden_activation\": \"gelu_pytorch_tanh\",", "", "hidden_activation", "missing"},
        {"\"gelu_pytorch_tanh\"", "\"relu\"", "hidden_activation", "\"relu\""},
        {"\"sliding_window\": 5,", "", "sliding_window", "missing"},
        {"\"sliding_window\": 5", "\"sliding_window\": 0", "sliding_window", "0, expected"},
        {"\"full_attention\"],", "\"chunked_attention\"],", "layer_types", "\"chunked_attention\""},
        {"\"full_attention\"],", "7],", "layer_types", "7, expected"},
        {LAYER_TYPES, "\"layer_types\": 3,", "layer_types", "3, expected an array"},
        {LAYER_TYPES, "\"sliding_window_pattern\": 0,", "sliding_window_pattern", "0, expected"},
        {"\"attn_logit_softcapping\": null", "\"attn_logit_softcapping\": -1", "attn_logit_softcapping", "-1"},
        {"\"final_logit_softcapping\": null", "\"final_logit_softcapping\": \"30\"", "final_logit_softcapping",
         "\"30\""},
        {GEMMA_ROPE, "\"rope_parameters\": {\"rope_theta\": 1e6}", "rope_parameters.full_attention", "missing"},
        {"\"sliding_attention\": {", "\"other\": {", "rope_parameters.sliding_attention", "missing"},
        {"\"bos_token_id\"", "\"use_bidirectional_attention\": true, \"bos_token_id\"", "use_bidirectional_attention",
         "true, expected false"},
        {"\"num_hidden_layers\": 3", "\"num_hidden_layers\": 2", "layer_types", "num_hidden_layers names"},
    };
    expect_all_refused(folder_doc_gemma3, rows, sizeof(rows) / sizeof(rows[0]));
}

/* A config that denies a norm whose tensor exists, or wants one that does not (postmortem 2026-01-19). */
static void refuses_what_tensors_contradict(void **state)
{
    (void)state;
    static struct folder_doc doc;
    static const struct {
        const char *name, *shape, *text;
        uint64_t n;
    } rows[] = {
        {"model.layers.1.post_feedforward_layernorm.weight", "[32]", "model_type is llama", 32},
        {"model.layers.0.self_attn.q_norm.weight", "[16]", "model_type is llama", 16},
        {"model.layers.0.self_attn.q_proj.bias", "[32]", "attention_bias is false", 32},
        {"model.layers.1.mlp.up_proj.bias", "[48]", "mlp_bias is false", 48},
        {"model.layers.1.self_attn.sinks", "[2]", "model_type is llama", 2},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        folder_doc_llama(&doc);
        folder_doc_add(&doc, rows[i].name, "F32", rows[i].shape, rows[i].n);
        folder_doc_write(&doc, folder);
        expect_refused(folder, rows[i].name, "model.safetensors", rows[i].name, rows[i].text);
        folder_doc_free(&doc);
    }
    struct model model;
    folder_doc_llama(&doc); /* harmless: rope's table of older files, a layer past the last, the tied head */
    folder_doc_add(&doc, "model.layers.0.self_attn.rotary_emb.inv_freq", "F32", "[8]", 8);
    folder_doc_add(&doc, "model.layers.2.self_attn.q_norm.weight", "F32", "[8]", 8);
    folder_doc_add(&doc, "lm_head.weight", "F32", "[40,32]", 1280);
    folder_doc_write(&doc, folder);
    expect_opens(&model, folder, "harmless tensors");
    assert_int_equal(model.n_notes, 1);
    assert_true(has_note(&model, "3 tensors that no step reads: lm_head.weight, "));
    model_close(&model);
    folder_doc_free(&doc);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(reads_llama, set_up, tear_down),
        cmocka_unit_test_setup_teardown(reads_older_llama, set_up, tear_down),
        cmocka_unit_test_setup_teardown(reads_gemma3, set_up, tear_down),
        cmocka_unit_test_setup_teardown(reads_older_gemma3, set_up, tear_down),
        cmocka_unit_test_setup_teardown(reads_nested_gemma3, set_up, tear_down),
        cmocka_unit_test_setup_teardown(keeps_the_embedding_scale, set_up, tear_down),
        cmocka_unit_test_setup_teardown(refuses_spoiled_llama, set_up, tear_down),
        cmocka_unit_test_setup_teardown(refuses_spoiled_gemma3, set_up, tear_down),
        cmocka_unit_test_setup_teardown(refuses_what_tensors_contradict, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
