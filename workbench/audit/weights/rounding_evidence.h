/* Whether the error of a step that multiplies with weights looks like the rounding of those weights to MODEL's format.
 *
 * W is MODEL's matrix, w the unquantised one, and each w_oi - W_oi an error of its own: its mean is 0, its variance
 * step_oi^2 / 12 (reference/weight_steps.h). Then output o of row r is off by e_ro = sum over i of (w - W)_oi x_ri,
 * with variance v_ro = sum over i of x_ri^2 step_oi^2 / 12. What holds of such errors, and of hardly any others:
 *
 * - |e_ro| <= sum |x_ri| most_oi.
 * - The mean of e^2 / v over all N values is 1 or less. (K-quants search their scales, and leave less than a step's
 *   worth.) Rows of one output share its errors, so they are not independent: with
 *   C_rk = sum over i of x_ri x_ki step_oi^2 / 12 / sqrt(v_ro v_ko), the sum over r of e_ro^2 / v_ro has at most the
 *   variance 2 |C_o|^2 (Frobenius; errors that are uniform have less than Gaussian ones).
 * - The least-squares factor of recorded on expected, each value weighted by 1 / v, lies in [1 - N / sum(y^2 / v), 1]:
 *   an error that is independent of w makes W larger than w, one of fitted scales is independent of W. Clipped weights
 *   add sum(x^2 |W| outwards / v) / sum(y^2 / v). The sum over r of e_ro y_ro / v_ro has the variance
 *   sum over i of (sum over r of x_ri y_ro / v_ro)^2 step_oi^2 / 12.
 *
 * Weighted so, neither a large row nor a few large outputs decide alone.
 *
 * A sum may deviate by what has a chance of exp(-t), t = 32, 1e-14: sqrt(2 t) standard deviations for a sum of bounded
 * errors (Hoeffding), and for a sum of squares 2 sqrt(t sum |C_o|^2) + 2 t max |C_o| (Laurent and Massart 2000, lemma
 * 1; a uniform error's exponential moments are at most those of a Gaussian one of its variance). */
#ifndef LOCKSTEP_WORKBENCH_AUDIT_ROUNDING_EVIDENCE_H
#define LOCKSTEP_WORKBENCH_AUDIT_ROUNDING_EVIDENCE_H

#include "workbench/trace/trace.h"

#define UNLIKELY 32 /* t */

struct rounding_evidence {
    uint64_t n_values;       /* compared; 0: the step has no row with recorded inputs */
    double worst;            /* largest |error| / the most that rounding can cause */
    uint32_t position, dim;  /* of it */
    double squares;          /* sum of e^2 / v; v with the square of the arithmetic's own bound */
    double dependence;       /* sum of |C_o|^2 */
    double largest;          /* |C_o| */
    double expected_squares; /* sum of y^2 / v, without biases */
    double product;          /* sum of recorded y / v, without biases */
    double product_variance; /* of sum e y / v */
    double product_clipped;  /* what clipped weights add to it */
    double product_bound;    /* sum of |bound y| / v: the arithmetic's own part of it */
};

/* Whether the step multiplies with a matrix that MODEL holds rounded: an embedding, a product, a product of experts. */
bool rounding_has_weights(const struct step *step);

/* Gathers the evidence of a step of a trace, over all rows whose inputs were recorded. The step has such weights. */
void rounding_evidence_gather(struct rounding_evidence *evidence, const struct plan *plan, uint32_t step,
                              const struct trace *trace);

/* What the evidence allows. */
struct rounding_limits {
    double most_rms; /* of sqrt(mean of e^2 / v) */
    double rms;      /* that it is */
    double least_factor, most_factor;
    double factor; /* that it is */
};
struct rounding_limits rounding_limits(const struct rounding_evidence *evidence);

/* Whether the error looks like rounding. If not, says in which respect. */
bool rounding_explains(const struct rounding_evidence *evidence, char why[160]);

#endif
