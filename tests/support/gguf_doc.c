#include "tests/support/gguf_doc.h"

#include <stdio.h>
#include <string.h>

#include "model/error.h"

struct gguf_doc_value *gguf_doc_value(struct gguf_doc *doc, const char *key)
{
    for (uint32_t i = 0; i < doc->n_values; i++) {
        if (strcmp(doc->values[i].key, key) == 0) {
            return &doc->values[i];
        }
    }
    ASSERT(doc->n_values < DOC_MAX);
    struct gguf_doc_value *value = &doc->values[doc->n_values++];
    doc->n_values_said++;
    snprintf(value->key, sizeof(value->key), "%s", key);
    value->key_length = strlen(key);
    return value;
}

static struct gguf_doc_value *renew(struct gguf_doc *doc, const char *key, uint32_t type)
{
    struct gguf_doc_value *value = gguf_doc_value(doc, key);
    value->type = type;
    value->bytes.size = 0;
    return value;
}

void gguf_doc_u32(struct gguf_doc *doc, const char *key, uint32_t value)
{
    buffer_u32(&renew(doc, key, 4)->bytes, value);
}

void gguf_doc_f32(struct gguf_doc *doc, const char *key, float value)
{
    buffer_add(&renew(doc, key, 6)->bytes, &value, sizeof(value));
}

static void add_string(struct buffer *buffer, const char *text, uint64_t length)
{
    buffer_u64(buffer, length);
    buffer_add(buffer, text, strlen(text));
}

void gguf_doc_string(struct gguf_doc *doc, const char *key, const char *value)
{
    add_string(&renew(doc, key, 8)->bytes, value, strlen(value));
}

void gguf_doc_strings(struct gguf_doc *doc, const char *key, const char *const *values, uint64_t n)
{
    struct buffer *bytes = &renew(doc, key, 9)->bytes;
    buffer_u32(bytes, 8);
    buffer_u64(bytes, n);
    for (uint64_t i = 0; i < n; i++) {
        add_string(bytes, values[i], strlen(values[i]));
    }
}

void gguf_doc_remove(struct gguf_doc *doc, const char *key)
{
    struct gguf_doc_value *value = gguf_doc_value(doc, key);
    buffer_free(&value->bytes);
    *value = doc->values[--doc->n_values];
    memset(&doc->values[doc->n_values], 0, sizeof(*value));
    doc->n_values_said--;
}

static uint64_t size_of(uint32_t type, uint64_t elems)
{
    switch (type) {
    case 0:
        return elems * 4;
    case 1:
    case 30:
        return elems * 2;
    case 2:
        return elems / 32 * 18;
    case 3:
        return elems / 32 * 20;
    default:
        return elems / 32 * 34;
    }
}

/* Adds bytes that decode to finite numbers of about 1 or less, in every type used here. */
static void add_data(struct gguf_doc *doc, uint32_t type, uint64_t n_bytes, uint32_t seed)
{
    if (type == 0) {
        for (uint64_t i = 0; i < n_bytes / 4; i++) {
            float value = 1 + scratch_random(&seed) / 2;
            buffer_add(&doc->data, &value, sizeof(value));
        }
        return;
    }
    for (uint64_t i = 0; i < n_bytes; i++) { /* clears high bits, where a scale's exponent may be */
        uint8_t byte = (uint8_t)(scratch_random(&seed) * 127 + 128) & 0x1f;
        buffer_add(&doc->data, &byte, 1);
    }
}

struct gguf_doc_tensor *gguf_doc_add(struct gguf_doc *doc, const char *name, uint32_t type, uint64_t rows,
                                     uint64_t columns)
{
    ASSERT(doc->n_tensors < DOC_MAX);
    struct gguf_doc_tensor *tensor = &doc->tensors[doc->n_tensors++];
    doc->n_tensors_said++;
    snprintf(tensor->name, sizeof(tensor->name), "%s", name);
    tensor->n_dims = rows ? 2 : 1;
    tensor->dims[0] = columns;
    tensor->dims[1] = rows;
    tensor->type = type;
    tensor->n_bytes = size_of(type, (rows ? rows : 1) * columns);
    tensor->offset = doc->data.size;
    add_data(doc, type, tensor->n_bytes, doc->n_tensors);
    buffer_zeros(&doc->data, (doc->alignment - doc->data.size % doc->alignment) % doc->alignment);
    return tensor;
}

struct gguf_doc_tensor *gguf_doc_tensor(struct gguf_doc *doc, const char *name)
{
    uint32_t i = 0;
    while (i < doc->n_tensors && strcmp(doc->tensors[i].name, name) != 0) {
        i++;
    }
    ASSERT(i < doc->n_tensors);
    return &doc->tensors[i];
}

void gguf_doc_rename(struct gguf_doc *doc, const char *name, const char *new_name)
{
    struct gguf_doc_tensor *tensor = gguf_doc_tensor(doc, name);
    snprintf(tensor->name, sizeof(tensor->name), "%s", new_name);
}

void gguf_doc_remove_tensor(struct gguf_doc *doc, const char *name)
{
    struct gguf_doc_tensor *tensor = gguf_doc_tensor(doc, name);
    *tensor = doc->tensors[--doc->n_tensors];
    doc->n_tensors_said--;
}

