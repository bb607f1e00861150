/* Weights that were decoded wrongly: a scale or a minimum that is off by a factor, for which the samples are solved; a
 * variation of the decoder; a matrix that is read transposed. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/stop.h"
#include "workbench/diagnose/products/block_variants.h"
#include "workbench/diagnose/proof.h"

/* All weights of the step in another way. */
static bool prove(const struct solve *solve, const struct product_samples *samples, weights_function *weights,
                  const void *context, struct proof *proof)
{
    if (!product_samples_fit(samples, solve->evidence->step->weight[0], weights, context)) {
        return false;
    }
    struct arena arena = {0};
    struct step step = *solve->evidence->step;
    struct op_row *rows = proof_rows(solve);
    bool explains = product_expand(&step, &arena, weights, context, &(struct product_rows){rows, solve->trial->rows.n});
    if (explains) {
        struct candidate candidate = trial_candidate(solve->trial, &step);
        candidate.rows = rows;
        explains = proof_find(solve, &candidate, proof);
    }
    free(rows);
    arena_free(&arena);
    return explains;
}

static double dot(const float *w, const float *x, uint32_t n)
{
    double sum = 0;
    for (uint32_t i = 0; i < n; i++) {
        sum += (double)w[i] * x[i];
    }
    return sum;
}

/* Solves recorded - bias = scale P + minimum Z by least squares, P and Z of the samples. */
static struct linear_weights solve_linear(const struct product_samples *samples)
{
    const struct tensor *matrix = samples->step->weight[0];
    double pp = 0, pz = 0, zz = 0, py = 0, zy = 0;
    float *w = xmalloc(samples->n_in * sizeof(*w));
    for (uint32_t k = 0; k < samples->n; k++) {
        const struct product_sample *sample = &samples->samples[k];
        weights_linear(&(struct linear_weights){1, 0}, matrix, sample->weight_row, w);
        double p = dot(w, sample->x, samples->n_in), y = sample->recorded - sample->bias;
        weights_linear(&(struct linear_weights){0, 1}, matrix, sample->weight_row, w);
        double z = dot(w, sample->x, samples->n_in);
        pp += p * p;
        pz += p * z;
        zz += z * z;
        py += p * y;
        zy += z * y;
    }
    free(w);
    double determinant = pp * zz - pz * pz;
    if (!has_zero_point(matrix->dtype) || !(determinant > 1e-9 * pp * zz)) {
        return (struct linear_weights){py / pp, py / pp};
    }
    return (struct linear_weights){(py * zz - zy * pz) / determinant, (zy * pp - py * pz) / determinant};
}

/* A number of few digits near it: whole numbers, halves and so on, powers of two. */
static double round_near(double value)
{
    double power = exp2(round(log2(fabs(value)))) * (value < 0 ? -1 : 1), eighth = round(value * 32) / 32;
    return fabs(value - eighth) < 1e-3 * fmax(1, fabs(value)) ? eighth
           : fabs(value - power) < 1e-3 * fabs(value)         ? power
                                                              : value;
}

static void tell_linear(const struct solve *solve, const struct linear_weights *linear, const struct proof *proof,
                        struct diagnosis *found)
{
    const struct tensor *matrix = solve->evidence->step->weight[0];
    const char *dtype = dtype_info(matrix->dtype)->name;
    bool counts = dtype_info(matrix->dtype)->m_times != 0;
    int exponent;
    bool power = frexp(linear->scale, &exponent) == 0.5;
    if (linear->scale == linear->minimum) {
        bool bias = power && dtype_info(matrix->dtype)->scale == SCALE_E8M0;
        found->kind = bias ? KIND_WEIGHTS_DECODING : KIND_CONSTANT_MULTIPLE;
        found->solved = solved_number(bias ? "exponent bias of the scales" : "factor of the weights", bias ? 127 : 1,
                                      bias ? 128 - exponent : linear->scale);
        proof_tell(solve, proof, found, "All weights of %.80s (%s) are %.9g times what they should be%s.", matrix->name,
                   dtype, linear->scale, bias ? ": the exponent bias of the e8m0 scales is wrong" : "");
        return;
    }
    bool only_minimum = linear->scale == 1;
    found->solved = solved_number(only_minimum ? "times that the zero point is taken" : "factor of the scales", 1,
                                  only_minimum ? linear->minimum : linear->scale);
    proof_tell(solve, proof, found,
               "%.80s (%s) is decoded wrongly: the scales are taken %.6g times, %s %.6g times, instead of once each.",
               matrix->name, dtype, linear->scale, counts ? "the minimums" : "the quants' offset", linear->minimum);
}

