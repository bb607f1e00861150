/* An opened model: its config and its tensors, validated, mapped, and named as transformers names them.
 *
 * Where a file's conventions differ from transformers', they are undone here by moving bytes, never by arithmetic: a
 * GGUF's permuted rows of q and k are put back in order. */
#ifndef LOCKSTEP_MODEL_MODEL_H
#define LOCKSTEP_MODEL_MODEL_H

#include "model/config.h"
#include "model/error.h"
#include "model/family.h"
#include "model/tensor.h"

/* A piece of a mapped file; not NUL-terminated. */
struct text {
    const char *bytes;
    uint64_t length;
};

/* The tokenizer inside a GGUF. Folders have tokenizer.json instead. */
struct gguf_tokenizer {
    const char *model;         /* "gpt2", "llama"; NULL: the file has no tokenizer */
    const char *pre;           /* name of the pre-tokenizer: "smollm" */
    const char *chat_template; /* in Jinja; NULL: none */
    const struct text *tokens;
    uint64_t n_tokens;
    const struct text *merges;
    uint64_t n_merges;
    const int32_t *token_types; /* [n_tokens] or NULL; 3 is a control token */
    const float *scores; /* [n_tokens] or NULL; of two possible words, a "llama" tokenizer makes the one with the higher
                            score first */
    bool add_bos;
    bool add_space_prefix; /* "llama": a space is put in front of the text */
};

struct model {
    const char *path; /* as given */
    struct config config;
    const struct tensor *tensors; /* [n_tensors], sorted by name */
    uint32_t n_tensors;
    const char *tokenizer_json;      /* path, or NULL */
    struct gguf_tokenizer tokenizer; /* filled for a GGUF */
    const char *const *notes;        /* [n_notes] oddities that do not stop a run */
    uint32_t n_notes;
    const char *weights_dtype; /* dtype of most weight bytes: "Q4_1" */
    struct model_files *files; /* mapped files and the memory behind everything above; private to the loaders */
};

/* Opens a folder with config.json and *.safetensors, a folder with an RDRR manifest.json, or a .gguf file. Everything
 * is validated before use: sizes, offsets, overflow, duplicate names, overlaps, truncation, and that config and tensors
 * agree. On failure *model is zeroed and nothing stays open. */
enum status model_open(struct model *model, const char *path, struct error *err);
void model_close(struct model *model);

/* Finds a tensor by transformers' name. NULL: there is none. */
const struct tensor *model_tensor(const struct model *model, const char *name);

/* The weight files: how many, and their bytes. */
uint32_t model_n_files(const struct model *model);
uint64_t model_n_bytes(const struct model *model);

/* One of them, as it was when the model was opened. */
struct weight_file {
    const char *path; /* borrowed from the model */
    uint64_t n_bytes;
    double cached; /* the part of it that was in memory already, 0 to 1 */
    double ms;     /* milliseconds that opening and mapping it took */
};
struct weight_file model_file(const struct model *model, uint32_t i);

/* SHA-256 in hex. weights: of all *.safetensors in name order, of an RDRR's shards in order, or of the .gguf. config:
 * of config.json or manifest.json; "" for a GGUF. The first call reads every byte of the files. */
enum status model_digests(const struct model *model, char weights[65], char config[65], struct error *err);

#endif
