/* A model's configuration: what config.json, a GGUF's metadata or an RDRR manifest says, in one struct. Everything that
 * the plan needs comes from here; nothing is assumed from a model's name. */
#ifndef LOCKSTEP_MODEL_CONFIG_H
#define LOCKSTEP_MODEL_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "shaders/params.h"

/* Rotary embedding of one kind of layer. Source: transformers, modeling_rope_utils.py. */
struct rope {
    uint32_t type;   /* ROPE_TYPE_ code of params.h */
    float theta;     /* base of the geometric series of frequencies */
    float factor;    /* linear, llama3, yarn: the context is this many times longer; 1 otherwise */
    float low, high; /* llama3: low_freq_factor, high_freq_factor; yarn: beta_slow, beta_fast */
    float original;  /* llama3, yarn: original_max_position_embeddings */
    bool truncate;   /* yarn: the correction range is widened to whole dims */
    float scale;     /* cos and sin are multiplied by it: yarn's attention factor; 1 otherwise */
};

struct config {
    const char *model_type;      /* as config.json says: "llama", "gemma3_text" */
    const struct family *family; /* the family that model_type names */
    uint32_t n_layers;
    uint32_t hidden;     /* width of the residual stream */
    uint32_t n_heads;    /* query heads */
    uint32_t n_kv_heads; /* key and value heads; divides n_heads */
    uint32_t head_dim;   /* not always hidden / n_heads */
    uint32_t ffn;        /* width between gate/up and down */
    uint32_t vocab;
    uint32_t max_positions; /* 0: the file does not say */
    float norm_eps;
    float norm_offset;    /* RMSNorm multiplies by (offset + weight): 1 for Gemma's safetensors; 0 where the weights are
                             the multipliers themselves (Llama, and GGUF, which adds Gemma's 1 to the weights) */
    uint32_t activation;  /* ACTIVATION_ code of params.h */
    float embed_scale;    /* Gemma: sqrt(hidden); 1 otherwise */
    float query_scale;    /* scores are q·k times this: head_dim^-1/2 or query_pre_attn_scalar^-1/2 */
    float attn_softcap;   /* 0: none */
    float final_softcap;  /* 0: none */
    bool tied_embeddings; /* the LM head is the embedding matrix */
    bool attention_bias;  /* q, k, v and o have biases */
    bool mlp_bias;
    uint32_t n_experts; /* 0: a dense FFN; otherwise `ffn` is the width of one expert */
    uint32_t top_k;     /* experts chosen for each position */
    float swiglu_limit, swiglu_alpha;
    struct rope rope_global, rope_local;
    uint32_t sliding_window;    /* number of keys that a local layer sees, including the position's own; 0: no window */
    const bool *layer_is_local; /* [n_layers] true: the layer has the sliding window and rope_local */
    int32_t bos_id, pad_id;     /* -1: none */
    const int32_t *eos_ids;     /* [n_eos_ids] */
    uint32_t n_eos_ids;
};

/* An ACTIVATION_ or ROPE_TYPE_ code as config.json spells it: "gelu_pytorch_tanh", "yarn". */
const char *activation_name(uint32_t activation);
const char *rope_type_name(uint32_t type);

/* The code of such a name. false: no name that we know. */
bool activation_by_name(const char *name, uint32_t *activation);
bool rope_type_by_name(const char *name, uint32_t *type);

/* Whether the token ends the text. */
bool config_ends_text(const struct config *config, int32_t id);

/* The padding token, which is never chosen, or -1. A padding token that also ends the text may be chosen. */
int32_t config_masked_id(const struct config *config);

#endif
