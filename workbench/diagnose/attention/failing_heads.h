/* Bugs of some heads alone. A step of heads is cut down to those that fail: the same op with fewer heads, each with the
 * keys and values that it reads. What explains all rows of that explains these heads; the others come out right. */
#ifndef LOCKSTEP_WORKBENCH_DIAGNOSE_FAILING_HEADS_H
#define LOCKSTEP_WORKBENCH_DIAGNOSE_FAILING_HEADS_H

#include "workbench/diagnose/solver.h"

struct failing_heads {
    struct solve solve; /* of the heads that fail */
    uint32_t n_all, n;
    uint32_t *heads; /* [n] which */
    struct plan plan;
    struct trace trace;
    struct trace_stage stage;
    struct op_trial trial;
    struct evidence evidence;
    struct arena arena;
};

/* Returns whether the step's rows are made of heads, and some of them fail and others pass. */
bool failing_heads_open(struct failing_heads *failing, const struct solve *solve);
void failing_heads_close(struct failing_heads *failing);

/* Adds " Only heads 2, 3 are wrong." to a text. */
void failing_heads_tell(const struct failing_heads *failing, struct diagnosis *found);

#endif
