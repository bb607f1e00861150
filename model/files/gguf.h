/* A GGUF file, version 3, little-endian: metadata and tensor descriptions, every one checked against the file's bounds.
 * Source: ggml/docs/gguf.md. */
#ifndef LOCKSTEP_MODEL_FILES_GGUF_H
#define LOCKSTEP_MODEL_FILES_GGUF_H

#include "model/files/loader.h"

enum gguf_type {
    GGUF_U8,
    GGUF_I8,
    GGUF_U16,
    GGUF_I16,
    GGUF_U32,
    GGUF_I32,
    GGUF_F32,
    GGUF_BOOL,
    GGUF_STRING,
    GGUF_ARRAY,
    GGUF_U64,
    GGUF_I64,
    GGUF_F64,
    GGUF_TYPE_COUNT
};

/* A metadata value. A scalar is an array of one. */
struct gguf_value {
    const char *key;
    enum gguf_type type; /* of the elements; never GGUF_ARRAY */
    bool is_array;
    uint64_t n;
    const uint8_t *bytes; /* of the first element; strings: length and bytes, one after another */
    uint64_t offset;      /* of bytes in the file */
    bool used;            /* set by the getters */
};

struct gguf {
    struct model *model; /* the arena for keys */
    const struct mapping *file;
    struct gguf_value *values; /* [n_values] sorted by key */
    uint64_t n_values;
    struct error *err;
};

/* Reads the metadata into *gguf and adds the tensors to the model, under the file's own names. */
enum status gguf_parse(struct gguf *gguf, struct model *model, const struct mapping *file, struct error *err);

/* The value of a key, or NULL; marks it used. */
const struct gguf_value *gguf_find(const struct gguf *gguf, const char *key);

/* Scalars. Each leaves *out as it is where the key is missing, unless it is required. A value of another type, or out
 * of [1, most], is refused. */
enum status gguf_count(const struct gguf *gguf, const char *key, bool required, uint64_t most, uint32_t *out);
enum status gguf_float(const struct gguf *gguf, const char *key, bool required, float *out); /* > 0 */
enum status gguf_bool(const struct gguf *gguf, const char *key, bool *out);
enum status gguf_token(const struct gguf *gguf, const char *key, int32_t *out);
enum status gguf_string(const struct gguf *gguf, const char *key, bool required, const char **out);

/* An array of strings: pieces of the mapped file. *out NULL and *n 0 where the key is missing. */
enum status gguf_strings(const struct gguf *gguf, const char *key, const struct text **out, uint64_t *n);

/* The integer at an index of a value of integer type or bool. */
int64_t gguf_integer_at(const struct gguf_value *value, uint64_t index);
bool gguf_is_integer(const struct gguf_value *value);

/* Refuses a value: "KEY @OFFSET: <what it is>, expected <expected>". value NULL: missing. */
enum status gguf_refuse(const struct gguf *gguf, const char *key, const struct gguf_value *value, const char *expected);

/* "llama.block_count" for "block_count", in the model's arena. */
const char *gguf_arch_key(const struct gguf *gguf, const char *key);

/* Fills model->config and model->tokenizer from the metadata. */
enum status config_from_gguf(const struct gguf *gguf);

/* config_gguf_rope.c: config->rope_global and rope_local. */
enum status config_gguf_ropes(const struct gguf *gguf);

/* The same from a table of what each frequency is divided by, "rope_freqs.weight": llama3's scaling, whose parameters a
 * GGUF does not say. They are taken where they make the whole table; any other table is refused. */
enum status config_gguf_factors(const struct gguf *gguf, const struct tensor *table);

/* gguf_experts.c: joins the experts' gate and up, rows taken in turn as transformers has them. */
enum status gguf_join_experts(struct model *model, struct error *err);

#endif
