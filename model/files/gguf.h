/* A GGUF file, version 3, little-endian: metadata and tensor descriptions. Everything is checked against the file's
 * size. Source: ggml/docs/gguf.md. */
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

/* A metadata value: an array, or a scalar as an array of one. */
struct gguf_value {
    const char *key;
    enum gguf_type type; /* of the elements; never GGUF_ARRAY */
    bool is_array;
    uint64_t n;
    const uint8_t *bytes; /* first element; a string is its length and its bytes */
    uint64_t offset;      /* of `bytes` in the file */
    bool used;            /* set by the getters */
};

struct gguf {
    struct model *model; /* keys are in its arena */
    const struct mapping *file;
    struct gguf_value *values; /* [n_values] sorted by key */
    uint64_t n_values;
    struct error *err;
};

/* Reads the metadata into *gguf and adds the tensors to the model under the file's names. */
enum status gguf_parse(struct gguf *gguf, struct model *model, const struct mapping *file, struct error *err);

/* Finds the value of a key and marks it used. NULL: there is none. */
const struct gguf_value *gguf_find(const struct gguf *gguf, const char *key);

/* Read scalars. If the key is missing, *out stays as it is, unless the key is required. A value of another type, or
 * outside [1, most], is refused. */
enum status gguf_count(const struct gguf *gguf, const char *key, bool required, uint64_t most, uint32_t *out);
enum status gguf_float(const struct gguf *gguf, const char *key, bool required, float *out); /* > 0 */
enum status gguf_bool(const struct gguf *gguf, const char *key, bool *out);
enum status gguf_token(const struct gguf *gguf, const char *key, int32_t *out);
enum status gguf_string(const struct gguf *gguf, const char *key, bool required, const char **out);

/* Reads an array of strings: pieces of the mapped file. If the key is missing, *out is NULL and *n 0. */
enum status gguf_strings(const struct gguf *gguf, const char *key, const struct text **out, uint64_t *n);

/* Returns the integer at an index of a value of integer type or bool. */
int64_t gguf_integer_at(const struct gguf_value *value, uint64_t index);
bool gguf_is_integer(const struct gguf_value *value);

/* Sets the error "KEY @OFFSET: <what it is>, expected <expected>"; value NULL: the key is missing. Returns
 * STATUS_BAD_INPUT. */
enum status gguf_refuse(const struct gguf *gguf, const char *key, const struct gguf_value *value, const char *expected);

/* Returns "llama.block_count" for "block_count", in the model's arena. */
const char *gguf_arch_key(const struct gguf *gguf, const char *key);

/* Fills model->config and model->tokenizer from the metadata. */
enum status config_from_gguf(const struct gguf *gguf);

/* Reads config->rope_global and rope_local (config_gguf_rope.c). */
enum status config_gguf_ropes(const struct gguf *gguf);

/* Finds llama3's scaling from "rope_freqs.weight", a table of each frequency's divisor: a GGUF does not hold its
 * parameters. They are taken only if they give the whole table; any other table is refused. */
enum status config_gguf_factors(const struct gguf *gguf, const struct tensor *table);

/* Joins the experts' gate and up, row by row in turn, as in transformers (gguf_experts.c). */
enum status gguf_join_experts(struct model *model, struct error *err);

#endif
