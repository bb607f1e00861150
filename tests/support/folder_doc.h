/* A model folder under construction: the texts of config.json and of a safetensors header. A test can edit them before
 * they are written. */
#ifndef LOCKSTEP_TESTS_SUPPORT_FOLDER_DOC_H
#define LOCKSTEP_TESTS_SUPPORT_FOLDER_DOC_H

#include "tests/support/scratch.h"

struct folder_doc {
    char config[4096];
    char header[32768];  /* JSON header of model.safetensors */
    struct buffer data;  /* data after the header */
    int64_t header_said; /* header length to write; -1: the true one */
};

/* A llama with 2 layers, hidden 32, 2 heads x 16, 1 kv head, ffn 48, vocab 40, all F32, tied embeddings. */
void folder_doc_llama(struct folder_doc *doc);

/* The same with n layers, at most 28. */
void folder_doc_deep_llama(struct folder_doc *doc, unsigned n_layers);

/* A gemma3 of the same sizes with 3 layers: local, local, global. The config has transformers 5's keys. */
void folder_doc_gemma3(struct folder_doc *doc);
void folder_doc_free(struct folder_doc *doc);

/* Adds a tensor to header and data. shape: "[32]" or "[40, 32]"; n: its elements, of 4 bytes (F32) or 2. */
void folder_doc_add(struct folder_doc *doc, const char *name, const char *dtype, const char *shape, uint64_t n);

/* Replaces the first occurrence of `find`, which must exist, in config or header. */
void text_replace(char *text, size_t capacity, const char *find, const char *replace);

/* Writes config.json and model.safetensors into a folder. */
void folder_doc_write(const struct folder_doc *doc, const char *folder);

/* Writes only the weights, under another name. */
void folder_doc_write_weights(const struct folder_doc *doc, const char *path);

#endif
