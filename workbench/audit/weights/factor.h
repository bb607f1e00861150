/* The factor of a matrix product's recorded outputs on what its recorded inputs give, over all rows.
 *
 * Where values were rounded for the file alone (rounded_dtype), a row's bound is wide: its inputs may each be off. One
 * per cent of a matrix then passes in every row, but not in their mean. Of row r with inputs x, exact outputs y without
 * bias and recorded errors e, the error of the factor is t_r = sum over o of e_o y_o / |y|^2, and the factor is 1 + the
 * mean of t. Roundings are independent, with mean 0 and at most the variance c^2 / 3 for a largest error of c:
 *
 * - input i moves t_r by g_i = sum over o of W_oi y_o / |y|^2: variance g_i^2 c_i^2 / 3; an operand that the engine
 *   rounds to u_in may round to another neighbour than the recorded one does: 2 g_i^2 (u_in x_i)^2 / 3 more;
 * - output o: (u y_o^2 / |y|^2)^2 / 3, u the unit roundoff of the file;
 * - the op's own arithmetic: sum over o of |bound_o y_o| / |y|^2, which is added as it is.
 *
 * Rows that repeat the inputs of an earlier one share its roundings and are left out. A sum of n of them deviates by
 * sqrt(2 UNLIKELY) standard deviations at most (Hoeffding, as in rounding_evidence.h). */
#ifndef LOCKSTEP_WORKBENCH_AUDIT_WEIGHTS_FACTOR_H
#define LOCKSTEP_WORKBENCH_AUDIT_WEIGHTS_FACTOR_H

#include "workbench/audit/audit.h"

struct factor {
    uint32_t n;    /* rows; of experts, rows and slots */
    double factor; /* of recorded on expected */
    double off;    /* the most that roundings move it */
};

/* Measures the factor of a step's gathered rows. Returns false where there is none: another op, values that were not
 * rounded for the file, inputs that are not recorded, operands in blocks. */
bool factor_measure(struct factor *factor, const struct plan *plan, uint32_t step, const struct trace *trace,
                    const struct rows *rows);

/* Whether roundings do not explain it. */
bool factor_is_off(const struct factor *factor);

/* Makes a step fail whose factor is off, though no row is. */
void factor_judge(struct finding *finding, const struct plan *plan, uint32_t step, const struct trace *trace,
                  const struct rows *rows);

#endif
