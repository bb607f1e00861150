/* Inside diagnose/: trying an op on recorded rows, and the diagnosis of a span. */
#ifndef LOCKSTEP_WORKBENCH_DIAGNOSE_DIAGNOSE_INTERNAL_H
#define LOCKSTEP_WORKBENCH_DIAGNOSE_DIAGNOSE_INTERNAL_H

#include "workbench/diagnose/diagnose.h"

/* op_trial.c: a step's rows that can be judged, and room for the results of some of them at once. */
struct op_trial {
    const struct trace_stage *stage; /* the step's recorded output */
    struct rows rows;
    uint32_t at_once;         /* rows that fit `expected` and `bound` */
    double *expected, *bound; /* [at_once, width] */
};

void trial_open(struct op_trial *trial, const struct plan *plan, uint32_t step, const struct trace *trace);
void trial_close(struct op_trial *trial);

/* Computes n rows, at most at_once, by a step: the right one or a mutant of it. */
void trial_run(struct op_trial *trial, const struct step *step, const struct op_row *rows, uint32_t n);

/* The worst ratio of row i of those just computed. Values that are nonfinite on both sides agree. */
double trial_row_ratio(const struct op_trial *trial, const struct op_row *rows, uint32_t i);

/* Moves the rows that fail the right step to the front and keeps their order. Returns how many there are. */
uint32_t trial_sort_failing_first(struct op_trial *trial, const struct step *right);

/* Whether a step computes every row as it was recorded. *worst: the worst ratio seen. */
bool trial_reproduces(struct op_trial *trial, const struct step *mutant, double *worst);

/* diagnose_span.c: a failing step whose inputs are computed across a span, because they are not recorded. */
struct span_failure {
    const struct plan *plan;
    uint32_t step;
    const struct trace *trace;
    const struct span_path *path;
    uint32_t failing_position; /* of a row that fails */
    bool nonfinite;            /* a failing row holds NaN or infinity */
};

/* Tries every mutant at the steps inside the span. Writes those that reproduce all rows to found[max], each with its
 * place in `step`, the closest to the recorded rows first. Returns how many. */
uint32_t diagnose_span(const struct span_failure *failure, struct diagnosis *found, uint32_t max);

#endif
