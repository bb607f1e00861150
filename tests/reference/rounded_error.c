/* How far rounding may move a number that is not known exactly. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "reference/dot.h"
#include "reference/roundings.h"

#define N 256
#define TRIALS 400

/* Uniform in [-1, 1). */
static double uniform(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (double)(*state >> 11) * 0x1p-52 - 1;
}

/* An error within `most`: uniform where it is small beside the distance of neighbours, h; else a sum of many. */
static double random_error(double most, double h, uint64_t *state)
{
    double sum = 0;
    if (most < h / 16) {
        return most * uniform(state);
    }
    for (unsigned i = 0; i < 12; i++) {
        sum += uniform(state) / 2; /* variance 1/12 */
    }
    return most / 12 * sum;
}

/* N numbers near 1, each off by up to `relative`, summed with weights, TRIALS times. twin: the numbers are not rounded,
 * though the bounds believe it. Returns how many sums lie within their bounds; *n_zero: bounds of zero. */
static uint32_t count_within(enum rounding_type type, double relative, bool twin, uint32_t *n_zero)
{
    uint64_t state = 17;
    uint32_t n_within = 0;
    double spacing = type == ROUNDING_F16 ? 0x1p-10 : 0x1p-7;
    *n_zero = 0;
    for (uint32_t trial = 0; trial < TRIALS; trial++) {
        float w[N];
        double bounds[N], moved = 0;
        for (uint32_t i = 0; i < N; i++) {
            double x = (float)(1.5 + uniform(&state) / 2), error = relative * x;
            double other = x + random_error(error, spacing, &state);
            w[i] = (float)uniform(&state);
            bounds[i] = rounded_float_error(type, x, error);
            moved += w[i] * ((twin ? other : round_number(type, other)) - round_number(type, x));
        }
        double bound = dot_error(w, bounds, N);
        n_within += fabs(moved) <= bound;
        *n_zero += bound == 0;
    }
    return n_within;
}

static void roundings_stay_within(void **state)
{
    (void)state;
    static const enum rounding_type types[] = {ROUNDING_F16, ROUNDING_BF16};
    uint32_t n_zero;
    for (unsigned t = 0; t < 2; t++) {
        double u = types[t] == ROUNDING_F16 ? 0x1p-11 : 0x1p-8;
        for (double share = 1e-4; share < 10; share *= 2) {
            assert_int_equal(count_within(types[t], share * u, false, &n_zero), TRIALS);
        }
        /* An error far below the distance of neighbours rarely changes a rounding: the bound knows it. */
        count_within(types[t], 1e-4 * u, false, &n_zero);
        assert_true(n_zero > TRIALS / 2);
    }
}

/* The twin: what is not rounded is not within the bounds of what is. */
static void what_is_not_rounded_is_outside(void **state)
{
    (void)state;
    uint32_t n_zero;
    assert_true(count_within(ROUNDING_F16, 1e-4 * 0x1p-11, true, &n_zero) < TRIALS / 10);
    assert_true(count_within(ROUNDING_BF16, 1e-4 * 0x1p-8, true, &n_zero) < TRIALS / 10);
}

static void exact_numbers_stay_exact(void **state)
{
    (void)state;
    assert_true(rounded_float_error(ROUNDING_F16, 0.3, 0) == 0);
    assert_true(rounded_float_error(ROUNDING_F16, 1, 1e-5) == 0);
    assert_true(rounded_float_error(ROUNDING_F16, 1 + 0x1p-11, 1e-5) > 0x1p-10);
    assert_true(isinf(rounded_float_error(ROUNDING_F16, 65519, 4)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(roundings_stay_within),
        cmocka_unit_test(what_is_not_rounded_is_outside),
        cmocka_unit_test(exact_numbers_stay_exact),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
