/* A model family is a table: the steps of a layer in order, each with its op, its stage, its inputs and the names of
 * its weights. A new family is one file in model/families/ and one row in FAMILIES. */
#ifndef LOCKSTEP_MODEL_FAMILY_H
#define LOCKSTEP_MODEL_FAMILY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "model/ops.h"
#include "model/stages.h"

/* Inputs of a row other than an earlier stage of the same layer. */
#define FROM_TOKENS (-1)   /* the token ids */
#define FROM_RESIDUAL (-2) /* the layer's input: embed, or layer_out of the layer before */
#define FROM_NOTHING (-3)

struct step_row {
    enum op op;
    enum stage stage;
    int input[OP_MAX_INPUTS]; /* a stage of this layer (enum stage), or FROM_ code */
    const char
        *weight[OP_MAX_WEIGHTS]; /* name of the tensor inside the layer; a bias is read only if the config has it */
};

/* A tensor's name inside a layer in a GGUF ("attn_q.weight" for "blk.0.attn_q.weight") and in transformers. Lists end
 * with {NULL, NULL}. */
struct tensor_alias {
    const char *gguf, *name;
};

struct family {
    const char *name;               /* "gemma3" */
    const char *const *model_types; /* values of config.json's model_type, NULL-terminated */
    const char *gguf_architecture;  /* value of general.architecture in a GGUF */
    float norm_offset;              /* added to RMSNorm weights of safetensors */
    bool scales_embedding;          /* embeddings are multiplied by sqrt(hidden) */
    bool gguf_permutes_qk;          /* a GGUF holds the rows of q and k in the order of adjacent-pair rope */
    bool gguf_folds_norm_offset;    /* a GGUF holds 1 + weight */
    const struct step_row *layer;   /* [n_layer] */
    uint32_t n_layer;
    const struct tensor_alias
        *gguf_names;          /* names of a layer's tensors, besides those that all families share (gguf_load.c) */
    bool has_local_layers;    /* some layers have a sliding window; otherwise every layer sees all positions */
    uint32_t global_every;    /* where the file lists no local layers: every global_every-th layer is global */
    bool ropes_by_layer_type; /* local layers have their own rope; otherwise all layers share one */
    bool has_softcaps;        /* the config must give softcaps of scores and logits; null means none */
    bool has_experts;         /* mixture of experts with biases; weights may be packed as MXFP4 */
    float swiglu_limit, swiglu_alpha; /* parameters of the experts' activation, which a GGUF does not hold */
    bool gguf_rope_factors;           /* a GGUF may hold a table of divisors of rope's frequencies */
    bool gguf_yarn_untruncated;       /* YaRN's range is not widened to whole dims; a GGUF does not say so */
    uint32_t gguf_odd_layers; /* in a GGUF with this many layers query_pre_attn_scalar is hidden / heads instead of
                                 head_dim */
    bool reads_query_scalar; /* the config must give query_pre_attn_scalar; otherwise scores are scaled by head_dim^-1/2
                              */
    bool ties_by_default;    /* value of tie_word_embeddings if config.json does not have it */
    const char *activation;  /* activation, by transformers' name; a GGUF does not hold it */
    const char *activation_key;         /* key of the activation in config.json */
    float rope_theta, rope_theta_local; /* values if config.json does not have them */
};

#define FAMILIES(X) \
    X(llama)        \
    X(gemma2)       \
    X(gemma3)       \
    X(gpt_oss)

/* The family of a model_type or of a GGUF architecture, or NULL. */
const struct family *family_by_model_type(const char *model_type);
const struct family *family_by_gguf(const char *architecture);

/* Lists the accepted values of model_type for messages: "llama, gemma3_text, gemma3". Writes at most size bytes. */
void family_list_types(char *text, size_t size);

/* Lists the accepted GGUF architectures likewise. */
void family_list_architectures(char *text, size_t size);

#endif
