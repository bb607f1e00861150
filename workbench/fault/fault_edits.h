/* Inside fault/: the functions that a row's `edit` can name. */
#ifndef LOCKSTEP_WORKBENCH_FAULT_FAULT_EDITS_H
#define LOCKSTEP_WORKBENCH_FAULT_FAULT_EDITS_H

#include "workbench/fault/fault.h"

/* An edit under way. */
struct edit {
    const struct fault *fault;
    const struct plan *plan; /* the right one */
    uint32_t index;          /* of the step in it */
    struct arena *arena;     /* for edited weights; NULL: the caller only asks whether the edit applies */
    struct step step;        /* edited in place */
};

/* fault_edits.c: parameters, wiring and handling. */
edit_function edit_query_scale;  /* scale = head_dim^-1/2 */
edit_function edit_other_kind;   /* parameters of the other kind of layer (local or global) */
edit_function edit_no_offset;    /* a norm without the family's 1, which the file's weights may hold */
edit_function edit_no_bias;      /* a matmul without its bias */
edit_function edit_no_sinks;     /* attention without its sinks */
edit_function edit_no_yarn;      /* rope with plain frequencies, cos and sin not scaled */
edit_function edit_layer_before; /* weights of the same step one layer before */
edit_function edit_exchange;     /* weights of the step of the same layer that has the same op, inputs and parameters */
edit_function edit_shared_slot;  /* TAMPER_SHARED_SLOT, odd layers: with q_proj of the next layer */
edit_function edit_heads_first;  /* TAMPER_HEADS_FIRST: where there are several heads */
edit_function edit_pad_chosen;   /* TAMPER_PAD_CHOSEN: where the model has a padding token */

/* fault_weights.c: a weight's bytes, or what they are read as. */
edit_function edit_wrong_dtype;    /* read as another dtype */
edit_function edit_row_times;      /* one row, a third down, times `value` */
edit_function edit_pair_order;     /* rows of q and k in GGUF's order: adjacent pairs instead of halves */
edit_function edit_min_sign;       /* Q4_1 and its like: the sign of every block's minimum flipped */
edit_function edit_no_expert_bias; /* the experts' biases zero */
edit_function edit_nibbles;        /* MXFP4: the two nibbles of each stored byte exchanged */
edit_function edit_to_q4_k;        /* an unquantised weight quantised to Q4_K */
edit_function edit_row_by_row;     /* a packed stream of blocks read as if each row began a block */

#endif
