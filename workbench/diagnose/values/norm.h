/* A norm that is solved for, and what its files share. */
#ifndef LOCKSTEP_WORKBENCH_DIAGNOSE_NORM_H
#define LOCKSTEP_WORKBENCH_DIAGNOSE_NORM_H

#include "workbench/diagnose/proof.h"
#include "workbench/diagnose/values/norm_formulas.h"

struct norm {
    const struct solve *solve;
    const struct rms_norm_params *params;
    float *multiplier; /* [dim] */
    uint32_t n;        /* groups read off, of failing rows */
    const float **x;   /* [n] rows that they are of */
    uint32_t *group;   /* [n] which of the row's */
    double *read;      /* [n] r as recorded */
    double tolerance;  /* relative, of r */
};

/* norm_rows.c: whether rows are copied; whether a row is normalised in parts, or normalised values are rounded before
 * the weight. */
bool norm_copies(const struct norm *norm, struct diagnosis *found);
bool norm_in_parts(const struct norm *norm, struct diagnosis *found);
bool norm_rounded_inside(const struct norm *norm, struct diagnosis *found);

#endif
