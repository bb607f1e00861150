/* The GGUF reader: dozens of ways to spoil a file. Each is refused in one line that names file, field and value. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>

#include "tests/support/expect.h"
#include "tests/support/gguf_doc.h"

SCRATCH_FILE_FIXTURE("model.gguf")

/* The ways to spoil a file. Each is one edit of the healthy document. */
#define SPOIL(name, edit)                          \
    static void spoil_##name(struct gguf_doc *doc) \
    {                                              \
        edit;                                      \
    }
SPOIL(magic, doc->magic[0] = 'X')
SPOIL(version, doc->version = 2)
SPOIL(big_endian, doc->version = 3u << 24)
SPOIL(tensor_count_huge, doc->n_tensors_said = UINT64_MAX)
SPOIL(tensor_count_more, doc->n_tensors_said++)
SPOIL(value_count_huge, doc->n_values_said = 1ull << 60)
SPOIL(value_count_more, doc->n_values_said++)
SPOIL(key_length_huge, doc->values[3].key_length = 1ull << 63)
SPOIL(key_length_zero, doc->values[0].key_length = 0)
static void spoil_key_twice(struct gguf_doc *doc)
{
    snprintf(doc->values[1].key, sizeof(doc->values[1].key), "%s", doc->values[2].key);
    doc->values[1].key_length = doc->values[2].key_length;
}

static void spoil_key_nul(struct gguf_doc *doc)
{
    doc->values[0].key[3] = '\0';
    doc->values[0].key_length = 20;
}

SPOIL(value_type, gguf_doc_value(doc, "llama.block_count")->type = 13)
SPOIL(value_is_float, gguf_doc_f32(doc, "llama.block_count", 2))
SPOIL(value_is_string, gguf_doc_string(doc, "llama.embedding_length", "32"))
SPOIL(count_zero, gguf_doc_u32(doc, "llama.attention.head_count", 0))
SPOIL(count_huge, gguf_doc_u32(doc, "llama.block_count", 4000000000u))
static void spoil_bool_two(struct gguf_doc *doc)
{
    struct gguf_doc_value *value = gguf_doc_value(doc, "x.flag");
    value->type = 7;
    buffer_add(&value->bytes, "\2", 1);
}

static void spoil_array_huge(struct gguf_doc *doc)
{
    struct gguf_doc_value *value = gguf_doc_value(doc, "x.list");
    value->type = 9;
    buffer_u32(&value->bytes, 4);
    buffer_u64(&value->bytes, 1ull << 62);
}

static void spoil_array_nested(struct gguf_doc *doc)
{
    struct gguf_doc_value *value = gguf_doc_value(doc, "x.list");
    value->type = 9;
    buffer_u32(&value->bytes, 9);
    buffer_u64(&value->bytes, 0);
}

static void spoil_array_of_strings_long(struct gguf_doc *doc)
{
    const char *text = "a";
    gguf_doc_strings(doc, "x.texts", &text, 1);
    gguf_doc_value(doc, "x.texts")->bytes.bytes[4] = 200;
}

static void spoil_string_huge(struct gguf_doc *doc)
{
    gguf_doc_string(doc, "x.text", "abc");
    gguf_doc_value(doc, "x.text")->bytes.bytes[7] = 0x7f;
}

SPOIL(part_of_three, gguf_doc_u32(doc, "split.count", 3))
SPOIL(architecture_unknown, gguf_doc_string(doc, "general.architecture", "mamba"))
SPOIL(architecture_missing, gguf_doc_remove(doc, "general.architecture"))
SPOIL(layers_missing, gguf_doc_remove(doc, "llama.block_count"))
SPOIL(hidden_missing, gguf_doc_remove(doc, "llama.embedding_length"))
SPOIL(ffn_missing, gguf_doc_remove(doc, "llama.feed_forward_length"))
SPOIL(heads_missing, gguf_doc_remove(doc, "llama.attention.head_count"))
SPOIL(eps_missing, gguf_doc_remove(doc, "llama.attention.layer_norm_rms_epsilon"))
SPOIL(eps_nan, gguf_doc_f32(doc, "llama.attention.layer_norm_rms_epsilon", NAN))
SPOIL(theta_negative, gguf_doc_f32(doc, "llama.rope.freq_base", -1))
SPOIL(kv_heads, gguf_doc_u32(doc, "llama.attention.head_count_kv", 3))
static void spoil_head_dim_odd(struct gguf_doc *doc)
{
    gguf_doc_u32(doc, "llama.attention.key_length", 15);
    gguf_doc_remove(doc, "llama.rope.dimension_count");
}

