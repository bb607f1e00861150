/* Inside the diagnosis: spans of several ops. */
#ifndef LOCKSTEP_WORKBENCH_DIAGNOSE_DIAGNOSE_INTERNAL_H
#define LOCKSTEP_WORKBENCH_DIAGNOSE_DIAGNOSE_INTERNAL_H

#include "workbench/diagnose/diagnose.h"

/* Diagnoses, best first: those that come closest to what was recorded. */
struct span_diagnoses {
    struct diagnosis *list; /* [max] */
    double *worst;          /* [max] ratios */
    uint32_t n, max;
};

/* Whether the fault takes its input's bits for another type: then an input that was computed says nothing. */
bool diagnose_needs_exact(const struct fault *fault);

/* Tries every mutant at the steps that a failing step's span passes over. failing_position: a row that fails.
 * nonfinite: a failing row is. Writes those that reproduce all rows to found[max], their place in `step`; returns how
 * many. */
uint32_t diagnose_span(const struct plan *plan, uint32_t step, const struct trace *trace, const struct span_path *path,
                       uint32_t failing_position, bool nonfinite, struct diagnosis *found, uint32_t max);

#endif
