/* A GGUF file under construction: a healthy small model that a test can spoil before it is written. */
#ifndef LOCKSTEP_TESTS_SUPPORT_GGUF_DOC_H
#define LOCKSTEP_TESTS_SUPPORT_GGUF_DOC_H

#include "tests/support/scratch.h"

#define DOC_MAX 128

struct gguf_doc_value {
    char key[64];
    uint64_t key_length; /* length to write; the bytes are those of key */
    uint32_t type;       /* GGUF's number: 4 u32, 6 f32, 7 bool, 8 string, 9 array */
    struct buffer bytes; /* bytes after the type */
};

struct gguf_doc_tensor {
    char name[64];
    uint32_t n_dims;
    uint64_t dims[5]; /* innermost first, as in the file */
    uint32_t type;    /* ggml's number: 0 F32, 1 F16, 3 Q4_1, 8 Q8_0 */
    uint64_t offset;  /* offset in the data section */
    uint64_t n_bytes;
};

struct gguf_doc {
    char magic[5];
    uint32_t version;
    uint64_t n_values_said, n_tensors_said; /* counts to write into the header */
    uint32_t alignment;                     /* of the data; need not be the metadata's */
    uint32_t n_values, n_tensors;
    struct gguf_doc_value values[DOC_MAX];
    struct gguf_doc_tensor tensors[DOC_MAX];
    struct buffer data;
};

/* A llama with 2 layers, hidden 32, 2 heads x 16, 1 kv head, ffn 64, vocab 40; matrices Q4_1, embedding Q8_0, norms
 * F32. */
void gguf_doc_llama(struct gguf_doc *doc);

/* A gemma3 of the same sizes with 7 layers, one of them global, norms on both sides and of q and k, and a tokenizer. */
void gguf_doc_gemma3(struct gguf_doc *doc);

void gguf_doc_free(struct gguf_doc *doc);

/* Add a value, or replace it if the key exists. */
void gguf_doc_u32(struct gguf_doc *doc, const char *key, uint32_t value);
void gguf_doc_f32(struct gguf_doc *doc, const char *key, float value);
void gguf_doc_string(struct gguf_doc *doc, const char *key, const char *value);
void gguf_doc_strings(struct gguf_doc *doc, const char *key, const char *const *values, uint64_t n);
struct gguf_doc_value *gguf_doc_value(struct gguf_doc *doc,
                                      const char *key); /* adds an empty value if the key is missing */
void gguf_doc_remove(struct gguf_doc *doc, const char *key);

/* Adds a tensor [rows, columns], or [columns] if rows is 0, with deterministic bytes. */
struct gguf_doc_tensor *gguf_doc_add(struct gguf_doc *doc, const char *name, uint32_t type, uint64_t rows,
                                     uint64_t columns);
struct gguf_doc_tensor *gguf_doc_tensor(struct gguf_doc *doc, const char *name);
void gguf_doc_rename(struct gguf_doc *doc, const char *name, const char *new_name);
void gguf_doc_remove_tensor(struct gguf_doc *doc, const char *name);

/* Returns the file's bytes; the caller frees them. *n_header: bytes before the data section. */
struct buffer gguf_doc_bytes(const struct gguf_doc *doc, size_t *n_header);

/* Writes the file. */
void gguf_doc_write(const struct gguf_doc *doc, const char *path);

#endif
