/* Plants a bug of a kind in a healthy trace, and asks what it is: the diagnosis, and each solver alone. */
#ifndef LOCKSTEP_WORKBENCH_DIAGNOSE_KINDS_KIND_CHECK_H
#define LOCKSTEP_WORKBENCH_DIAGNOSE_KINDS_KIND_CHECK_H

#include "workbench/diagnose/kinds/plant.h"
#include "workbench/diagnose/solver.h"

struct kind_outcome {
    int64_t step;           /* where it was planted: the first step that it fits and where it shows; -1: none */
    bool ok;                /* the first diagnosis has the bug's kind, its number, and says what the bug's row says */
    uint32_t n_found;       /* diagnoses */
    struct diagnosis found; /* the first of them */
    uint32_t n_claims;      /* solvers that explain it when each is asked alone */
    struct solver_claim claims[SOLVERS_MOST];
};

/* The trace's stages are edited, and put back. */
void kind_check(struct kind_outcome *outcome, const struct kind_bug *bug, const struct plan *plan, struct trace *trace);

#endif