SPOIL(partial_rope, gguf_doc_u32(doc, "llama.rope.dimension_count", 8))
SPOIL(value_length, gguf_doc_u32(doc, "llama.attention.value_length", 8))
SPOIL(yarn, gguf_doc_string(doc, "llama.rope.scaling.type", "yarn"))
SPOIL(longrope, gguf_doc_string(doc, "llama.rope.scaling.type", "longrope"))
/* Complete YaRN keys, except what a test adds. */
static void yarn(struct gguf_doc *doc, uint32_t original, const char *key, float value)
{
    gguf_doc_string(doc, "llama.rope.scaling.type", "yarn");
    gguf_doc_f32(doc, "llama.rope.scaling.factor", 4);
    gguf_doc_u32(doc, "llama.rope.scaling.original_context_length", original);
    gguf_doc_f32(doc, key, value);
}

SPOIL(yarn_original, yarn(doc, 0, "llama.rope.scaling.yarn_beta_fast", 32))
SPOIL(yarn_beta, yarn(doc, 64, "llama.rope.scaling.yarn_beta_fast", 0.5f))
SPOIL(yarn_attn_factor, yarn(doc, 64, "llama.rope.scaling.attn_factor", 1.5f))
SPOIL(yarn_log, yarn(doc, 64, "llama.rope.scaling.yarn_log_multiplier", 0.1f))
SPOIL(linear_without_factor, gguf_doc_string(doc, "llama.rope.scaling.type", "linear"))
SPOIL(experts, gguf_doc_u32(doc, "llama.expert_count", 8))
SPOIL(window, gguf_doc_u32(doc, "llama.attention.sliding_window", 8))
SPOIL(frequencies, gguf_doc_add(doc, "rope_freqs.weight", 0, 0, 8))
SPOIL(frequencies_shape, gguf_doc_add(doc, "rope_freqs.weight", 0, 0, 16))
static void spoil_frequencies_and_linear(struct gguf_doc *doc)
{
    spoil_frequencies(doc);
    gguf_doc_string(doc, "llama.rope.scaling.type", "linear");
    gguf_doc_f32(doc, "llama.rope.scaling.factor", 2);
}

