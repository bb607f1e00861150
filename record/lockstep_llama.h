/*
 * lockstep_llama.h: records what llama.cpp computes, through the callback that it has for that. Copy it beside
 * lockstep_record.h.
 *
 * In one source file, before the includes:      #define LOCKSTEP_RECORD_IMPLEMENTATION
 *
 *     struct lockstep_llama recorder;
 *     lockstep_llama_begin(&recorder, "mine.rec", model);
 *     context_params.cb_eval = lockstep_llama_eval;
 *     context_params.cb_eval_user_data = &recorder;
 *     ... llama_init_from_model, llama_decode as ever: one sequence, the prompt first ...
 *     if (lockstep_llama_end(&recorder)) perror("mine.rec");
 *
 *     $ lockstep audit MODEL.gguf mine.rec
 *
 * Tokens come from the graph. Declared are the types of the KV cache and, on the CPU, the blocks to which inputs of
 * quantised matrices are rounded. lockstep_llama.py does the same through a Python wheel.
 */
#ifndef LOCKSTEP_LLAMA_H
#define LOCKSTEP_LLAMA_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ggml-backend.h"
#include "ggml.h"
#include "llama.h"
#include "lockstep_record.h"

struct lockstep_llama {
    struct lockstep_record *record;
    size_t positions; /* of the forward pass that is running */
    bool prompt_seen, cache_declared, values_declared, table_declared;
};

/* 0, or -1 and errno. */
static inline int lockstep_llama_begin(struct lockstep_llama *l, const char *path, const struct llama_model *model)
{
    char type[64] = "";
    llama_model_meta_val_str(model, "general.architecture", type, sizeof type);
    memset(l, 0, sizeof *l);
    l->record = lockstep_record_begin(path, "llama.cpp", type, llama_model_n_layer(model));
    if (llama_model_rope_type(model) ==
        LLAMA_ROPE_TYPE_NORM) { /* partners of rope lie side by side; lockstep puts that right */
        lockstep_record_declare(l->record, LOCKSTEP_NO_LAYER, NULL, "rope_order", "pairs");
    }
    return l->record ? 0 : -1;
}

static inline int lockstep_llama_end(struct lockstep_llama *l)
{
    return lockstep_record_end(l->record);
}

/* Whether a tensor is recorded; name becomes its name without the layer, which is *layer. */
static inline bool lockstep_llama_wants(const struct ggml_tensor *t, char name[64], int *layer)
{
    /* Views of these alone are recorded: kqv_out, ffn_moe_topk, ffn_moe_weights_softmax. */
    static const char *const names[] = {
        "kqv_out",
        "ffn_moe_topk",
        "ffn_moe_weights_softmax",
        "embd",
        "inp_embd",
        "inp_scaled",
        "attn_norm",
        "Qcur",
        "Kcur",
        "Vcur",
        "Qcur_normed",
        "Kcur_normed",
        "attn_out",
        "attn_post_norm",
        "sa_out",
        "ffn_inp",
        "ffn_norm",
        "ffn_gate",
        "ffn_up",
        "ffn_swiglu",
        "ffn_geglu",
        "ffn_out",
        "ffn_moe_logits",
        "ffn_moe_logits_biased",
        "ffn_moe_probs",
        "ffn_moe_down_biased",
        "ffn_moe_out",
        "ffn_post_norm",
        "l_out",
        "result_norm",
        "result_output",
    };
    const char *weight = t->op == GGML_OP_MUL_MAT ? strstr(t->src[0]->name, ".attn_output.weight") : NULL;
    snprintf(name, 64, "%s", t->name);
    if (weight && sscanf(t->src[0]->name, "blk.%d.", layer) == 1) { /* some models give this product no name */
        snprintf(name, 64, "attn_out-%d", *layer);
    }
    char *dash = strrchr(name, '-');
    *layer = dash ? atoi(dash + 1) : LOCKSTEP_NO_LAYER;
    if (dash) {
        *dash = '\0';
    } else if (t->op == GGML_OP_MUL && t->src[1]) {
        sscanf(t->src[1]->name, "blk.%d.", layer); /* a norm whose name lacks the layer */
    }
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(name, names[i]) == 0) {
            return i < 3 || (t->op != GGML_OP_VIEW && t->op != GGML_OP_PERMUTE && t->op != GGML_OP_RESHAPE);
        }
    }
    return false;
}

/* Whether t holds the embeddings of the tokens: a forward pass begins. */
static inline bool lockstep_llama_begins(const struct ggml_tensor *t)
{
    return t->op == GGML_OP_GET_ROWS && t->src[1] && strcmp(t->src[1]->name, "inp_tokens") == 0;
}

/* The first tensor of this op on the way from t to its first inputs, or NULL. */
static inline const struct ggml_tensor *lockstep_llama_source(const struct ggml_tensor *t, enum ggml_op op)
{
    for (int i = 0; t && i < 8; i++, t = t->src[0]) {
        if (t->op == op) {
            return t;
        }
    }
    return NULL;
}

