#include "workbench/diagnose/products/product_samples.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/stop.h"

#define SAMPLED_ROWS 6
#define SPREAD 4                 /* outputs of a row at even distances */
#define WORST 6                  /* further outputs of a row: those that fail the most */
#define MOST_VALUES (1ull << 28) /* weights that are expanded for a proof: 1 GiB */

/* An embedding: output `at` is scale times one element of the token's row. */
static bool find_unit(struct product_samples *samples, const struct evidence *evidence, uint32_t i, uint32_t at)
{
    float *x = samples->units + (uint64_t)samples->n * samples->n_in;
    memset(x, 0, samples->n_in * sizeof(*x));
    x[at] = evidence->step->params.embed.scale;
    samples->samples[samples->n] = (struct product_sample){.row = i,
                                                           .at = at,
                                                           .weight_row = (uint64_t)evidence->rows[i].token,
                                                           .output = at,
                                                           .x = x,
                                                           .recorded = evidence_actual(evidence, i)[at]};
    return true;
}

/* Fills in what output `at` of failing row i is the product of. false: the row names no expert. */
static bool find_factors(const struct evidence *evidence, uint32_t i, uint32_t at, struct product_sample *sample)
{
    const struct step *step = evidence->step;
    const struct op_row *row = &evidence->rows[i];
    *sample = (struct product_sample){.row = i, .at = at, .weight_row = at, .output = at, .x = row->in[0]};
    if (step->op == OP_expert_matmul) {
        const struct expert_matmul_params *params = &step->params.expert_matmul;
        uint32_t slot = at / params->n_out;
        float expert = row->in[1][slot];
        if (!(expert >= 0 && expert < params->n_experts)) {
            return false;
        }
        sample->expert = (uint32_t)expert;
        sample->output = at % params->n_out;
        sample->weight_row = (uint64_t)sample->expert * params->n_out + sample->output;
        sample->x += params->shared_x ? 0 : (uint64_t)slot * params->n_in;
    }
    float bias = 0;
    if (step->weight[1]) {
        weights_decode(step->weight[1], sample->expert, sample->output, 1, &bias);
    }
    sample->bias = bias;
    sample->recorded = evidence_actual(evidence, i)[at];
    return true;
}

static void add_sample(struct product_samples *samples, const struct evidence *evidence, uint32_t i, uint32_t at)
{
    struct product_sample *sample = &samples->samples[samples->n];
    double expected = evidence_expected(evidence, i)[at];
    bool found = samples->units ? find_unit(samples, evidence, i, at) : find_factors(evidence, i, at, sample);
    if (found && isfinite(sample->recorded) && isfinite(expected)) {
        samples->right_miss += (sample->recorded - expected) * (sample->recorded - expected);
        samples->n++;
    }
}

/* Adds outputs of one row. */
static void sample_row(struct product_samples *samples, const struct evidence *evidence, uint32_t i)
{
    uint32_t width = evidence->stage->width, worst[WORST] = {0}, n_worst = 0;
    double ratios[WORST];
    for (uint32_t d = 0; d < width; d++) {
        double ratio =
            judge(evidence_expected(evidence, i)[d], evidence_actual(evidence, i)[d], evidence_bound(evidence, i)[d]);
        uint32_t at = n_worst;
        if (!(ratio > 1) || (at == WORST && ratio <= ratios[WORST - 1])) {
            continue;
        }
        at = at == WORST ? WORST - 1 : n_worst++;
        for (; at > 0 && ratios[at - 1] < ratio; at--) {
            ratios[at] = ratios[at - 1];
            worst[at] = worst[at - 1];
        }
        ratios[at] = ratio;
        worst[at] = d;
    }
    for (uint32_t k = 0; k < n_worst; k++) {
        add_sample(samples, evidence, i, worst[k]);
    }
    for (uint32_t k = 0; k < SPREAD; k++) {
        add_sample(samples, evidence, i, (uint32_t)((uint64_t)(2 * k + 1) * width / (2 * SPREAD)));
    }
}

bool product_samples_open(struct product_samples *samples, const struct evidence *evidence)
{
    const struct step *step = evidence->step;
    uint32_t n_rows = evidence->n < SAMPLED_ROWS ? evidence->n : SAMPLED_ROWS;
    *samples = (struct product_samples){.step = step};
    if ((step->op != OP_matmul && step->op != OP_expert_matmul && step->op != OP_embed) ||
        step->variant != VARIANT_NONE) {
        return false;
    }
    samples->n_in = step->op == OP_matmul          ? step->params.matmul.n_in
                    : step->op == OP_expert_matmul ? step->params.expert_matmul.n_in
                                                   : step->params.embed.width;
    if (step->op == OP_embed) {
        samples->units = xmalloc((uint64_t)n_rows * (SPREAD + WORST) * samples->n_in * sizeof(float));
    }
    samples->samples = xcalloc((uint64_t)n_rows * (SPREAD + WORST), sizeof(*samples->samples));
    for (uint32_t k = 0; k < n_rows; k++) {
        sample_row(samples, evidence, (uint32_t)((uint64_t)k * evidence->n / n_rows));
    }
    return samples->n >= 2 && samples->right_miss > 0;
}

