/* Relations that compare values within their bounds: multiples, offsets, permutations. A fitted number is uncertain as
 * far as the bounds of the values allow; that much, and no more, is added to the bound. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "workbench/diagnose/diagnose_internal.h"

bool relation_sign_flipped(const struct evidence *evidence, char text[512])
{
    for (uint32_t i = 0; i < evidence->n; i++) {
        for (uint32_t d = 0; d < evidence->stage->width; d++) {
            if (!(judge(-evidence_expected(evidence, i)[d], evidence_actual(evidence, i)[d],
                        evidence_bound(evidence, i)[d]) <= 1)) {
                return false;
            }
        }
    }
    snprintf(text, 512, "The %u failing rows have the opposite sign of what is expected.", evidence->n);
    return true;
}

/* The least squares fit of actual = factor * expected over some rows. */
struct multiple {
    double factor, unsure; /* unsure: how far the bounds let the factor move */
    const float *bias;     /* [width] both are meant without it: the multiple is one of a matrix; NULL: none */
};

static double bias_at(const float *bias, uint32_t dim)
{
    return bias ? bias[dim] : 0;
}

static struct multiple fit_multiple(const struct evidence *evidence, uint32_t first, uint32_t last, const float *bias)
{
    double product = 0, square = 0, slack = 0;
    for (uint32_t i = first; i < last; i++) {
        const float *actual = evidence_actual(evidence, i);
        const double *expected = evidence_expected(evidence, i), *bound = evidence_bound(evidence, i);
        for (uint32_t d = 0; d < evidence->stage->width; d++) {
            double y = expected[d] - bias_at(bias, d);
            product += (actual[d] - bias_at(bias, d)) * y;
            square += y * y;
            slack += bound[d] * fabs(y);
        }
    }
    double factor = product / square;
    return (struct multiple){factor, fmax(1, fabs(factor)) * slack / square, bias};
}

/* Whether the multiple of what is expected, + offset, is clearly nearer to what was recorded than the expected values
 * themselves. A fitted number always comes a little nearer. */
static bool is_clearly_nearer(const struct evidence *evidence, uint32_t first, uint32_t last,
                              const struct multiple *multiple, double offset)
{
    struct contrast contrast = {0};
    for (uint32_t i = first; i < last; i++) {
        for (uint32_t d = 0; d < evidence->stage->width; d++) {
            double expected = evidence_expected(evidence, i)[d], bound = evidence_bound(evidence, i)[d];
            double bias = bias_at(multiple->bias, d), other = multiple->factor * (expected - bias) + bias + offset;
            contrast_add(&contrast,
                         &(struct contrast_value){evidence_actual(evidence, i)[d], expected, bound, other, bound});
        }
    }
    return contrast_tells(&contrast);
}

/* Whether rows are that multiple. One value fits any factor, so at least two must be larger than their bounds. */
static bool rows_are_multiple(const struct evidence *evidence, uint32_t first, uint32_t last, struct multiple multiple)
{
    uint64_t n_clear = 0;
    for (uint32_t i = first; i < last; i++) {
        const float *actual = evidence_actual(evidence, i);
        const double *expected = evidence_expected(evidence, i), *bound = evidence_bound(evidence, i);
        for (uint32_t d = 0; d < evidence->stage->width; d++) {
            double bias = bias_at(multiple.bias, d), y = expected[d] - bias;
            double allowed = fmax(1, fabs(multiple.factor)) * bound[d] + multiple.unsure * fabs(y);
            if (!(fabs(actual[d] - bias - multiple.factor * y) <= allowed)) {
                return false;
            }
            n_clear += fabs(y) > bound[d];
        }
    }
    return n_clear >= 2 && is_clearly_nearer(evidence, first, last, &multiple, 0);
}

/* The same of a matrix product, whose bias is added after it. */
static bool matrix_is_multiple(const struct evidence *evidence, char text[512])
{
    const struct step *step = evidence->step;
    if (step->op != OP_matmul || !step->weight[1]) {
        return false;
    }
    float *bias = xmalloc(step->width * sizeof(*bias));
    weights_decode(step->weight[1], 0, 0, step->width, bias);
    struct multiple multiple = fit_multiple(evidence, 0, evidence->n, bias);
    bool fits = fabs(multiple.factor) > 0 && rows_are_multiple(evidence, 0, evidence->n, multiple);
    snprintf(text, 512, "Every value of the %u failing rows, without the bias, is %.9g times what is expected.",
             evidence->n, multiple.factor);
    free(bias);
    return fits;
}

