/* A model on disk, opened: its config and its tensors, validated, mapped, and named as transformers names them.
 *
 * Conventions of a file that differ from transformers' are undone here, by moving bytes and never by
 * arithmetic: a GGUF's permuted q and k rows are put back in order. */
#ifndef LOCKSTEP_MODEL_MODEL_H
#define LOCKSTEP_MODEL_MODEL_H

#include "model/config.h"
#include "model/error.h"
#include "model/family.h"
#include "model/tensor.h"

/* A length-delimited piece of a mapped file; not NUL-terminated. */
struct text {
    const char *bytes;
    uint64_t length;
};

/* The tokenizer that a GGUF carries; a folder has tokenizer.json instead. */
struct gguf_tokenizer {
    const char *model; /* "gpt2", "llama"; NULL: the file has no tokenizer */
    const char *pre;   /* pre-tokenizer's name: "smollm" */
    const struct text *tokens;
    uint64_t n_tokens;
    const struct text *merges;
    uint64_t n_merges;
    const int32_t *token_types; /* [n_tokens] or NULL; 3 is a control token */
    const float *scores;        /* [n_tokens] or NULL; "llama": the higher of two possible words is made first */
    bool add_bos;
    bool add_space_prefix; /* "llama": a text begins with a space of its own */
};

struct model {
    const char *path; /* as given */
    struct config config;
    const struct tensor *tensors; /* [n_tensors], sorted by name */
    uint32_t n_tensors;
    const char *tokenizer_json;      /* path, or NULL */
    struct gguf_tokenizer tokenizer; /* of a GGUF */
    const char *const *notes;        /* [n_notes]: what is odd but does not stop a run */
    uint32_t n_notes;
    const char *weights_dtype; /* the dtype that most weight bytes have: "Q4_1" */
    struct model_files *files; /* mappings, arena */
};

/* Opens a folder with config.json and *.safetensors, one with an RDRR manifest.json, or a .gguf file. Everything is
 * validated before use: sizes, offsets, overflow, duplicate names, overlaps, truncation, and that config and tensors
 * agree. On failure *model is left zeroed and nothing stays open. */
enum status model_open(struct model *model, const char *path, struct error *err);
void model_close(struct model *model);

/* The tensor of a transformers name, or NULL. */
const struct tensor *model_tensor(const struct model *model, const char *name);

/* SHA-256, hex: of all *.safetensors in name order, of an RDRR's shards in theirs, or of the .gguf; of config.json or
 * manifest.json ("" for a GGUF).
 * Reads every byte of the files at the first call. */
enum status model_digests(const struct model *model, char weights[65], char config[65], struct error *err);

#endif
