/* A model folder that is being made. A test can edit the texts of config.json and of the safetensors header before they
 * are written. */
#ifndef LOCKSTEP_TESTS_SUPPORT_FOLDER_DOC_H
#define LOCKSTEP_TESTS_SUPPORT_FOLDER_DOC_H

#include "tests/support/scratch.h"

struct folder_doc {
    char config[4096];
    char header[32768];  /* the JSON of model.safetensors */
    struct buffer data;  /* the tensors' bytes after it */
    int64_t header_said; /* the header length that the file states; -1: the true one */
};

/* 2 layers, hidden 32, 2 heads x 16, 1 kv head, ffn 48, vocab 40, all F32, tied embeddings. */
void folder_doc_llama(struct folder_doc *doc);

/* The same with n_layers layers, at most 28. */
void folder_doc_deep_llama(struct folder_doc *doc, unsigned n_layers);

/* The same sizes with 3 layers: local, local, global. The config has transformers 5's keys. */
void folder_doc_gemma3(struct folder_doc *doc);
void folder_doc_free(struct folder_doc *doc);

/* Adds a tensor of n elements to header and data. shape: "[32]" or "[40,32]". An element has 4 bytes for dtype "F32",
 * else 2. */
void folder_doc_add(struct folder_doc *doc, const char *name, const char *dtype, const char *shape, uint64_t n);

/* Replaces the first occurrence of `find` in text[capacity], which must hold it. */
void text_replace(char *text, size_t capacity, const char *find, const char *replace);

/* Writes config.json and model.safetensors into a folder. */
void folder_doc_write(const struct folder_doc *doc, const char *folder);

/* Writes only the weights, to this path. */
void folder_doc_write_weights(const struct folder_doc *doc, const char *path);

#endif
