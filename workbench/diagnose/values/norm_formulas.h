/* Other formulas for what a norm multiplies a group by, r = 1 / sqrt(mean(x^2) + eps). */
#ifndef LOCKSTEP_WORKBENCH_DIAGNOSE_NORM_FORMULAS_H
#define LOCKSTEP_WORKBENCH_DIAGNOSE_NORM_FORMULAS_H

#include "workbench/fault/fault.h"

#include "reference/roundings.h"

struct norm_formula;

/* r of a group; x: the whole row. */
typedef double norm_inverse(const struct rms_norm_params *params, const float *x, uint32_t group,
                            const struct norm_formula *formula);

struct norm_formula {
    norm_inverse *inverse;
    uint32_t run;         /* values that are normalised together */
    uint32_t first, last; /* of a group's squares that are in the sum */
    bool by_count;        /* their mean is over as many; else over all */
    enum rounding_type type;
    double eps; /* another than MODEL's */
};

norm_inverse norm_over_run;    /* over runs of `run` values */
norm_inverse norm_of_range;    /* over squares [first, last) */
norm_inverse norm_eps_outside; /* formula's eps is added to the root */

/* Formulas without numbers of their own. */
struct norm_other {
    struct norm_formula formula;
    const char *what; /* for people */
    enum fault_kind kind;
};
const struct norm_other *norm_others(uint32_t *n);

#endif