SPOIL(alignment_zero, gguf_doc_u32(doc, "general.alignment", 0))
SPOIL(alignment_24, gguf_doc_u32(doc, "general.alignment", 24))
SPOIL(tensor_offset_past_end, gguf_doc_tensor(doc, "output_norm.weight")->offset += 1 << 20)
SPOIL(tensor_offset_overflows, gguf_doc_tensor(doc, "output_norm.weight")->offset = UINT64_MAX - 31)
SPOIL(tensor_offset_unaligned, gguf_doc_tensor(doc, "output_norm.weight")->offset -= 4)
SPOIL(tensor_overlaps, gguf_doc_tensor(doc, "blk.0.attn_q.weight")->offset -= 32)
SPOIL(tensor_twice, gguf_doc_rename(doc, "blk.0.attn_q.weight", "blk.1.attn_q.weight"))
SPOIL(tensor_twice_translated, gguf_doc_rename(doc, "output_norm.weight", "model.embed_tokens.weight"))
SPOIL(tensor_no_dims, gguf_doc_tensor(doc, "blk.0.attn_q.weight")->n_dims = 0)
SPOIL(tensor_five_dims, gguf_doc_tensor(doc, "blk.0.attn_q.weight")->n_dims = 5)
SPOIL(tensor_empty_dim, gguf_doc_tensor(doc, "blk.0.attn_q.weight")->dims[1] = 0)
SPOIL(tensor_dims_overflow, gguf_doc_tensor(doc, "blk.0.attn_q.weight")->dims[1] = 1ull << 62)
SPOIL(tensor_bytes_overflow, gguf_doc_tensor(doc, "blk.0.attn_norm.weight")->dims[0] = 1ull << 62)
SPOIL(tensor_part_block, gguf_doc_tensor(doc, "blk.0.attn_q.weight")->dims[0] = 33)
SPOIL(tensor_type_q3_k, gguf_doc_tensor(doc, "blk.0.attn_q.weight")->type = 11)
SPOIL(tensor_rows_of_32, gguf_doc_tensor(doc, "blk.0.attn_q.weight")->type = 12)
SPOIL(tensor_type_unknown, gguf_doc_tensor(doc, "blk.0.attn_q.weight")->type = 999)
SPOIL(tensor_missing, gguf_doc_remove_tensor(doc, "blk.1.ffn_up.weight"))
SPOIL(embedding_missing, gguf_doc_remove_tensor(doc, "token_embd.weight"))
SPOIL(tensor_shape, gguf_doc_u32(doc, "llama.feed_forward_length", 96))
SPOIL(vocab_shape, gguf_doc_u32(doc, "llama.vocab_size", 41))
SPOIL(bias_partly, gguf_doc_add(doc, "blk.0.attn_q.bias", 0, 0, 32))
SPOIL(bias_unwanted, gguf_doc_add(doc, "blk.1.attn_v.bias", 0, 0, 16))
SPOIL(norm_unwanted, gguf_doc_add(doc, "blk.1.post_ffw_norm.weight", 0, 0, 32))
static void spoil_norm_quantised(struct gguf_doc *doc)
{
    gguf_doc_remove_tensor(doc, "blk.1.ffn_norm.weight");
    gguf_doc_add(doc, "blk.1.ffn_norm.weight", 8, 0, 32);
}

SPOIL(tokens_are_numbers, gguf_doc_u32(doc, "tokenizer.ggml.tokens", 1))
static void spoil_token_types_short(struct gguf_doc *doc)
{
    const char *text[] = {"a", "b"};
    gguf_doc_strings(doc, "tokenizer.ggml.tokens", text, 2);
    struct gguf_doc_value *value = gguf_doc_value(doc, "tokenizer.ggml.token_type");
    value->type = 9;
    buffer_u32(&value->bytes, 5);
    buffer_u64(&value->bytes, 1);
    buffer_u32(&value->bytes, 1);
}

static void spoil_too_many_tokens(struct gguf_doc *doc)
{
    const char *text[41];
    for (int i = 0; i < 41; i++) {
        text[i] = "a";
    }
    gguf_doc_strings(doc, "tokenizer.ggml.tokens", text, 41);
}

