/* Inside diagnose/: trying an op on recorded rows, and the diagnosis of a span. */
#ifndef LOCKSTEP_WORKBENCH_DIAGNOSE_DIAGNOSE_INTERNAL_H
#define LOCKSTEP_WORKBENCH_DIAGNOSE_DIAGNOSE_INTERNAL_H

#include "workbench/diagnose/diagnose.h"
#include "workbench/diagnose/relations/relations.h"

/* op_trial.c: a step's rows that can be judged, and room for the results of some of them at once. */
struct op_trial {
    const struct trace_stage *stage; /* the step's recorded output */
    struct rows rows;
    uint32_t n_failing;       /* of the right step; set by trial_sort_failing_first */
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

/* What the right step makes of the failing rows, which stand first, or of as many as are computed at once. */
void evidence_open(struct evidence *evidence, const struct op_trial *trial, const struct plan *plan, uint32_t index,
                   const struct trace *trace);
void evidence_close(struct evidence *evidence);

/* How many rows of a recorded step fail. */
uint32_t diagnose_n_failing(const struct plan *plan, uint32_t step, const struct trace *trace);

/* Whether a failing row holds NaN or infinity. */
bool trial_any_nonfinite(const struct op_trial *trial);

/* Another way to compute the step's rows. */
struct candidate {
    const struct step *step;   /* the right one, or an edited one */
    const struct op_row *rows; /* [trial rows] edited rows in the trial's order; NULL: the trial's */
    uint32_t weights_dtype;    /* weights are rounded to it: DTYPE_F32, DTYPE_F16, DTYPE_BF16 */
    bool spares_some;          /* the bug may leave out rows that are right: those of a phase in which no row fails, and
                                  those before the first or after the last failing position */
};

/* A candidate that edits the step alone. */
struct candidate trial_candidate(const struct op_trial *trial, const struct step *step);

/* Whether a candidate explains the error, and *worst, its worst ratio: it computes every row as it was recorded; on the
 * failing rows it and the right op differ by more than either bound; and it misses what was recorded by far less than
 * the right op does. One failing row among others must hold more than zeros where it fails: too many bugs leave a row
 * of zeros (heads whose share of a softmax vanishes). right: the right op's failing rows. */
bool trial_explains(struct op_trial *trial, const struct candidate *candidate, const struct evidence *right,
                    double *worst);

/* Whether row i is right and lies where no row fails: in the other phase, or outside the failing positions. */
bool trial_row_is_spared(const struct op_trial *trial, uint32_t i);

/* How clearly a candidate and the right op can be told apart, from values of failing rows. */
struct contrast {
    double right_miss, miss; /* sums of squares: recorded - right, recorded - candidate */
    bool apart;              /* at a value that fails they differ by more than either bound */
    bool nonzero;            /* the candidate gives such a value as recorded, and 0 would not pass for it */
};
struct contrast_value {
    double recorded, right, right_bound, y, bound;
};
void contrast_add(struct contrast *contrast, const struct contrast_value *value);

/* Whether the candidate is told apart and misses by less than a quarter, in rms, of what the right op misses. */
bool contrast_tells(const struct contrast *contrast);

struct span_failure;

/* attention/window_layers.c: whether a step of the other kind of layer has the same exchange. A fault that explains
 * `step` is an exchange only then. */
bool exchange_is_elsewhere(const struct fault *fault, const struct span_failure *failure, uint32_t step);

/* A failing step. In spans/: one whose inputs are computed across a span, because they are not recorded. */
struct span_failure {
    const struct plan *plan;
    uint32_t step;
    const struct trace *trace;
    const struct span_path *path;
    struct spans *spans;           /* computed inputs of this plan and trace */
    uint32_t failing_position;     /* of a row that fails */
    bool nonfinite;                /* a failing row holds NaN or infinity */
    bool no_mutants;               /* no mutant of the step itself is tried */
    const struct diagnosis *known; /* the one fault or number that is tried in a span; NULL: all of them */
    bool is_exchange;              /* layers of another kind need not be asked: see exchange_is_elsewhere */
};

/* products/explain_factor.c: a product of which no row fails, but the factor of all of them. Returns 1 or 0. */
uint32_t factor_explain(const struct span_failure *failure, struct diagnosis *found);

/* Tries every mutant at the steps inside the span. Writes those that reproduce all rows to found[max], each with its
 * place in `step`, the closest to the recorded rows first. Returns how many. */
uint32_t diagnose_span(const struct span_failure *failure, struct diagnosis *found, uint32_t max);

/* diagnose.c: explains a failing step. */
uint32_t diagnose_failure(const struct span_failure *failure, struct diagnosis *found, uint32_t max);

/* mutants.c: whether one fault reproduces a step that is no span. */
bool fault_reproduces(const struct fault *fault, const struct plan *plan, uint32_t step, const struct trace *trace);

#endif
