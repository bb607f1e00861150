/* The plan: the ordered steps of a forward pass. It says what is computed, never how. The reference runs it step by
 * step, the engine turns it into a schedule, and the audit judges each step alone. */
#ifndef LOCKSTEP_MODEL_PLAN_H
#define LOCKSTEP_MODEL_PLAN_H

#include "model/arena.h"
#include "model/config.h"
#include "model/error.h"
#include "model/ops.h"
#include "model/stages.h"
#include "model/tensor.h"
#include "model/variants.h"

struct model;

#define LAYER_NONE (-1)

/* A fault in the engine's handling of a step, where no formula is wrong: in a slot, a dispatch or a copy. The engine
 * follows it; the session follows TAMPER_CHUNKS_AT_0, TAMPER_LATER_TOKENS and TAMPER_PAD_CHOSEN. The reference ignores
 * it. */
enum tamper {
    TAMPER_NONE,
    TAMPER_SHARED_SLOT,  /* its slot in the arena is that of step `with`, a later step, which overwrites it */
    TAMPER_HEADS_FIRST,  /* its rows are copied to the host as [heads, rows, dim]; `with` is the number of heads */
    TAMPER_READ_EARLY,   /* on the first step: slots are copied to the host before anything has run */
    TAMPER_PAD_CHOSEN,   /* on the last step: sampling does not leave out the padding token */
    TAMPER_CHUNKS_AT_0,  /* on the first step: where a prompt runs in several batches, each runs at position 0 */
    TAMPER_LATER_TOKENS, /* on the first step: of every 4 decoded tokens, the first 2 are replaced by the 2 after them
                          */
};

/* A step. Its output has one row of `width` floats for each position. */
struct step {
    enum op op;
    int32_t layer; /* LAYER_NONE: outside the layers */
    enum stage stage;
    uint32_t width;
    int32_t input[OP_MAX_INPUTS]; /* steps whose rows it reads; -1: none (embed reads the tokens). An attention reads q
                                     of its own position, and k and v of every visible position */
    const struct tensor *weight[OP_MAX_WEIGHTS]; /* matmul: matrix, then bias or NULL; borrowed from the model */
    union step_params params;
    bool optional;    /* a file may lack its stage (stage_is_optional) */
    uint32_t variant; /* VARIANT_NONE, unless a fault was planted in this step */
    struct {
        enum tamper how; /* TAMPER_NONE, unless a fault was planted */
        int32_t with;
    } tamper;
};

struct plan {
    const struct model *model; /* borrowed */
    uint32_t n_layers;
    uint32_t n_steps;
    struct step *steps;
    struct arena arena;
};

/* Builds the plan of a model from its family's table. STATUS_BAD_INPUT: a tensor is missing or its shape contradicts
 * the config; the error names both. The model must outlive the plan. */
enum status plan_build(struct plan *plan, const struct model *model, struct error *err);

/* Copies a plan, so that faults can be planted in the copy's steps. Both share the model. */
void plan_copy(struct plan *copy, const struct plan *plan);
void plan_free(struct plan *plan);

/* Which steps of the audit to add, where a trace may hold their stages: attention_probs ahead of each attention,
 * sample_probs and sample_token at the end. No backend runs them. */
struct judged {
    bool attn_probs, samples;
    uint32_t n_positions; /* positions that the traces have */
    int32_t masked_id;    /* never sampled; -1: none */
};

/* Copies a plan and adds those steps. Both share the model. */
void plan_copy_judged(struct plan *copy, const struct plan *plan, const struct judged *judged);

/* DTYPE_ code of the matrix that a step multiplies with; DTYPE_COUNT: none (an attention's weights are its sinks). */
uint32_t step_weights_dtype(const struct step *step);

/* Index of the step that makes (layer, stage), or -1. */
int32_t plan_find(const struct plan *plan, int32_t layer, enum stage stage);

/* Index of the first step of a layer, and one past its last. */
uint32_t plan_layer_begin(const struct plan *plan, uint32_t layer);
uint32_t plan_layer_end(const struct plan *plan, uint32_t layer);

/* Names a step for people: "layer 17 ffn_down", or "logits". Returns text. */
const char *step_label(const struct step *step, char text[64]);

#endif