static const struct {
    const char *what;
    void (*spoil)(struct gguf_doc *doc);
    const char *field, *text;
} spoils[] = {
#define ROW(name, field, text)           \
    {                                    \
#name, spoil_##name, field, text \
    }
    ROW(magic, "magic @0", "expected the letters GGUF"),
    ROW(version, "version @4", "2, expected 3"),
    ROW(big_endian, "version @4", "big-endian"),
    ROW(tensor_count_huge, "tensor_count @8", "18446744073709551615"),
    ROW(tensor_count_more, "tensor name @", "expected"),
    ROW(value_count_huge, "metadata_kv_count @16", "expected at most"),
    ROW(value_count_more, "tensor name @", "expected 1 to 1024"),
    ROW(key_length_huge, "metadata key @", "expected 1 to 65535"),
    ROW(key_length_zero, "metadata key @24", "0 bytes"),
    ROW(key_twice, "llama.context_length", "twice"),
    ROW(key_nul, "metadata key @24", "NUL"),
    ROW(value_type, "llama.block_count @", "value type 13"),
    ROW(value_is_float, "llama.block_count @", "f32 2, expected an integer"),
    ROW(value_is_string, "llama.embedding_length @", "\"32\", expected an integer"),
    ROW(count_zero, "llama.attention.head_count @", "u32 0, expected an integer from 1"),
    ROW(count_huge, "llama.block_count @", "4000000000, expected an integer from 1 to 4096"),
    ROW(bool_two, "x.flag @", "expected 0 or 1"),
    ROW(array_huge, "x.list @", "expected 4611686018427387904 x 4"),
    ROW(array_nested, "x.list @", "arrays of arrays"),
    ROW(array_of_strings_long, "x.texts @", "expected"),
    ROW(string_huge, "x.text @", "expected"),
    ROW(part_of_three, "split.count @", "3, expected 1: parts joined"),
    ROW(architecture_unknown, "general.architecture @", "\"mamba\", expected llama"),
    ROW(architecture_missing, "general.architecture: ", "missing"),
    ROW(layers_missing, "llama.block_count: ", "missing, expected"),
    ROW(hidden_missing, "llama.embedding_length: ", "missing, expected"),
    ROW(ffn_missing, "llama.feed_forward_length: ", "missing, expected"),
    ROW(heads_missing, "llama.attention.head_count: ", "missing, expected"),
    ROW(eps_missing, "llama.attention.layer_norm_rms_epsilon: ", "missing, expected"),
    ROW(eps_nan, "llama.attention.layer_norm_rms_epsilon @", "nan, expected"),
    ROW(theta_negative, "llama.rope.freq_base @", "-1, expected"),
    ROW(kv_heads, "num_key_value_heads", "3, expected a divisor"),
    ROW(head_dim_odd, "head_dim", "15, expected an even number"),
    ROW(partial_rope, "llama.rope.dimension_count @", "u32 8, expected 16"),
    ROW(value_length, "llama.attention.value_length @", "u32 8, expected 16"),
    ROW(yarn, "llama.rope.scaling.factor", "missing"),
    ROW(longrope, "llama.rope.scaling.type @", "\"longrope\", expected none, linear or yarn"),
    ROW(yarn_original, "llama.rope.scaling.original_context_length @", "0"),
    ROW(yarn_beta, "llama.rope.scaling.yarn_beta_fast @", "more than yarn_beta_slow"),
    ROW(yarn_attn_factor, "llama.rope.scaling.attn_factor @", "1.5, expected 1"),
    ROW(yarn_log, "llama.rope.scaling.yarn_log_multiplier @", "expected no such key"),
    ROW(linear_without_factor, "llama.rope.scaling.factor", "missing"),
    ROW(experts, "llama.expert_count @", "u32 8, expected 0"),
    ROW(window, "llama.attention.sliding_window @", "u32 8, expected no sliding window"),
    ROW(frequencies, "rope_freqs.weight @", "rope frequency factors that llama3's scaling does not make"),
    ROW(frequencies_shape, "rope_freqs.weight @", "another shape or dtype"),
    ROW(frequencies_and_linear, "rope_freqs.weight @", "expected rope without one"),
    ROW(alignment_zero, "general.alignment @", "u32 0, expected"),
    ROW(alignment_24, "general.alignment @", "u32 24, expected a power of two"),
    ROW(tensor_offset_past_end, "output_norm.weight @", "expected an end within the file's"),
    ROW(tensor_offset_overflows, "output_norm.weight @", "expected an end within the file's"),
    ROW(tensor_offset_unaligned, "output_norm.weight @", "expected a multiple of general.alignment"),
    ROW(tensor_overlaps, "blk.0.attn_q.weight @", "overlap those of token_embd.weight"),
    ROW(tensor_twice, "blk.1.attn_q.weight @", "second tensor of this name"),
    ROW(tensor_twice_translated, "model.embed_tokens.weight", "second tensor of this name"),
    ROW(tensor_no_dims, "blk.0.attn_q.weight @", "0 dims, expected 1 to 4"),
    ROW(tensor_five_dims, "blk.0.attn_q.weight @", "5 dims, expected 1 to 4"),
    ROW(tensor_empty_dim, "blk.0.attn_q.weight @", "dim 0 is 0"),
    ROW(tensor_dims_overflow, "blk.0.attn_q.weight @", "overflows 64 bits"),
    ROW(tensor_bytes_overflow, "blk.0.attn_norm.weight @", "overflows 64 bits"),
    ROW(tensor_part_block, "blk.0.attn_q.weight @", "33 elements, expected a multiple of Q4_1's block of 32"),
    ROW(tensor_type_q3_k, "blk.0.attn_q.weight @", "11 (Q3_K), expected F32"),
    ROW(tensor_rows_of_32, "blk.0.attn_q.weight @", "32 elements, expected a multiple of Q4_K's block of 256"),
    ROW(tensor_type_unknown, "blk.0.attn_q.weight @", "999 (unknown), expected F32"),
    ROW(tensor_missing, "model.layers.1.mlp.up_proj.weight", "no such tensor, expected one of shape [64, 32]"),
    ROW(embedding_missing, "model.embed_tokens.weight", "no such tensor, expected one of shape [40, 32]"),
    ROW(tensor_shape, "blk.0.ffn_gate.weight @", "[64, 32], expected [96, 32] (intermediate_size, hidden_size)"),
    ROW(vocab_shape, "token_embd.weight @", "[40, 32], expected [41, 32] (vocab_size"),
    ROW(bias_partly, "self_attn.k_proj.bias", "no such tensor"),
    ROW(bias_unwanted, "blk.1.attn_v.bias @", "attention_bias is false"),
    ROW(norm_unwanted, "blk.1.post_ffw_norm.weight @", "model_type is llama"),
    ROW(norm_quantised, "blk.1.ffn_norm.weight @", "Q8_0, expected F32"),
    ROW(tokens_are_numbers, "tokenizer.ggml.tokens @", "expected an array of strings"),
    ROW(token_types_short, "tokenizer.ggml.token_type @", "1 i32, expected an i32 for each"),
    ROW(too_many_tokens, "tokenizer.ggml.tokens @", "41 string, expected at most"),
#undef ROW
};