void product_samples_close(struct product_samples *samples)
{
    free(samples->samples);
    free(samples->units);
}

void weights_as_stored(const void *context, const struct tensor *matrix, uint64_t row, float *w)
{
    (void)context;
    weights_decode(matrix, row, 0, tensor_row_elems(matrix), w);
}

static double sum_products(const float *w, const float *x, uint32_t n)
{
    double sum = 0;
    for (uint32_t i = 0; i < n; i++) {
        sum += (double)w[i] * x[i];
    }
    return sum;
}

bool product_samples_fit_inputs(const struct product_samples *samples, const struct op_row *rows)
{
    double miss = 0;
    float *w = xmalloc(samples->n_in * sizeof(*w));
    bool shared = samples->step->op == OP_matmul || samples->step->params.expert_matmul.shared_x;
    uint32_t n_out = shared ? 1 : samples->step->params.expert_matmul.n_out;
    for (uint32_t k = 0; k < samples->n && 16 * miss <= samples->right_miss; k++) {
        const struct product_sample *sample = &samples->samples[k];
        const float *x = rows[sample->row].in[0] + (shared ? 0 : (uint64_t)(sample->at / n_out) * samples->n_in);
        weights_decode(samples->step->weight[0], sample->weight_row, 0, samples->n_in, w);
        double left = sample->recorded - sample->bias - sum_products(w, x, samples->n_in);
        miss += left * left;
    }
    free(w);
    return 16 * miss <= samples->right_miss;
}

bool product_samples_fit(const struct product_samples *samples, const struct tensor *matrix, weights_function *weights,
                         const void *context)
{
    double miss = 0;
    float *w = xmalloc(samples->n_in * sizeof(*w));
    for (uint32_t k = 0; k < samples->n && 16 * miss <= samples->right_miss; k++) {
        const struct product_sample *sample = &samples->samples[k];
        weights(context, matrix, sample->weight_row, w);
        double left = sample->recorded - sample->bias - sum_products(w, sample->x, samples->n_in);
        miss += left * left;
    }
    free(w);
    return 16 * miss <= samples->right_miss; /* NaN does not fit */
}

struct tensor *weights_expand(struct arena *arena, const struct tensor *matrix, weights_function *weights,
                              const void *context)
{
    uint64_t n_rows = tensor_rows(matrix), n = tensor_row_elems(matrix);
    struct tensor *copy = arena_alloc(arena, sizeof(*copy));
    float *values = arena_alloc(arena, n_rows * n * sizeof(*values));
    *copy = *matrix;
    copy->dtype = DTYPE_F32;
    copy->layout = LAYOUT_ROWS;
    copy->bytes = (const uint8_t *)values;
    copy->scales = NULL;
    copy->n_bytes = n_rows * n * sizeof(*values);
#pragma omp parallel for schedule(static)
    for (uint64_t row = 0; row < n_rows; row++) {
        if (!stop_asked()) {
            weights(context, matrix, row, values + row * n);
        }
    }
    return copy;
}

/* The rows of an embedding that occur; the tokens become theirs. */
static struct tensor *expand_tokens(struct arena *arena, const struct tensor *matrix, weights_function *weights,
                                    const void *context, const struct product_rows *rows)
{
    uint64_t n = tensor_row_elems(matrix);
    struct tensor *copy = arena_alloc(arena, sizeof(*copy));
    float *values = arena_alloc(arena, rows->n * n * sizeof(*values));
    for (uint32_t i = 0; i < rows->n; i++) {
        weights(context, matrix, (uint64_t)rows->rows[i].token, values + i * n);
        rows->rows[i].token = (int32_t)i;
    }
    *copy = (struct tensor){.name = matrix->name,
                            .dtype = DTYPE_F32,
                            .n_dims = 2,
                            .shape = {rows->n, n},
                            .bytes = (const uint8_t *)values,
                            .n_bytes = rows->n * n * sizeof(*values)};
    return copy;
}

bool product_expand(struct step *step, struct arena *arena, weights_function *weights, const void *context,
                    const struct product_rows *rows)
{
    const struct tensor *matrix = step->weight[0];
    if (step->op == OP_embed) {
        step->params.embed.vocab = rows->n > step->params.embed.vocab ? rows->n : step->params.embed.vocab;
        step->weight[0] = expand_tokens(arena, matrix, weights, context, rows);
        return true;
    }
    if (tensor_rows(matrix) * tensor_row_elems(matrix) > MOST_VALUES) {
        return false;
    }
    step->weight[0] = weights_expand(arena, matrix, weights, context);
    return true;
}
