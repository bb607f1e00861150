/* The GGUF reader: what a healthy file says, and that no header crashes it. gguf_spoiled.c tests how each broken file
 * is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>

#include "tests/support/expect.h"
#include "tests/support/gguf_doc.h"

SCRATCH_FILE_FIXTURE("model.gguf")

static void opens_llama(void **state)
{
    (void)state;
    struct gguf_doc doc;
    struct model model;
    gguf_doc_llama(&doc);
    gguf_doc_write(&doc, path);
    expect_opens(&model, path, "healthy llama");
    const struct config *config = &model.config;
    assert_string_equal(config->model_type, "llama");
    assert_int_equal(config->n_layers, 2);
    assert_int_equal(config->head_dim, 16);
    assert_int_equal(config->vocab, 40);
    assert_int_equal(config->max_positions, 64);
    assert_true(config->rope_global.theta == 50000 && config->norm_offset == 0 && config->embed_scale == 1);
    assert_true(config->query_scale == 0.25f && config->tied_embeddings && !config->attention_bias);
    assert_int_equal(config->activation, ACTIVATION_SILU);
    assert_int_equal(model.n_tensors, 20);
    assert_int_equal(model.n_notes, 0);
    assert_string_equal(model.weights_dtype, "Q4_1");
    const struct tensor *down = model_tensor(&model, "model.layers.1.mlp.down_proj.weight");
    assert_non_null(down);
    assert_string_equal(down->stored_name, "blk.1.ffn_down.weight");
    assert_int_equal(down->shape[0], 32); /* outermost first */
    assert_int_equal(down->shape[1], 64);
    assert_int_equal(down->n_bytes, 32 * 64 / 32 * 20);
    assert_memory_equal(down->bytes, doc.data.bytes + gguf_doc_tensor(&doc, "blk.1.ffn_down.weight")->offset,
                        down->n_bytes);
    assert_null(model_tensor(&model, "blk.1.ffn_down.weight"));
    model_close(&model);
    gguf_doc_free(&doc);
}

/* Row i of the first half of a head in transformers is row 2i in the file; row i of the second half is row 2i + 1. */
static void restores_q_and_k_rows(void **state)
{
    (void)state;
    struct gguf_doc doc;
    struct model model;
    gguf_doc_llama(&doc);
    gguf_doc_write(&doc, path);
    expect_opens(&model, path, "healthy llama");
    const struct tensor *q = model_tensor(&model, "model.layers.1.self_attn.q_proj.weight");
    const struct tensor *v = model_tensor(&model, "model.layers.1.self_attn.v_proj.weight");
    const uint8_t *stored = doc.data.bytes + gguf_doc_tensor(&doc, "blk.1.attn_q.weight")->offset;
    uint64_t row_bytes = tensor_row_bytes(q);
    assert_int_equal(row_bytes, 20);
    for (uint32_t head = 0; head < 2; head++) {
        for (uint32_t i = 0; i < 8; i++) {
            const uint8_t *first = q->bytes + (head * 16 + i) * row_bytes, *second = first + 8 * row_bytes;
            assert_memory_equal(first, stored + (head * 16 + 2 * i) * row_bytes, row_bytes);
            assert_memory_equal(second, stored + (head * 16 + 2 * i + 1) * row_bytes, row_bytes);
        }
    }
    assert_memory_not_equal(q->bytes, stored, q->n_bytes);
    assert_memory_equal(v->bytes, doc.data.bytes + gguf_doc_tensor(&doc, "blk.1.attn_v.weight")->offset, v->n_bytes);
    model_close(&model);
    gguf_doc_free(&doc);
}

