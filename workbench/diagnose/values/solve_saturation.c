/* Saturation: values above one limit, or below another, are clipped to it. The limits are the largest and the smallest
 * value that was recorded. */
#include <math.h>
#include <stdio.h>

#include "workbench/diagnose/proof.h"

struct limits {
    double low, high;       /* infinite: no value that fails is clipped on this side */
    uint64_t n_low, n_high; /* failing values that are clipped there */
};

/* The limits that all failing values have. false: one of them is not clipped. */
static bool find_limits(const struct evidence *evidence, struct limits *limits)
{
    *limits = (struct limits){-INFINITY, INFINITY, 0, 0};
    for (uint32_t i = 0; i < evidence->n; i++) {
        for (uint32_t d = 0; d < evidence->stage->width; d++) {
            double actual = evidence_actual(evidence, i)[d], expected = evidence_expected(evidence, i)[d];
            if (!(judge(expected, actual, evidence_bound(evidence, i)[d]) > 1)) {
                continue;
            }
            bool above = expected > actual;
            double *limit = above ? &limits->high : &limits->low;
            if (!isfinite(actual) || isnan(expected) || (isfinite(*limit) && *limit != actual)) {
                return false;
            }
            *limit = actual;
            limits->n_high += above;
            limits->n_low += !above;
        }
    }
    return limits->low < limits->high;
}

/* Whether a recorded value, of any row of the trace, is beyond a limit. */
static bool any_beyond(const struct solve *solve, const struct limits *limits)
{
    const struct op_trial *trial = solve->trial;
    for (uint32_t i = 0; i < trial->rows.n; i++) {
        const float *row = trace_row(trial->stage, trial->rows.rows[i].position);
        for (uint32_t d = 0; d < trial->stage->width; d++) {
            if (!trial_row_is_spared(trial, i) && (row[d] > limits->high || row[d] < limits->low)) {
                return true;
            }
        }
    }
    return false;
}

/* The largest numbers of types. */
static const char *type_of(double limit)
{
    return limit == 65504                    ? ", the largest number of f16"
           : limit == 448                    ? ", the largest number of fp8 e4m3"
           : limit == 57344                  ? ", the largest number of fp8 e5m2"
           : limit == (double)3.38953139e38F ? ", the largest number of bf16"
           : limit == (double)3.40282347e38F ? ", the largest number of f32"
           : limit == 127 || limit == 32767  ? ", the largest of signed integers"
                                             : "";
}

bool solve_saturation(const struct solve *solve, struct diagnosis *found)
{
    struct limits limits;
    if (!find_limits(solve->evidence, &limits) || any_beyond(solve, &limits)) {
        return false;
    }
    uint64_t n = limits.n_low + limits.n_high;
    double limit = isfinite(limits.high) ? limits.high : -limits.low;
    bool one = limits.n_low == 0 || limits.n_high == 0, known = *type_of(limit) != 0;
    bool same = one || limits.high == -limits.low;
    /* A single value fits any limit; two that are alike, and zeros, which a value that was never written has as well,
     * tell little. */
    if ((n < 3 && !known && !(n == 2 && same && !one)) || (limit == 0 && n < 8)) {
        return false;
    }
    found->solved = solved_number(one ? (limits.n_low ? "smallest value" : "largest value") : "largest magnitude",
                                  limits.n_low && one ? -INFINITY : INFINITY, limits.n_low && one ? limits.low : limit);
    if (same && (!one || known)) {
        found->solved = solved_number("largest magnitude", INFINITY, limit);
        snprintf(found->text, sizeof(found->text),
                 "Values are clipped at %.9g%s: each of the %llu values that fail is that, with the sign of a larger "
                 "one that is expected, and no recorded value is larger.",
                 limit, type_of(limit), (unsigned long long)n);
    } else {
        snprintf(found->text, sizeof(found->text),
                 "Values are clipped to [%.9g, %.9g]: each of the %llu values that fail is at a limit beyond which it "
                 "is expected, and no recorded value is beyond.",
                 limits.low, limits.high, (unsigned long long)n);
    }
    return true;
}
