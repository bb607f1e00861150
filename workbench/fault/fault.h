/* Named faults, used twice. A fault is a known bug with a name, one row of a table. Planted (`--fault NAME`) it edits a
 * step of the engine's plan, so that tests prove that the workbench finds it; as a mutant the same edit is made to
 * a failing step, and the reference op that follows it tells whether the bug reproduces what was recorded. A fault that
 * no op can reproduce (a clobbered buffer) is named by a relation between recorded values. */
#ifndef LOCKSTEP_WORKBENCH_FAULT_FAULT_H
#define LOCKSTEP_WORKBENCH_FAULT_FAULT_H

#include "model/plan.h"

/* What a fault edits in a step; data, so that planting and mutating are the same edit. One function each in fault.c. */
enum fault_edit {
    EDIT_NORM_OFFSET,     /* params.rms_norm.offset = value */
    EDIT_NORM_OFFSET_ADD, /* params.rms_norm.offset += value */
    EDIT_EMBED_SCALE,     /* params.embed.scale = value */
    EDIT_QUERY_SCALE,     /* params.attention.scale = value; 0: dim^-1/2 */
    EDIT_WINDOW,          /* params.attention.window += value, where there is one */
    EDIT_OTHER_KIND,      /* params of the other kind of layer (local, global) */
    EDIT_GELU_ERF,        /* params.glu.activation, where it is GELU's tanh form */
    EDIT_ACTIVATION,      /* params.glu.activation = value */
    EDIT_NO_BIAS,         /* of a matmul */
    EDIT_LAYER_BEFORE,    /* weights of the same step one layer before */
    EDIT_VARIANT,         /* variant = value (VARIANT_ code) */
    EDIT_EXCHANGE,        /* weights of the step beside it that has the same op, inputs and parameters */
    EDIT_WRONG_DTYPE,     /* weight bytes read as another dtype */
    EDIT_ROW_TIMES,       /* one row of the weight (a third down) times value */
    EDIT_PAIR_ORDER,      /* rows of the weight in GGUF's order: adjacent pairs where halves are meant */
    EDIT_MIN_SIGN,        /* Q4_1 and its like: d q - m for d q + m, or the reverse: the sign bit of every block's m */
    EDIT_NO_SINKS,        /* attention without its sinks */
    EDIT_NO_SOFTCAP,      /* attention's, or the final one */
    EDIT_NO_YARN,         /* params.rope: plain frequencies, no scale */
    EDIT_NO_EXPERT_BIAS,  /* a bias of zeros */
    EDIT_NO_EXPERTS,      /* params.expert_sum.k = 0 */
    EDIT_NIBBLES,         /* MXFP4: the high nibble of each stored byte is taken for the low one, and the reverse */
    EDIT_TO_Q4_K,         /* a weight that is not quantised goes through Q4_K */
    EDIT_ROW_BY_ROW,      /* a packed stream of blocks read as if each row began a block */
    EDIT_TAMPER,          /* tamper.how = value (enum tamper) */
    EDIT_PAD_BUFFERS,     /* no step: the engine's buffers are larger than their shapes, the rest is garbage */
    EDIT_COUNT
};

struct fault {
    const char *name;         /* "qk-norm-no-offset" */
    const char *story;        /* one sentence for people: what the bug is and what it does */
    const char *postmortem;   /* "2025-12-25-gemma3-qknorm-offset", or the seed's row */
    enum op op;               /* of the steps that it can strike; OP_COUNT: any */
    const enum stage *stages; /* the stages whose steps it can strike, STAGE_COUNT-terminated */
    enum fault_edit edit;
    double value;
    const char *relation; /* what names it; NULL: a mutant of the op does */
    enum stage shows_at;  /* the stage that it shows at, where another is planted; embed: the one that is */
    bool every_layer;   /* planted in every step that it can strike, as the bug in the wild; else in the first alone */
    bool whole_layer;   /* likewise in every step of the first layer that it can strike */
    bool decode_only;   /* shows in decode rows alone */
    bool nonfinite;     /* shows as NaN or infinity alone; elsewhere the formula is as good as the right one */
    bool consistent;    /* what names it is no proof: HOW_CONSISTENT */
    bool silent;        /* a false alarm of the seeds: the workbench must report nothing */
    bool breaks_engine; /* the engine fails (exit 6), and nothing is judged */
};

const struct fault *fault_list(uint32_t *n_faults);
const struct fault *fault_by_name(const char *name); /* NULL: unknown */

/* Whether the fault changes this step at all (edits of a parameter that already has the value do not). */
bool fault_applies(const struct fault *fault, const struct plan *plan, uint32_t step);

/* The step as the fault would have it; changed weights lie in the arena. Only if fault_applies. */
struct step fault_mutant(const struct fault *fault, const struct plan *plan, uint32_t step, struct arena *arena);

/* A fault and the place it is asked for: "NAME", "NAME@LAYER", "NAME@LAYER.STAGE". */
struct fault_request {
    const struct fault *fault;
    int32_t layer;    /* LAYER_NONE: where it first applies */
    enum stage stage; /* STAGE_COUNT: any */
};
/* STATUS_USAGE where it is no fault, layer or stage. */
enum status fault_parse(struct fault_request *request, const char *text, struct error *err);

/* Plants the fault in a copy of a plan. *step: the index of the first step struck, or -1 for a fault of no step.
 * STATUS_BAD_INPUT where it does not apply to this model. */
enum status fault_plant(const struct fault_request *request, struct plan *plan, int32_t *step, struct error *err);

#endif
