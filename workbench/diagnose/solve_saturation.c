/* Saturation: no value leaves [-c, c], where c is the largest value that was recorded. */
#include <math.h>
#include <stdio.h>

#include "workbench/diagnose/solver.h"

/* The magnitude that every failing value has; 0: they have several. */
static double limit_of(const struct evidence *evidence)
{
    double limit = 0;
    for (uint32_t i = 0; i < evidence->n; i++) {
        for (uint32_t d = 0; d < evidence->stage->width; d++) {
            double actual = evidence_actual(evidence, i)[d], expected = evidence_expected(evidence, i)[d];
            if (!(judge(expected, actual, evidence_bound(evidence, i)[d]) > 1)) {
                continue;
            }
            if (!isfinite(actual) || actual * expected <= 0 || fabs(expected) <= fabs(actual) ||
                (limit != 0 && fabs(actual) != limit)) {
                return 0;
            }
            limit = fabs(actual);
        }
    }
    return limit;
}

/* How many values fail, and whether one that passes is beyond the limit. */
static uint64_t count_clipped(const struct evidence *evidence, double limit, bool *beyond)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < evidence->n; i++) {
        for (uint32_t d = 0; d < evidence->stage->width; d++) {
            double actual = evidence_actual(evidence, i)[d];
            n += judge(evidence_expected(evidence, i)[d], actual, evidence_bound(evidence, i)[d]) > 1;
            *beyond |= fabs(actual) > limit;
        }
    }
    return n;
}

bool solve_saturation(const struct solve *solve, struct diagnosis *found)
{
    const struct evidence *evidence = solve->evidence;
    double limit = limit_of(evidence);
    bool beyond = false;
    uint64_t n = count_clipped(evidence, limit, &beyond);
    bool f16 = limit == 65504;
    if (limit == 0 || beyond || (n < 2 && !f16)) {
        return false;
    }
    snprintf(found->solved.name, sizeof(found->solved.name), "largest magnitude");
    found->solved.expected = INFINITY;
    found->solved.found = limit;
    snprintf(found->text, sizeof(found->text),
             "Values are clipped at %.9g%s: each of the %llu values that fail is that, with the sign of a larger one "
             "that is expected, and no recorded value is larger.",
             limit, f16 ? ", the largest number of f16" : "", (unsigned long long)n);
    return true;
}
