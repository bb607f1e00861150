/* What the bounds have in common. Each op's own bound stands in its file, beside the formula.
 *
 * A bound says how far rounding, in the arithmetic that a trace declares, can move one output from the exact result
 * of the same inputs. Nothing in it is tuned: rounding errors are taken as independent, each uniform within
 * +-u of its value (variance u^2/3), summed over the steps that any reasonable kernel takes, and the standard deviation
 * of sums is multiplied by LAMBDA. Single roundings (stores, a product, a function) count at their full u.
 *
 * u_sum: of the sums. u_storage: of values stored on the way, the output included. u_operand: of operands rounded on
 * the way into a product. eta: smallest normal of the stored type; below it a kernel may round to a subnormal, or
 * flush. */
#ifndef LOCKSTEP_REFERENCE_BOUNDS_H
#define LOCKSTEP_REFERENCE_BOUNDS_H

#include <math.h>
#include <stdint.h>

#include "reference/reference.h"

/* Standard deviations that a sum may be off. A Gaussian tail of 12 sigma never happens (1e-33); what it has to cover is
 * that rounding errors are not quite independent. Tried with 10 to 12 on transformers' float32, bf16 and f16 runs of
 * all families: no false alarm, and one weight row changed by a factor 1.0001 is found. */
#define BOUND_LAMBDA 12.0

/* A sum of n products a_i b_i, kept with unit roundoff u_sum, in any order.
 *
 * squares is Q = sum of (a_i b_i)^2. Each addition rounds the partial sum S_j that it makes: variance S_j^2 u^2 / 3.
 * In random order S_j is the share j/n of the sum, plus a bridge of variance Q (j/n)(1 - j/n); summed over j:
 * n (mean_square + Q/6), with mean_square = sum^2/3. Each product rounds once: Q u^2 / 3. Rounded operands: two a
 * product, 2 Q u_operand^2 / 3.
 *
 * A bias b may be added last, or be what the sum starts with: then its partial sums run from b to y = sum + b,
 * and mean_square is (b^2 + b y + y^2) / 3. The larger of the two holds; without a bias they are the same. */
static inline double bound_sum(const struct arith *arith, uint64_t n, double squares, double sum, double bias)
{
    double y = sum + bias;
    double mean_square = fmax(sum * sum, bias * bias + bias * y + y * y) / 3;
    double variance = (double)n * (squares / 6 + mean_square) / 3 + squares / 3;
    return BOUND_LAMBDA * (arith->u_sum * sqrt(variance) + arith->u_operand * sqrt(2 * squares / 3));
}

/* A dot product with its store, and with the store before the bias is added, if there is one. */
static inline double bound_dot(const struct arith *arith, uint64_t n, double squares, double sum, double bias)
{
    double stores = fabs(sum + bias) + (bias != 0 ? fabs(sum) : 0);
    return bound_sum(arith, n, squares, sum, bias) + arith->u_storage * stores + arith->eta;
}

/* y = cap tanh(x / cap), t = tanh(x / cap). x / cap, the tanh and the product are stored; of the first, 1 - t^2 reaches
 * t. And f32 tanh errs absolutely by some u however small t is (GLSL's does). */
static inline double bound_softcap(const struct arith *arith, double cap, double x, double t)
{
    double relative = 3 * fabs(t) + (1 - t * t) * fabs(x / cap);
    return cap * (arith->u_storage * relative + 4 * arith->u_sum);
}

/* How far an x that is off by `error` moves cap tanh(x / cap), t = tanh(x / cap): by the slope, and by half the largest
 * curvature, max |tanh''| = 4 sqrt(3) / 9. */
static inline double softcap_error(double cap, double t, double error)
{
    return (1 - t * t) * error + 0.385 * error * error / fabs(cap);
}

/* How far a library's sigmoid can be off absolutely, in units of u_sum, however small it is: written as 1/2 + r (a
 * ratio of two polynomials, each within 3 u of its value, and a division: 7 u of r, |r| <= 1/2, and the sum's u/2), or
 * as (1 + tanh(z/2)) / 2, which is less. ONNX Runtime's was measured at 2.6. Below z = -3 no relative bound holds. */
#define BOUND_SIGMOID 4.0

/* A copy. Of a value that the stored type holds it is exact: the bound is 0 (and an error of 0 passes); any other is
 * rounded once, by half the distance of the type's values there. */
static inline double bound_copy(const struct arith *arith, double y)
{
    double magnitude = fmax(fabs(y), arith->eta);
    if (!isfinite(magnitude))
        return 0;
    int exponent;
    (void)frexp(magnitude, &exponent); /* 2^(exponent - 1) <= magnitude < 2^exponent */
    double spacing = ldexp(arith->u_storage, exponent);
    return fmod(y, spacing) == 0 ? 0 : spacing / 2;
}

#endif
