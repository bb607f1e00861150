/* A model family is a table: the steps of a layer in order, each with its op, its stage, where its input
 * comes from and which weights it reads. A new family is one file under model/families/ and one row in FAMILIES. */
#ifndef LOCKSTEP_MODEL_FAMILY_H
#define LOCKSTEP_MODEL_FAMILY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "model/ops.h"
#include "model/stages.h"

/* What a row names as an input besides an earlier stage of the same layer. */
#define FROM_TOKENS (-1)   /* the token ids */
#define FROM_RESIDUAL (-2) /* what enters the layer: embed, or the layer_out before it */
#define FROM_NOTHING (-3)

struct step_row {
    enum op op;
    enum stage stage;
    int input[OP_MAX_INPUTS];           /* a stage of this layer (enum stage), or FROM_… */
    const char *weight[OP_MAX_WEIGHTS]; /* tensor name inside the layer; a bias is read if the config says so */
};

/* A GGUF's name of a tensor inside a layer ("attn_q.weight" for "blk.0.attn_q.weight") and transformers' name of it.
 * Lists of them end with {NULL, NULL}. */
struct tensor_alias {
    const char *gguf, *name;
};

struct family {
    const char *name;               /* "gemma3" */
    const char *const *model_types; /* config.json's model_type values that it covers, NULL-terminated */
    const char *gguf_architecture;  /* general.architecture in a GGUF */
    float norm_offset;              /* of the safetensors' RMSNorm weights */
    bool scales_embedding;          /* by sqrt(hidden) */
    bool gguf_permutes_qk;          /* GGUF holds q and k rows for adjacent-pair rope */
    bool gguf_folds_norm_offset;    /* GGUF holds 1 + weight */
    const struct step_row *layer;   /* [n_layer] */
    uint32_t n_layer;
    const struct tensor_alias *gguf_names; /* of a layer's tensors, besides those of all families (gguf_load.c) */
    bool has_local_layers;                 /* sliding windows; else every layer sees all */
    uint32_t global_every;    /* where the file does not say which layers are local: the last of each so many is not */
    bool ropes_by_layer_type; /* local layers have a rope of their own; else all share one */
    bool has_softcaps;        /* of scores and logits: mandatory in the config, null for none */
    bool has_experts;         /* a mixture of experts, with biases, that MXFP4 may pack */
    float swiglu_limit, swiglu_alpha; /* of the experts' activation, which a GGUF does not say */
    bool gguf_rope_factors;           /* a GGUF may hold a table of what rope's frequencies are divided by */
    bool gguf_yarn_untruncated;       /* YaRN's range is not widened to whole dims, which a GGUF does not say */
    uint32_t gguf_odd_layers; /* a GGUF with so many layers has query_pre_attn_scalar = hidden / heads, not head_dim */
    bool reads_query_scalar;  /* query_pre_attn_scalar is mandatory; else scores are scaled by head_dim^-1/2 */
    bool ties_by_default;     /* tie_word_embeddings where config.json does not say */
    const char *activation;   /* what a GGUF of this architecture means, for it does not say */
    const char *activation_key;         /* config.json's name of the field */
    float rope_theta, rope_theta_local; /* where config.json does not say */
};

#define FAMILIES(X) \
    X(llama)        \
    X(gemma2)       \
    X(gemma3)       \
    X(gpt_oss)

/* The family of a model_type or of a GGUF architecture, or NULL. */
const struct family *family_by_model_type(const char *model_type);
const struct family *family_by_gguf(const char *architecture);

/* "llama, gemma3_text, gemma3": what model_type may be, for messages. */
void family_list_types(char *text, size_t size);

/* "llama, gemma3": what a GGUF's architecture may be. */
void family_list_architectures(char *text, size_t size);

#endif