static void refuses_spoiled(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(spoils) / sizeof(spoils[0]); i++) {
        struct gguf_doc doc;
        gguf_doc_llama(&doc);
        spoils[i].spoil(&doc);
        gguf_doc_write(&doc, path);
        expect_refused(path, spoils[i].what, "model.gguf", spoils[i].field, spoils[i].text);
        gguf_doc_free(&doc);
    }
}

SPOIL(no_window, gguf_doc_remove(doc, "gemma3.attention.sliding_window"))
SPOIL(no_theta, gguf_doc_remove(doc, "gemma3.rope.freq_base"))
static void spoil_pattern_short(struct gguf_doc *doc)
{
    struct gguf_doc_value *value = gguf_doc_value(doc, "gemma3.attention.sliding_window_pattern");
    value->type = 9;
    buffer_u32(&value->bytes, 7);
    buffer_u64(&value->bytes, 1);
    buffer_add(&value->bytes, "\1", 1);
}

SPOIL(no_q_norm, gguf_doc_remove_tensor(doc, "blk.3.attn_q_norm.weight"))
SPOIL(no_post_ffw_norm, gguf_doc_remove_tensor(doc, "blk.6.post_ffw_norm.weight"))

static void refuses_spoiled_gemma3(void **state)
{
    (void)state;
    static const struct {
        const char *what;
        void (*spoil)(struct gguf_doc *doc);
        const char *field, *text;
    } rows[] = {
        {"no window", spoil_no_window, "gemma3.attention.sliding_window", "missing"},
        {"no rope base", spoil_no_theta, "gemma3.rope.freq_base", "missing"},
        {"short pattern", spoil_pattern_short, "sliding_window_pattern @", "expected block_count bools"},
        {"no q_norm", spoil_no_q_norm, "model.layers.3.self_attn.q_norm.weight", "[16] (head_dim)"},
        {"no norm", spoil_no_post_ffw_norm, "model.layers.6.post_feedforward_layernorm.weight", "[32] (hidden_size)"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct gguf_doc doc;
        gguf_doc_gemma3(&doc);
        rows[i].spoil(&doc);
        gguf_doc_write(&doc, path);
        expect_refused(path, rows[i].what, "model.gguf", rows[i].field, rows[i].text);
        gguf_doc_free(&doc);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(refuses_spoiled, set_up, tear_down),
        cmocka_unit_test_setup_teardown(refuses_spoiled_gemma3, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
