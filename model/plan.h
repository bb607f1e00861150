/* The plan: the ordered steps of a forward pass. It says what is computed, never how; the reference walks it
 * step by step, the engine turns it into a schedule, and the audit judges each step by itself. */
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

/* What a fault does to the engine's handling of a step, where no formula is wrong: a slot, a dispatch, a copy. Data
 * that the engine (TAMPER_LATER_TOKENS, TAMPER_PAD_CHOSEN: the session) follows; the reference knows nothing of it. */
enum tamper {
    TAMPER_NONE,
    TAMPER_SHARED_SLOT,  /* its slot in the arena is that of step `with`, which comes later and overwrites it */
    TAMPER_HEADS_FIRST,  /* its rows come to the host as [heads, rows, dim]; `with` is the number of heads */
    TAMPER_READ_EARLY,   /* of the first step: slots are copied to the host before anything has run */
    TAMPER_PAD_CHOSEN,   /* of the last step: whoever samples from it does not leave out padding */
    TAMPER_LATER_TOKENS, /* of the first step: decoding, the first 2 of every 4 tokens are the 2 that follow */
};

/* A step's output has one row a position, `width` floats each. */
struct step {
    enum op op;
    int32_t layer; /* LAYER_NONE outside the layers */
    enum stage stage;
    uint32_t width;
    int32_t input[OP_MAX_INPUTS]; /* index of the step whose rows it reads; -1: none (embed reads the tokens).
                                     attention reads q of its own position, k and v of every visible one */
    const struct tensor *weight[OP_MAX_WEIGHTS]; /* matmul: matrix, bias or NULL; borrowed from the model */
    union step_params params;
    bool optional;    /* a file may lack it: stage_is_optional */
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

/* Builds the plan of a model from its family's table. Fails (STATUS_BAD_INPUT) where a tensor is missing or
 * its shape contradicts the config, naming both. */
enum status plan_build(struct plan *plan, const struct model *model, struct error *err);

/* A copy whose steps can be edited, to plant faults in. Shares the model. */
void plan_copy(struct plan *copy, const struct plan *plan);
void plan_free(struct plan *plan);

/* The steps that no backend runs, where a trace may hold their stages: attention_probs ahead of each attention,
 * sample_probs and sample_token at the end. */
struct judged {
    bool attn_probs, samples;
    uint32_t n_positions; /* of the traces */
    int32_t masked_id;    /* never sampled; -1: none */
};

/* A copy with them, for the audit. Shares the model. */
void plan_copy_judged(struct plan *copy, const struct plan *plan, const struct judged *judged);

/* Index of the step that makes (layer, stage), or -1. */
int32_t plan_find(const struct plan *plan, int32_t layer, enum stage stage);

/* Index of the first step of a layer, and one past its last. */
uint32_t plan_layer_begin(const struct plan *plan, uint32_t layer);
uint32_t plan_layer_end(const struct plan *plan, uint32_t layer);

/* "layer 17 ffn_down", or "logits": for people. Returns text. */
const char *step_label(const struct step *step, char text[64]);

#endif