static void opens_gemma3(void **state)
{
    (void)state;
    struct gguf_doc doc;
    struct model model;
    gguf_doc_gemma3(&doc);
    gguf_doc_write(&doc, path);
    expect_opens(&model, path, "healthy gemma3");
    const struct config *config = &model.config;
    assert_string_equal(config->model_type, "gemma3_text");
    assert_true(config->norm_offset == 0); /* the file's norms hold 1 + weight */
    assert_true(config->embed_scale == (float)sqrt(32.0) && config->query_scale == 0.25f);
    assert_true(config->rope_global.theta == 50000 && config->rope_local.theta == 10000);
    assert_int_equal(config->activation, ACTIVATION_GELU_TANH);
    assert_int_equal(config->sliding_window, 5);
    for (uint32_t i = 0; i < 7; i++) {
        assert_int_equal(config->layer_is_local[i], i != 5);
    }
    /* Gemma's rows are not permuted. */
    const struct tensor *q = model_tensor(&model, "model.layers.0.self_attn.q_proj.weight");
    assert_memory_equal(q->bytes, doc.data.bytes + gguf_doc_tensor(&doc, "blk.0.attn_q.weight")->offset, q->n_bytes);
    assert_string_equal(model.tokenizer.model, "llama");
    assert_int_equal(model.tokenizer.n_tokens, 5);
    assert_memory_equal(model.tokenizer.tokens[2].bytes, "<bos>", 5);
    assert_int_equal(config->bos_id, 2);
    assert_int_equal(config->n_eos_ids, 1);
    assert_int_equal(config->eos_ids[0], 1);
    model_close(&model);
    gguf_doc_free(&doc);
}

static void untied_head(struct gguf_doc *doc)
{
    gguf_doc_add(doc, "output.weight", 1, 40, 32);
}

static void all_biases(struct gguf_doc *doc)
{
    static const char *const names[] = {"attn_q", "attn_k", "attn_v", "attn_output"};
    static const uint64_t sizes[] = {32, 16, 16, 32};
    for (int i = 0; i < 8; i++) {
        char name[64];
        snprintf(name, sizeof(name), "blk.%d.%s.bias", i / 4, names[i % 4]);
        gguf_doc_add(doc, name, 0, 0, sizes[i % 4]);
    }
}

static void no_optional_keys(struct gguf_doc *doc)
{
    gguf_doc_remove(doc, "llama.vocab_size");
    gguf_doc_remove(doc, "llama.rope.dimension_count");
    gguf_doc_remove(doc, "llama.context_length");
    gguf_doc_remove(doc, "llama.rope.freq_base");
}

static void wide_count(struct gguf_doc *doc)
{
    struct gguf_doc_value *value = gguf_doc_value(doc, "llama.block_count");
    value->type = 10;
    value->bytes.size = 0;
    buffer_u64(&value->bytes, 2);
}

static void linear_rope(struct gguf_doc *doc)
{
    gguf_doc_string(doc, "llama.rope.scaling.type", "linear");
    gguf_doc_f32(doc, "llama.rope.scaling.factor", 4);
}

static void alignment_8(struct gguf_doc *doc)
{
    gguf_doc_u32(doc, "general.alignment", 8); /* 32, the alignment in use, is a multiple of 8 */
}

static void odd_extras(struct gguf_doc *doc)
{
    gguf_doc_u32(doc, "llama.no_such_key", 1);
    gguf_doc_add(doc, "extra.weight", 0, 3, 4);
}

/* Files that differ from the healthy one and are valid. */
static void opens_variations(void **state)
{
    (void)state;
    static const struct {
        const char *what;
        void (*vary)(struct gguf_doc *doc);
        const char *note;
    } variations[] = {
        {"untied head", untied_head, NULL},
        {"biases", all_biases, NULL},
        {"no optional keys", no_optional_keys, "llama.rope.freq_base"},
        {"a 64-bit count", wide_count, NULL},
        {"linear rope", linear_rope, NULL},
        {"another alignment", alignment_8, NULL},
        {"what nobody reads", odd_extras, "extra.weight"},
    };
    for (size_t i = 0; i < sizeof(variations) / sizeof(variations[0]); i++) {
        struct gguf_doc doc;
        struct model model;
        gguf_doc_llama(&doc);
        variations[i].vary(&doc);
        gguf_doc_write(&doc, path);
        expect_opens(&model, path, variations[i].what);
        assert_int_equal(model.config.tied_embeddings, i != 0);
        assert_int_equal(model.config.attention_bias, i == 1);
        assert_true(model.config.rope_global.factor == (i == 4 ? 4 : 1));
        assert_int_equal(model.config.vocab, 40);
        if (variations[i].note) {
            assert_true(has_note(&model, variations[i].note));
        } else {
            assert_int_equal(model.n_notes, 0);
        }
        assert_true(i != 6 || has_note(&model, "llama.no_such_key"));
        model_close(&model);
        gguf_doc_free(&doc);
    }
}

