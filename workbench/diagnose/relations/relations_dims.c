/* Relations of single values: one wrong dim, overflow of the stored type, padding, NaN and infinity. */
#include <float.h>
#include <math.h>
#include <stdio.h>

#include "workbench/diagnose/relations/relations.h"

/* The bias of one dim of a matmul; 0: none. */
static double bias_of(const struct evidence *evidence, uint32_t dim)
{
    const struct tensor *bias = evidence->step->op == OP_matmul ? evidence->step->weight[1] : NULL;
    float value = 0;
    if (bias && dtype_info(bias->dtype)->block_elems == 1) {
        weights_decode(bias, 0, dim, 1, &value);
    }
    return value;
}

/* The factor by which a dim, without its bias, is off in all failing rows. NaN: no one factor fits, or there is one
 * row. */
static double dim_factor(const struct evidence *evidence, uint32_t dim)
{
    double product = 0, square = 0, slack = 0, bias = bias_of(evidence, dim);
    for (uint32_t i = 0; i < evidence->n; i++) {
        double expected = evidence_expected(evidence, i)[dim] - bias;
        product += (evidence_actual(evidence, i)[dim] - bias) * expected;
        square += expected * expected;
        slack += evidence_bound(evidence, i)[dim] * fabs(expected);
    }
    double factor = product / square, grown = fmax(1, fabs(factor));
    for (uint32_t i = 0; i < evidence->n; i++) {
        double expected = evidence_expected(evidence, i)[dim] - bias;
        double allowed = grown * (evidence_bound(evidence, i)[dim] + slack / square * fabs(expected));
        if (!(fabs(evidence_actual(evidence, i)[dim] - bias - factor * expected) <= allowed)) {
            return NAN;
        }
    }
    return evidence->n >= 2 ? factor : NAN;
}

bool relation_one_dim_multiple(const struct evidence *evidence, char text[512])
{
    int64_t dim = evidence_only_dim(evidence);
    if (dim < 0 || evidence->stage->width == 1) {
        return false;
    }
    double factor = dim_factor(evidence, (uint32_t)dim);
    snprintf(text, 512,
             "In all %u failing rows only dim %lld is wrong, and there the output is %.9g times what is expected: one "
             "row of the weight, or its scale, is off by that factor.",
             evidence->n, (long long)dim, factor);
    return !isnan(factor);
}

bool relation_one_dim(const struct evidence *evidence, char text[512])
{
    int64_t dim = evidence_only_dim(evidence);
    if (dim < 0 || evidence->stage->width == 1 || !isnan(dim_factor(evidence, (uint32_t)dim))) {
        return false;
    }
    snprintf(text, 512, "In all %u failing rows only dim %lld is wrong.", evidence->n, (long long)dim);
    return true;
}

/* The largest finite number of the type that a trace stores. */
static double largest_stored(const struct arith *arith)
{
    double u, smallest;
    if (float_type("float16", &u, &smallest) && arith->u_storage == u) {
        return 65504;
    }
    if (float_type("bfloat16", &u, &smallest) && arith->u_storage == u) {
        return ldexp(1.0 - ldexp(1, -8), 128);
    }
    return FLT_MAX;
}

bool relation_storage_overflow(const struct evidence *evidence, char text[512])
{
    double largest = largest_stored(&evidence->stage->arith);
    for (uint32_t i = 0; i < evidence->n; i++) {
        for (uint32_t d = 0; d < evidence->stage->width; d++) {
            double expected = evidence_expected(evidence, i)[d], actual = evidence_actual(evidence, i)[d];
            double bound = evidence_bound(evidence, i)[d];
            bool overflowed =
                isinf(actual) && fabs(expected) + bound >= largest && signbit(actual) == signbit(expected);
            if (judge(expected, actual, bound) > 1 && !overflowed) {
                return false;
            }
        }
    }
    snprintf(text, 512,
             "The expected values are larger than %.9g, the largest number of the type that this trace stores. They "
             "became infinite.",
             largest);
    return true;
}

bool relation_pad_chosen(const struct evidence *evidence, char text[512])
{
    if (evidence->step->op != OP_sample_token) {
        return false;
    }
    int32_t pad = evidence->step->params.sample_token.masked_id;
    for (uint32_t i = 0; i < evidence->n; i++) {
        if (evidence_actual(evidence, i)[0] != (float)pad) {
            return false;
        }
    }
    snprintf(text, 512, "Padding (id %d) is chosen from position %u on, at %u position%s.", pad,
             evidence->rows[0].position, evidence->n, evidence->n == 1 ? "" : "s");
    return true;
}

/* Counts the values of the failing rows that are not finite, and tells of the first. Returns whether there are any.
 * *only: every value that fails is one of them. */
static bool find_nonfinite(const struct evidence *evidence, bool *only, char text[512])
{
    uint64_t n_nan = 0, n_infinite = 0;
    uint32_t position = 0, dim = 0;
    *only = true;
    for (uint32_t i = 0; i < evidence->n; i++) {
        for (uint32_t d = 0; d < evidence->stage->width; d++) {
            float actual = evidence_actual(evidence, i)[d];
            if (isfinite(actual)) {
                *only &= !(judge(evidence_expected(evidence, i)[d], actual, evidence_bound(evidence, i)[d]) > 1);
                continue;
            }
            if (n_nan + n_infinite == 0) {
                position = evidence->rows[i].position;
                dim = d;
            }
            n_nan += isnan(actual);
            n_infinite += isinf(actual);
        }
    }
    snprintf(text, 512,
             "The inputs are finite, but the output has %llu NaN and %llu infinite values, the first at position %u, "
             "dim %u.",
             (unsigned long long)n_nan, (unsigned long long)n_infinite, position, dim);
    return n_nan + n_infinite > 0;
}

bool relation_nonfinite(const struct evidence *evidence, char text[512])
{
    bool only;
    return find_nonfinite(evidence, &only, text) && only;
}

bool relation_some_nonfinite(const struct evidence *evidence, char text[512])
{
    bool only;
    return find_nonfinite(evidence, &only, text) && !only;
}
