/* One step of a run, from the stages that a trace holds already. */
#ifndef LOCKSTEP_TESTS_WORKBENCH_AUDIT_COMPUTE_STEP_H
#define LOCKSTEP_TESTS_WORKBENCH_AUDIT_COMPUTE_STEP_H

#include <stdlib.h>

#include "workbench/audit/audit.h"

/* Writes what a step makes of its recorded inputs, in some arithmetic, as its output. */
static inline void compute_step(const struct plan *plan, uint32_t s, struct trace *trace, const struct arith *arith)
{
    const struct step *step = &plan->steps[s];
    struct trace_stage *stage = trace_find_step(trace, step);
    struct rows rows;
    ASSERT(stage);
    rows_gather(&rows, plan, s, trace, NULL);
    double *y = xmalloc((uint64_t)rows.n * step->width * sizeof(*y));
    for (uint32_t i = 0; i < rows.n; i++) {
        rows.rows[i].arith = arith;
    }
    op_run(&(struct op_batch){
        .step = step, .weights_dtype = stage->weights_dtype, .n_rows = rows.n, .rows = rows.rows, .y = y});
    for (uint64_t i = 0; i < (uint64_t)rows.n * step->width; i++) {
        stage->rows[rows.rows[i / step->width].position * step->width + i % step->width] = (float)y[i];
    }
    free(y);
    rows_free(&rows);
}

#endif
