/* Shared by the bounds. Each op's bound is in the op's file, beside the formula.
 *
 * A bound says how far rounding, in the arithmetic that a trace declares, can move one output from the exact result of
 * the same inputs. No number in it is tuned. Rounding errors are independent, each uniform within +-u of its value
 * (variance u^2/3), and are summed over the steps that any reasonable kernel takes. The standard deviation of a sum is
 * multiplied by LAMBDA. Single roundings (stores, a product, a function) count with their full u.
 *
 * u_sum: unit roundoff of sums. u_storage: of values stored on the way, including the output. eta: smallest normal
 * number of the stored type; below it a kernel may round to a subnormal number or flush to 0. */
#ifndef LOCKSTEP_REFERENCE_BOUNDS_H
#define LOCKSTEP_REFERENCE_BOUNDS_H

#include <math.h>
#include <stdint.h>

#include "reference/reference.h"

/* Number of standard deviations by which a sum may be off. A Gaussian tail of 12 sigma never happens (1e-33); the
 * margin covers that rounding errors are not quite independent. Values from 10 to 12 were tried on transformers'
 * float32, bf16 and f16 runs of all families: no false alarm, and a weight row changed by a factor of 1.0001 is found.
 */
#define BOUND_LAMBDA 12.0

/* Bound of a sum of n products a_i b_i, kept with unit roundoff u_sum, in any order.
 *
 * squares is Q = sum of (a_i b_i)^2. Each addition rounds the partial sum S_j that it makes: variance S_j^2 u^2 / 3. In
 * random order S_j is the share j/n of the sum plus a bridge of variance Q (j/n)(1 - j/n). Summed over j this is n
 * (mean_square + Q/6), with mean_square = sum^2/3. Each product rounds once: Q u^2 / 3.
 *
 * A bias b may be added last, or the sum may start with it; then its partial sums run from b to y = sum + b, and
 * mean_square is (b^2 + b y + y^2) / 3. The larger of the two is taken; without a bias they are equal. */
static inline double bound_sum(const struct arith *arith, uint64_t n, double squares, double sum, double bias)
{
    double y = sum + bias;
    double mean_square = fmax(sum * sum, bias * bias + bias * y + y * y) / 3;
    double variance = (double)n * (squares / 6 + mean_square) / 3 + squares / 3;
    return BOUND_LAMBDA * arith->u_sum * sqrt(variance);
}

/* Bound of a stored dot product. If there is a bias, the product may be stored before the bias is added. */
static inline double bound_dot(const struct arith *arith, uint64_t n, double squares, double sum, double bias)
{
    double stores = fabs(sum + bias) + (bias != 0 ? fabs(sum) : 0);
    return bound_sum(arith, n, squares, sum, bias) + arith->u_storage * stores + arith->eta;
}

/* Bound of y = cap tanh(x / cap), t = tanh(x / cap). x / cap, the tanh and the product are stored; an error of the
 * first reaches t multiplied by 1 - t^2. An f32 tanh may also be off by some u absolutely, however small t is (GLSL's
 * is). */
static inline double bound_softcap(const struct arith *arith, double cap, double x, double t)
{
    double relative = 3 * fabs(t) + (1 - t * t) * fabs(x / cap);
    return cap * (arith->u_storage * relative + 4 * arith->u_sum);
}

/* How far an error of x moves cap tanh(x / cap), t = tanh(x / cap): by the slope, and by half of the largest curvature,
 * max |tanh''| = 4 sqrt(3) / 9. */
static inline double softcap_error(double cap, double t, double error)
{
    return (1 - t * t) * error + 0.385 * error * error / fabs(cap);
}

/* How far a library's sigmoid can be off absolutely, in units of u_sum, however small it is. A library may write it as
 * 1/2 + r, |r| <= 1/2, where r is a ratio of two polynomials. Each is within 3 u of its value; with the division this
 * is 7 u of r, and the sum adds u/2. (1 + tanh(z/2)) / 2 is off by less. ONNX Runtime's sigmoid was measured at 2.6. No
 * relative bound holds below z = -3. */
#define BOUND_SIGMOID 4.0

/* How far a number of at most this magnitude is off that was rounded to f16 or bf16, of unit roundoff u. Below f16's
 * smallest normal number, 2^-14, neighbours are as far apart as above it. */
static inline double bound_rounded(double u, double magnitude)
{
    return u * fmax(magnitude, u == 0x1p-11 ? 0x1p-14 : 0x1p-126);
}

/* Bound of a copy. If the stored type holds the value, the copy is exact and the bound is 0 (an error of 0 passes).
 * Otherwise it rounds once, by half the distance of the type's neighbouring values. */
static inline double bound_copy(const struct arith *arith, double y)
{
    double magnitude = fmax(fabs(y), arith->eta);
    if (!isfinite(magnitude)) {
        return 0;
    }
    int exponent;
    (void)frexp(magnitude, &exponent); /* 2^(exponent - 1) <= magnitude < 2^exponent */
    double spacing = ldexp(arith->u_storage, exponent);
    return fmod(y, spacing) == 0 ? 0 : spacing / 2;
}

#endif