bool relation_constant_multiple(const struct evidence *evidence, char text[512])
{
    struct multiple multiple = fit_multiple(evidence, 0, evidence->n, NULL);
    if (!(fabs(multiple.factor) > 0) || !rows_are_multiple(evidence, 0, evidence->n, multiple)) {
        return matrix_is_multiple(evidence, text);
    }
    snprintf(text, 512, "Every value of the %u failing rows is %.9g times what is expected.", evidence->n,
             multiple.factor);
    return true;
}

bool relation_row_multiples(const struct evidence *evidence, char text[512])
{
    double low = INFINITY, high = -INFINITY;
    for (uint32_t i = 0; i < evidence->n; i++) {
        struct multiple multiple = fit_multiple(evidence, i, i + 1, NULL);
        if (!(fabs(multiple.factor) > 0) || !rows_are_multiple(evidence, i, i + 1, multiple)) {
            return false;
        }
        low = fmin(low, multiple.factor);
        high = fmax(high, multiple.factor);
    }
    snprintf(text, 512, "Each failing row is a multiple of what is expected, with factors from %.9g to %.9g.", low,
             high);
    return evidence->n > 1;
}

bool relation_constant_offset(const struct evidence *evidence, char text[512])
{
    double sum = 0, slack = 0;
    double n = (double)evidence->n * evidence->stage->width;
    for (uint32_t i = 0; i < evidence->n; i++) {
        for (uint32_t d = 0; d < evidence->stage->width; d++) {
            sum += evidence_actual(evidence, i)[d] - evidence_expected(evidence, i)[d];
            slack += evidence_bound(evidence, i)[d];
        }
    }
    double offset = sum / n, unsure = slack / n;
    for (uint32_t i = 0; i < evidence->n; i++) {
        for (uint32_t d = 0; d < evidence->stage->width; d++) {
            double actual = evidence_actual(evidence, i)[d];
            double allowed =
                evidence_bound(evidence, i)[d] + unsure + trace_stage_coarsest(evidence->stage) * fabs(actual);
            if (!(fabs(actual - evidence_expected(evidence, i)[d] - offset) <= allowed)) {
                return false;
            }
        }
    }
    snprintf(text, 512, "Every value of the %u failing rows is what is expected plus %.9g.", evidence->n, offset);
    return n >= 2 && is_clearly_nearer(evidence, 0, evidence->n, &(struct multiple){.factor = 1}, offset);
}

static int ascending(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

/* Whether a row holds the expected values in another order: sorted, both differ by at most the row's largest bound. */
static bool row_is_permuted(const struct evidence *evidence, uint32_t i, double *actual, double *expected)
{
    uint32_t width = evidence->stage->width;
    double most = 0, right_miss = 0, miss = 0;
    for (uint32_t d = 0; d < width; d++) {
        actual[d] = evidence_actual(evidence, i)[d];
        expected[d] = evidence_expected(evidence, i)[d];
        most = fmax(most, evidence_bound(evidence, i)[d]);
        right_miss += (actual[d] - expected[d]) * (actual[d] - expected[d]);
        if (!isfinite(actual[d]) || !isfinite(expected[d])) {
            return false;
        }
    }
    qsort(actual, width, sizeof(*actual), ascending);
    qsort(expected, width, sizeof(*expected), ascending);
    for (uint32_t d = 0; d < width; d++) {
        if (fabs(actual[d] - expected[d]) > most) {
            return false;
        }
        miss += (actual[d] - expected[d]) * (actual[d] - expected[d]);
    }
    return 16 * miss <= right_miss;
}

bool relation_permutation(const struct evidence *evidence, char text[512])
{
    uint32_t width = evidence->stage->width;
    double *actual = xcalloc(width, sizeof(*actual)), *expected = xcalloc(width, sizeof(*expected));
    bool permuted = width >= 4;
    for (uint32_t i = 0; i < evidence->n && permuted; i++) {
        permuted = row_is_permuted(evidence, i, actual, expected);
    }
    free(actual);
    free(expected);
    snprintf(text, 512, "The %u failing rows hold the expected values in another order: a permutation of dims.",
             evidence->n);
    return permuted;
}