static void start(struct gguf_doc *doc, const char *architecture, uint32_t n_layers)
{
    static const struct {
        const char *key;
        uint32_t value;
    } sizes[] = {{"context_length", 64},      {"embedding_length", 32},       {"feed_forward_length", 64},
                 {"attention.head_count", 2}, {"attention.head_count_kv", 1}, {"vocab_size", 40}};
    memset(doc, 0, sizeof(*doc));
    memcpy(doc->magic, "GGUF", 5);
    doc->version = 3;
    doc->alignment = 32;
    char key[64];
    gguf_doc_string(doc, "general.architecture", architecture);
    snprintf(key, sizeof(key), "%s.block_count", architecture);
    gguf_doc_u32(doc, key, n_layers);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        snprintf(key, sizeof(key), "%s.%s", architecture, sizes[i].key);
        gguf_doc_u32(doc, key, sizes[i].value);
    }
    snprintf(key, sizeof(key), "%s.attention.layer_norm_rms_epsilon", architecture);
    gguf_doc_f32(doc, key, 1e-5f);
    snprintf(key, sizeof(key), "%s.rope.freq_base", architecture);
    gguf_doc_f32(doc, key, 50000);
    gguf_doc_add(doc, "token_embd.weight", 8, 40, 32);
}

static void add_layer(struct gguf_doc *doc, uint32_t layer, const char *const *norms, uint64_t norm_dim)
{
    static const struct {
        const char *name;
        uint64_t rows, columns;
    } matrices[] = {{"attn_q", 32, 32},   {"attn_k", 16, 32}, {"attn_v", 16, 32},  {"attn_output", 32, 32},
                    {"ffn_gate", 64, 32}, {"ffn_up", 64, 32}, {"ffn_down", 32, 64}};
    char name[64];
    for (size_t i = 0; i < sizeof(matrices) / sizeof(matrices[0]); i++) {
        snprintf(name, sizeof(name), "blk.%u.%s.weight", layer, matrices[i].name);
        gguf_doc_add(doc, name, 3, matrices[i].rows, matrices[i].columns);
    }
    for (; *norms; norms++) {
        snprintf(name, sizeof(name), "blk.%u.%s.weight", layer, *norms);
        gguf_doc_add(doc, name, 0, 0, norm_dim);
    }
}

void gguf_doc_llama(struct gguf_doc *doc)
{
    static const char *const norms[] = {"attn_norm", "ffn_norm", NULL};
    start(doc, "llama", 2);
    gguf_doc_u32(doc, "llama.rope.dimension_count", 16);
    for (uint32_t layer = 0; layer < 2; layer++) {
        add_layer(doc, layer, norms, 32);
    }
    gguf_doc_add(doc, "output_norm.weight", 0, 0, 32);
}

void gguf_doc_gemma3(struct gguf_doc *doc)
{
    static const char *const norms[] = {"attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm", NULL};
    static const char *const head_norms[] = {"attn_q_norm", "attn_k_norm", NULL};
    static const char *const tokens[] = {"<pad>", "<eos>", "<bos>", "a", "b"};
    start(doc, "gemma3", 7);
    gguf_doc_u32(doc, "gemma3.attention.key_length", 16);
    gguf_doc_u32(doc, "gemma3.attention.value_length", 16);
    gguf_doc_u32(doc, "gemma3.attention.sliding_window", 5);
    gguf_doc_string(doc, "tokenizer.ggml.model", "llama");
    gguf_doc_strings(doc, "tokenizer.ggml.tokens", tokens, 5);
    gguf_doc_u32(doc, "tokenizer.ggml.bos_token_id", 2);
    gguf_doc_u32(doc, "tokenizer.ggml.eos_token_id", 1);
    for (uint32_t layer = 0; layer < 7; layer++) {
        add_layer(doc, layer, norms, 32);
        for (const char *const *norm = head_norms; *norm; norm++) {
            char name[64];
            snprintf(name, sizeof(name), "blk.%u.%s.weight", layer, *norm);
            gguf_doc_add(doc, name, 0, 0, 16);
        }
    }
    gguf_doc_add(doc, "output_norm.weight", 0, 0, 32);
}

struct buffer gguf_doc_bytes(const struct gguf_doc *doc, size_t *n_header)
{
    struct buffer file = {0};
    buffer_add(&file, doc->magic, 4);
    buffer_u32(&file, doc->version);
    buffer_u64(&file, doc->n_tensors_said);
    buffer_u64(&file, doc->n_values_said);
    for (uint32_t i = 0; i < doc->n_values; i++) {
        const struct gguf_doc_value *value = &doc->values[i];
        buffer_u64(&file, value->key_length);
        buffer_add(&file, value->key, strlen(value->key));
        buffer_u32(&file, value->type);
        buffer_add(&file, value->bytes.bytes, value->bytes.size);
    }
    for (uint32_t i = 0; i < doc->n_tensors; i++) {
        const struct gguf_doc_tensor *tensor = &doc->tensors[i];
        add_string(&file, tensor->name, strlen(tensor->name));
        buffer_u32(&file, tensor->n_dims);
        for (uint32_t d = 0; d < tensor->n_dims && d < 5; d++) {
            buffer_u64(&file, tensor->dims[d]);
        }
        buffer_u32(&file, tensor->type);
        buffer_u64(&file, tensor->offset);
    }
    buffer_zeros(&file, (doc->alignment - file.size % doc->alignment) % doc->alignment);
    *n_header = file.size;
    buffer_add(&file, doc->data.bytes, doc->data.size);
    return file;
}

void gguf_doc_write(const struct gguf_doc *doc, const char *path)
{
    size_t n_header;
    struct buffer file = gguf_doc_bytes(doc, &n_header);
    scratch_write(path, file.bytes, file.size);
    buffer_free(&file);
}

void gguf_doc_free(struct gguf_doc *doc)
{
    for (uint32_t i = 0; i < doc->n_values; i++) {
        buffer_free(&doc->values[i].bytes);
    }
    buffer_free(&doc->data);
}
