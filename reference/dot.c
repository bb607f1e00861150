#include "reference/dot.h"

#include <math.h>
#include <stdbool.h>

#include "reference/cloned.h"

static double lanes_fold(double lanes[DOT_LANES])
{
    for (unsigned half = DOT_LANES / 2; half > 0; half /= 2) {
        for (unsigned l = 0; l < half; l++) {
            lanes[l] += lanes[l + half];
        }
    }
    return lanes[0];
}

void dot_widen(const float *values, uint64_t n, double *b)
{
    for (uint64_t i = 0; i < n; i++) {
        b[i] = values[i];
    }
}

/* Inlined into both functions with `squared` constant. */
static inline __attribute__((always_inline)) struct dot sum_products(const float *a, const double *b, uint64_t n,
                                                                     bool squared)
{
    double sums[DOT_LANES] = {0}, squares[DOT_LANES] = {0};
    uint64_t i = 0;
    for (; i + DOT_LANES <= n; i += DOT_LANES) {
        for (unsigned l = 0; l < DOT_LANES; l++) {
            double product = a[i + l] * b[i + l];
            sums[l] += product;
            if (squared) {
                squares[l] += product * product;
            }
        }
    }
    for (unsigned l = 0; i + l < n; l++) {
        double product = a[i + l] * b[i + l];
        sums[l] += product;
        if (squared) {
            squares[l] += product * product;
        }
    }
    return (struct dot){lanes_fold(sums), squared ? lanes_fold(squares) : 0};
}

CLONED struct dot dot_sum(const float *a, const double *b, uint64_t n)
{
    return sum_products(a, b, n, false);
}

CLONED struct dot dot_sum_squares(const float *a, const double *b, uint64_t n)
{
    return sum_products(a, b, n, true);
}

CLONED static double error_squares(const float *w, const double *error, uint64_t n)
{
    double squares[DOT_LANES] = {0};
    uint64_t i = 0;
    for (; i + DOT_LANES <= n; i += DOT_LANES) {
        for (unsigned l = 0; l < DOT_LANES; l++) {
            double moved = w[i + l] * error[i + l];
            squares[l] += moved * moved;
        }
    }
    for (unsigned l = 0; i + l < n; l++) {
        double moved = w[i + l] * error[i + l];
        squares[l] += moved * moved;
    }
    return lanes_fold(squares);
}

double dot_error(const float *w, const double *error, uint64_t n)
{
    return sqrt(error_squares(w, error, n));
}
