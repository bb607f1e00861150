/* The sum that takes nearly all time: a dot product of f32 vectors in f64, and the sum of squared products that its
 * bound needs.
 *
 * The result depends on the vectors alone, not on the machine, the number of threads or the batch. Element i goes to
 * lane i mod DOT_LANES, each lane adds its products in order, and the lanes are folded in halves (l += l + 16, 8, 4, 2,
 * 1). A product of two f32 is exact in f64, so fused multiply-adds would not change `sum`; they are off all the same
 * (-ffp-contract=off). gcc turns 32 lanes into vector registers; fewer it unrolls badly. */
#ifndef LOCKSTEP_REFERENCE_DOT_H
#define LOCKSTEP_REFERENCE_DOT_H

#include <stdint.h>

#define DOT_LANES 32

struct dot {
    double sum;     /* of a[i] b[i] */
    double squares; /* of (a[i] b[i])^2; 0 if not computed */
};

/* Widens f32 values to f64, b: [n]. Callers widen a vector once and use it for many products; widening takes half of a
 * product's time. */
void dot_widen(const float *values, uint64_t n, double *b);

/* Computes only the sum, for runs that need no bound. */
struct dot dot_sum(const float *a, const double *b, uint64_t n);

/* Computes both; `sum` has the same bits as dot_sum's. */
struct dot dot_sum_squares(const float *a, const double *b, uint64_t n);

/* sqrt(sum of (w[i] error[i])^2): how far independent errors of x move the sum of w[i] x[i]. */
double dot_error(const float *w, const double *error, uint64_t n);

#endif
