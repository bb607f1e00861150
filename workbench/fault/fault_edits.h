/* Inside the faults: the edits that the rows of the table ask for, one function each. */
#ifndef LOCKSTEP_WORKBENCH_FAULT_FAULT_EDITS_H
#define LOCKSTEP_WORKBENCH_FAULT_FAULT_EDITS_H

#include "workbench/fault/fault.h"

/* What an edit has before it, and the step that it changes. */
struct edit {
    const struct fault *fault;
    const struct plan *plan;
    uint32_t index;      /* of the step */
    struct arena *arena; /* for changed weights; NULL: only asked whether it applies */
    struct step step;
};

/* Makes the edit to edit->step. false: it does not apply. */
typedef bool edit_function(struct edit *edit);

/* fault_weights.c: those that change a weight's bytes or what they are taken for. */
edit_function edit_wrong_dtype, edit_row_times, edit_pair_order, edit_min_sign, edit_no_expert_bias, edit_nibbles,
    edit_to_q4_k, edit_row_by_row;

#endif
