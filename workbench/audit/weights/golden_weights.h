/* Whether the golden was made with MODEL's weights, with the same weights in another precision, or with others.
 *
 * A golden of the unquantised model, beside a quantised MODEL, follows from its own weights, so its products fail their
 * audit. Where each failing product's error looks like the rounding of that very tensor (rounding_evidence.h), and
 * whatever MODEL holds in F32 is exact, that is told as drift, not as guilt. */
#ifndef LOCKSTEP_WORKBENCH_AUDIT_GOLDEN_WEIGHTS_H
#define LOCKSTEP_WORKBENCH_AUDIT_GOLDEN_WEIGHTS_H

#include "workbench/audit/audit.h"

/* What the error of one step of the golden is. */
enum golden_step {
    GOLDEN_STEP_ROUNDING, /* that of its tensor's rounding */
    GOLDEN_STEP_OTHER,    /* another: its weights are others, or the golden is wrong there */
    GOLDEN_STEP_COVERED,  /* the step was judged over several ops, some of which have rounded weights: nobody knows */
};

/* Judges one step that failed its audit. finding: of it. why[160]: in which respect it is another. Both the verdict and
 * the prompt ask this. */
enum golden_step golden_step_judge(const struct plan *plan, uint32_t step, const struct trace *golden,
                                   const struct finding *finding, char why[160]);

enum golden_weights_kind {
    GOLDEN_WEIGHTS_UNASKED,
    GOLDEN_WEIGHTS_SAME,
    GOLDEN_WEIGHTS_PRECISION,
    GOLDEN_WEIGHTS_OTHER
};

/* A step whose weights are not MODEL's. */
struct golden_accusation {
    uint32_t step;
    char why[160];
};

/* golden_weights_free releases it. */
struct golden_weights {
    enum golden_weights_kind kind;
    uint32_t n_rounding;        /* steps whose error is that of rounding */
    uint32_t n_covered;         /* that cannot be told, and are not accused */
    double least_rms, most_rms; /* their errors' rms, as a share of the rounding's */
    uint32_t n_accused;
    struct golden_accusation *accused; /* [n_accused] in plan order */
};

/* "same", "other-precision", "other"; NULL: nobody asked, there is no golden. */
const char *golden_weights_name(enum golden_weights_kind kind);

/* Judges the golden, audited trace t, whose digest is not MODEL's. Sets `other_precision` in the findings whose error
 * is that of rounding, so that they count as no failure.
 *
 * own: the golden audited alone with the weights that it was made with, step for step as `audit`; NULL: they are not at
 * hand. Where MODEL's rounded weights explain the golden, its finding is replaced by that of its own weights. */
void golden_weights_judge(struct golden_weights *weights, struct audit *audit, uint32_t t, const struct trace *golden,
                          const struct audit *own);
void golden_weights_free(struct golden_weights *weights);

/* Names the tensor that a step multiplies with; "" if it has none. */
const char *golden_weights_tensor(const struct step *step);

#endif