static void refuses_what_is_no_file(void **state)
{
    (void)state;
    char missing[512];
    scratch_path(missing, folder, "absent.gguf");
    expect_refused(missing, "missing file", "absent.gguf", "cannot be opened", NULL);
    scratch_write(path, "", 0);
    expect_refused(path, "empty file", "model.gguf", "empty", NULL);
    expect_refused("/dev/null", "device", "/dev/null", "not a regular file", NULL);
}

/* A file cut at any byte is refused. A filler value moves the cut to the end of a page, so that reading past it would
 * crash. */
static void refuses_every_truncation(void **state)
{
    (void)state;
    struct gguf_doc doc;
    size_t n_header;
    gguf_doc_llama(&doc);
    struct buffer whole = gguf_doc_bytes(&doc, &n_header);
    for (size_t cut = 24; cut < whole.size; cut += cut < n_header ? 1 : 97) {
        struct buffer file = {0};
        size_t filler = 4096 + (4096 - (cut + 8 + 1 + 4 + 8) % 4096) % 4096;
        buffer_add(&file, whole.bytes, 24);
        file.bytes[16]++; /* one more value: "f" = a string */
        buffer_u64(&file, 1);
        buffer_add(&file, "f", 1);
        buffer_u32(&file, 8);
        buffer_u64(&file, filler);
        buffer_zeros(&file, filler);
        buffer_add(&file, whole.bytes + 24, cut - 24);
        assert_int_equal(file.size % 4096, 0);
        scratch_write(path, file.bytes, file.size);
        expect_refused(path, "cut", "model.gguf", "expected", NULL);
        buffer_free(&file);
    }
    buffer_free(&whole);
    gguf_doc_free(&doc);
}

/* With any byte of the header changed, the file opens or is refused in one line. */
static void survives_every_changed_byte(void **state)
{
    (void)state;
    struct gguf_doc doc;
    size_t n_header, n_opened = 0;
    gguf_doc_llama(&doc);
    const char *text[] = {"<s>", "a"};
    gguf_doc_strings(&doc, "tokenizer.ggml.tokens", text, 2);
    struct buffer file = gguf_doc_bytes(&doc, &n_header);
    scratch_write(path, file.bytes, file.size);
    for (size_t i = 0; i < n_header; i++) {
        const uint8_t right = file.bytes[i];
        const uint8_t wrong[] = {right ^ 0x01, right ^ 0x80, 0xff, 0x00};
        for (int k = 0; k < 4; k++) {
            scratch_patch(path, i, wrong[k]);
            n_opened += expect_no_crash(path);
        }
        scratch_patch(path, i, right);
    }
    assert_in_range(n_opened, 1, 4 * n_header / 2); /* most bytes matter, some do not */
    assert_true(expect_no_crash(path));
    buffer_free(&file);
    gguf_doc_free(&doc);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(opens_llama, set_up, tear_down),
        cmocka_unit_test_setup_teardown(restores_q_and_k_rows, set_up, tear_down),
        cmocka_unit_test_setup_teardown(opens_gemma3, set_up, tear_down),
        cmocka_unit_test_setup_teardown(opens_variations, set_up, tear_down),
        cmocka_unit_test_setup_teardown(refuses_what_is_no_file, set_up, tear_down),
        cmocka_unit_test_setup_teardown(refuses_every_truncation, set_up, tear_down),
        cmocka_unit_test_setup_teardown(survives_every_changed_byte, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