static bool is_linear(const struct solve *solve, const struct product_samples *samples, struct diagnosis *found)
{
    struct linear_weights linear = solve_linear(samples);
    struct proof proof;
    linear.scale = round_near(linear.scale);
    linear.minimum = round_near(linear.minimum);
    const struct step *step = solve->evidence->step;
    bool is_multiple = linear.scale == linear.minimum && !(step->weight[1] && step->op != OP_embed) &&
                       dtype_info(step->weight[0]->dtype)->scale != SCALE_E8M0;
    if (is_multiple) { /* so is the output: a relation says it */
        return false;
    }
    if (!isfinite(linear.scale) || !isfinite(linear.minimum) || (linear.scale == 0 && linear.minimum == 0) ||
        (linear.scale == 1 && linear.minimum == 1) || !prove(solve, samples, weights_linear, &linear, &proof)) {
        return false;
    }
    tell_linear(solve, &linear, &proof, found);
    return true;
}

static bool is_variant(const struct solve *solve, const struct product_samples *samples, struct diagnosis *found)
{
    const struct tensor *matrix = solve->evidence->step->weight[0];
    uint32_t n;
    const struct block_variant *variants = block_variants(&n);
    struct proof proof;
    for (uint32_t v = 0; v < n && !stop_asked(); v++) {
        if (variants[v].dtypes & 1ull << matrix->dtype &&
            prove(solve, samples, weights_of_variant, &variants[v], &proof)) {
            proof_tell(solve, &proof, found, "%.80s (%s) is decoded wrongly: %s.", matrix->name,
                       dtype_info(matrix->dtype)->name, variants[v].what);
            return true;
        }
    }
    return false;
}

/* The matrix [out, in] read as if it were stored as [in, out]; of experts, each matrix for itself. */
static void weights_transposed(const void *context, const struct tensor *matrix, uint64_t row, float *w)
{
    uint64_t n_out = *(const uint64_t *)context, n_in = tensor_row_elems(matrix), start = row / n_out * n_out;
    for (uint64_t i = 0; i < n_in; i++) {
        uint64_t at = i * n_out + row % n_out;
        weights_decode(matrix, start + at / n_in, at % n_in, 1, &w[i]);
    }
}

static bool is_transposed(const struct solve *solve, const struct product_samples *samples, struct diagnosis *found)
{
    const struct step *step = solve->evidence->step;
    uint64_t n_out = step->op == OP_expert_matmul ? step->params.expert_matmul.n_out : tensor_rows(step->weight[0]);
    struct proof proof;
    if (!prove(solve, samples, weights_transposed, &n_out, &proof)) {
        return false;
    }
    found->kind = KIND_LAYOUT;
    proof_tell(solve, &proof, found, "%.80s, [%u, %u], is read as if it were stored transposed, as [%u, %u].",
               step->weight[0]->name, (unsigned)n_out, samples->n_in, samples->n_in, (unsigned)n_out);
    return true;
}

bool solve_decoding(const struct solve *solve, struct diagnosis *found)
{
    struct product_samples samples;
    bool explains = product_samples_open(&samples, solve->evidence) && !proof_is_blank(solve) &&
                    solve->evidence->step->weight[0]->layout == LAYOUT_ROWS &&
                    (is_linear(solve, &samples, found) || is_variant(solve, &samples, found) ||
                     is_transposed(solve, &samples, found));
    product_samples_close(&samples);
    return explains;
}