static inline const char *lockstep_llama_cache_type(const struct ggml_tensor *t)
{
    return t->type == GGML_TYPE_F32    ? "float32"
           : t->type == GGML_TYPE_F16  ? "float16"
           : t->type == GGML_TYPE_BF16 ? "bfloat16"
                                       : ggml_type_name(t->type);
}

/* Declares of the whole run, once. */
static inline void lockstep_llama_declare_all(struct lockstep_llama *l, bool *declared, const char *attribute,
                                              const char *value)
{
    if (!*declared) {
        lockstep_record_declare(l->record, LOCKSTEP_NO_LAYER, NULL, attribute, value);
        *declared = true;
    }
}

/* The arithmetic of this op, as far as the graph tells it. */
static inline void lockstep_llama_declare(struct lockstep_llama *l, const struct ggml_tensor *t, int layer,
                                          const char *stage)
{
    const struct ggml_tensor *flash = lockstep_llama_source(t, GGML_OP_FLASH_ATTN_EXT);
    bool on_host = t->buffer && ggml_backend_buffer_is_host(t->buffer);
    if (t->op == GGML_OP_RESHAPE && flash) {
        bool same = flash->src[2]->type == flash->src[1]->type;
        lockstep_llama_declare_all(l, &l->cache_declared, "kv_dtype", lockstep_llama_cache_type(flash->src[1]));
        if (!same) {
            lockstep_llama_declare_all(l, &l->values_declared, "values_dtype",
                                       lockstep_llama_cache_type(flash->src[2]));
        }
    }
    if (t->op == GGML_OP_GLU && strstr(t->name, "geglu") && on_host) { /* GELU is looked up in a table */
        lockstep_llama_declare_all(l, &l->table_declared, "activation_dtype", "float16");
    }
    if (t->op == GGML_OP_MUL_MAT && on_host) {
        const char *type = ggml_type_name(t->src[0]->type), *last = type + strlen(type) - 1;
        bool quantised = ggml_is_quantized(t->src[0]->type);
        const char *blocks = *last == 'K'                                             ? "q8_K"
                             : strcmp(type, "q4_1") == 0 || strcmp(type, "q5_1") == 0 ? "q8_1"
                                                                                      : "q8_0";
        if (quantised && (*last == 'K' || *last == '0' || *last == '1') && type[0] == 'q') {
            lockstep_record_declare(l->record, layer, stage, "operand_dtype", blocks);
        }
    }
}

/* The rows of t, one after the other, from whatever device they are on. The caller frees them. NULL if memory is short.
 */
static inline void *lockstep_llama_rows(const struct ggml_tensor *t, size_t *rows, size_t *width)
{
    bool by_head = t->op == GGML_OP_ROPE || strstr(t->name, "_normed") || t->op == GGML_OP_ADD_ID ||
                   strstr(t->name, "weights_softmax"); /* [dim, heads or experts, positions] */
    size_t n = (size_t)(by_head ? t->ne[2] : t->ne[1]),
           row_bytes = (size_t)ggml_nelements(t) / n * ggml_type_size(t->type);
    char *data = (char *)malloc(n * row_bytes);
    for (size_t i = 0; data && i < n; i++) {
        ggml_backend_tensor_get(t, data + i * row_bytes, i * (by_head ? t->nb[2] : t->nb[1]), row_bytes);
    }
    *rows = n;
    *width = row_bytes / ggml_type_size(t->type);
    return data;
}

/* llama.cpp's cb_eval. */
static inline bool lockstep_llama_eval(struct ggml_tensor *t, bool ask, void *user)
{
    struct lockstep_llama *l = (struct lockstep_llama *)user;
    char name[64], stage[96];
    int layer;
    bool wanted = lockstep_llama_wants(t, name, &layer), begins = lockstep_llama_begins(t);
    if ((!wanted && !begins) || (t->type != GGML_TYPE_F32 && t->type != GGML_TYPE_I32) ||
        ggml_is_empty(t)) { /* as the last layer's, in a micro-batch of which no logits are wanted */
        return false;
    }
    if (ask) {
        return true;
    }
    size_t rows, width;
    if (begins) {
        int32_t *tokens = (int32_t *)lockstep_llama_rows(t->src[1], &rows, &width);
        l->positions = rows * width;
        if (tokens) {
            lockstep_record_batch(l->record, tokens, l->positions, l->prompt_seen && l->positions == 1);
        }
        l->prompt_seen = true;
        free(tokens);
    }
    if (!wanted) {
        return true;
    }
    snprintf(stage, sizeof stage, "%s %s", name, ggml_op_name(t->op));
    void *data = lockstep_llama_rows(t, &rows, &width);
    if (!data) {
        return false; /* ends the run */
    }
    lockstep_llama_declare(l, t, layer, stage);
    lockstep_record_put_as(l->record, layer, stage, t->type == GGML_TYPE_F32 ? LOCKSTEP_F32 : LOCKSTEP_I32, data, rows,
                           width);
    free(data);
    return true;
}
#endif
