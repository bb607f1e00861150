#include "workbench/diagnose/precision.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "workbench/diagnose/narrow_types.h"
#include "workbench/diagnose/products/product_samples.h"

/* ggml's q8_1 blocks also hold s = d * (sum of the integers), rounded to f16; a weight's minimum is multiplied by it.
 * The first element of each block of `beyond`: s minus the sum of the rounded values, which it stands for. The others:
 * 0. Source: ggml-quants.c, quantize_row_q8_1_ref. */
static void find_block_sums(const float *values, uint64_t n, float *beyond)
{
    memset(beyond, 0, n * sizeof(*beyond));
    for (uint64_t first = 0; first < n; first += 32) {
        uint64_t end = first + 32 < n ? first + 32 : n;
        float most = 0, sum = 0;
        for (uint64_t i = first; i < end; i++) {
            most = fmaxf(most, fabsf(values[i]));
        }
        float d = most / 127, inverse = d > 0 ? 1 / d : 0;
        for (uint64_t i = first; i < end; i++) {
            sum += roundf(values[i] * inverse); /* whole numbers: exact */
        }
        double rounded = (double)round_to_dtype(d, DTYPE_F16) * sum;
        beyond[first] = (float)(round_to_dtype(sum * d, DTYPE_F16) - rounded);
    }
}

#define FEWEST_IN_GROUP 8 /* weights that one scale serves */
#define MOST_IN_GROUP 512

enum { INPUT_0 = 1, INPUT_1 = 2, INPUT_2 = 4, INPUTS = 7, CACHE = INPUT_1 | INPUT_2 };

static const struct precision {
    const char *name, *what;
    narrow_rounding *round;   /* of inputs; NULL: none */
    unsigned inputs;          /* bits */
    narrow_rounding *weights; /* of a matrix, row by row; NULL: none */
    narrow_rounding *stored;  /* of the output; NULL: none */
    bool attention;           /* applies to attention only */
    bool block_sums; /* applies to matrices whose blocks have a minimum: a rounded sum of inputs multiplies it */
} precisions[] = {
    {"inputs-bf16", "its inputs are rounded to bf16", narrow_bf16, INPUTS, NULL, NULL, false, false},
    {"inputs-f16", "its inputs are rounded to f16", narrow_f16, INPUTS, NULL, NULL, false, false},
    {"inputs-q8_0", "its inputs are rounded to blocks of 8-bit integers (q8_0: 32 of them with an f16 scale)",
     narrow_q8_0, INPUTS, NULL, NULL, false, false},
    {"inputs-q8_1",
     "its inputs are rounded to blocks of 8-bit integers (q8_1: 32 of them with an f16 scale, and an f16 sum for the "
     "weights' minimum)",
     narrow_q8_0, INPUTS, NULL, NULL, false, true},
    {"inputs-q8_1", "its inputs are rounded to blocks of 8-bit integers (q8_1: 32 of them with an f32 scale)",
     narrow_q8_1, INPUTS, NULL, NULL, false, false},
    {"kv-cache-f16", "the KV cache holds keys and values in f16", narrow_f16, CACHE, NULL, NULL, true, false},
    {"kv-cache-bf16", "the KV cache holds keys and values in bf16", narrow_bf16, CACHE, NULL, NULL, true, false},
    {"kv-cache-q8_0", "the KV cache holds keys and values in q8_0 blocks", narrow_q8_0, CACHE, NULL, NULL, true, false},
    {"stored-bf16", "its output is stored as bf16", NULL, 0, NULL, narrow_bf16, false, false},
    {"stored-f16", "its output is stored as f16", NULL, 0, NULL, narrow_f16, false, false},
    {"weights-bf16", "its weights are rounded to bf16", NULL, 0, narrow_bf16, NULL, false, false},
    {"weights-f16", "its weights are rounded to f16", NULL, 0, narrow_f16, NULL, false, false},
    {"operands-bf16", "its inputs and weights are rounded to bf16", narrow_bf16, INPUTS, narrow_bf16, NULL, false,
     false},
    {"operands-f16", "its inputs and weights are rounded to f16", narrow_f16, INPUTS, narrow_f16, NULL, false, false},
    {"operands-tf32", "its inputs and weights are rounded to TF32, which has 10 bits of mantissa", narrow_tf32, INPUTS,
     narrow_tf32, NULL, false, false},
    {"all-bf16", "inputs, weights and output are bf16", narrow_bf16, INPUTS, narrow_bf16, narrow_bf16, false, false},
    {"all-f16", "inputs, weights and output are f16", narrow_f16, INPUTS, narrow_f16, narrow_f16, false, false},
    {"inputs-output-bf16", "its inputs and its output are rounded to bf16", narrow_bf16, INPUTS, NULL, narrow_bf16,
     false, false},
    {"inputs-output-f16", "its inputs and its output are rounded to f16", narrow_f16, INPUTS, NULL, narrow_f16, false,
     false},
    {"weights-output-bf16", "its weights and its output are rounded to bf16", NULL, 0, narrow_bf16, narrow_bf16, false,
     false},
    {"weights-output-f16", "its weights and its output are rounded to f16", NULL, 0, narrow_f16, narrow_f16, false,
     false},
    {"weights-q8_0", "its weights are rounded to q8_0 blocks", NULL, 0, narrow_q8_0, NULL, false, false},
    {"weights-q8_0", "its weights are rounded to q8_0 blocks, halves to even", NULL, 0, narrow_q8_0_even, NULL, false,
     false},
    {"weights-q4_0", "its weights are rounded to q4_0 blocks", NULL, 0, narrow_q4_0, NULL, false, false},
    {"weights-int8", "its weights are rounded to 8-bit integers with one scale a row", NULL, 0, narrow_int8, NULL,
     false, false},
    {"weights-int8", "its weights are rounded to 8-bit integers with one scale a row, computed in double precision",
     NULL, 0, narrow_int8_double, NULL, false, false},
    {"weights-fp8-e4m3", "its weights are rounded to fp8 (e4m3)", NULL, 0, narrow_e4m3, NULL, false, false},
    {"weights-fp8-e4m3", "its weights are rounded to fp8 (e4m3, one scale a row)", NULL, 0, narrow_e4m3_scaled, NULL,
     false, false},
    {"weights-fp8-e5m2", "its weights are rounded to fp8 (e5m2)", NULL, 0, narrow_e5m2, NULL, false, false},
    {"inputs-fp8-e4m3", "its inputs are rounded to fp8 (e4m3)", narrow_e4m3, INPUTS, NULL, NULL, false, false},
    {"inputs-int8", "its inputs are rounded to 8-bit integers with one scale a row", narrow_int8, INPUTS, NULL, NULL,
     false, false},
    {"operands-int8", "its inputs and weights are rounded to 8-bit integers with one scale a row", narrow_int8, INPUTS,
     narrow_int8, NULL, false, false},
    {"operands-int8",
     "its inputs and weights are rounded to 8-bit integers with one scale a row, computed in double precision",
     narrow_int8_double, INPUTS, narrow_int8_double, NULL, false, false},
    {"operands-fp8-e4m3", "its inputs and weights are rounded to fp8 (e4m3, one scale a row)", narrow_e4m3_scaled,
     INPUTS, narrow_e4m3_scaled, NULL, false, false},
    {"weights-int4", "its weights are rounded to 4-bit integers with one scale a row", NULL, 0, narrow_int4, NULL,
     false, false},
    {"weights-int4", "its weights are rounded to 4-bit integers with one scale for %u of them", NULL, 0, narrow_int4,
     NULL, false, false},
    {"weights-int8", "its weights are rounded to 8-bit integers with one scale for %u of them", NULL, 0,
     narrow_int8_double, NULL, false, false},
    {"weights-fp8-e4m3", "its weights are rounded to fp8 (e4m3, one scale for %u of them)", NULL, 0, narrow_e4m3_scaled,
     NULL, false, false},
    {"weights-int8-matrix", "its weights are rounded to 8-bit integers with one scale for the matrix", NULL, 0,
     narrow_int8_double, NULL, false, false},
    {"weights-fp8-matrix", "its weights are rounded to fp8 (e4m3, one scale for the matrix)", NULL, 0,
     narrow_e4m3_scaled, NULL, false, false},
    {"inputs-tf32", "its inputs are rounded to TF32, which has 10 bits of mantissa", narrow_tf32, INPUTS, NULL, NULL,
     false, false},
};

/* Copies of the rows with rounded inputs. */
struct rounded {
    struct op_row *rows;
    float *copies[OP_MAX_INPUTS]; /* [rows, width]; attention's keys and values: [positions, width] */
};

/* Inputs are copied from where the rows have them: recorded stages, or stages computed in a span. */
static void rounded_open(struct rounded *rounded, const struct evidence *evidence, const struct precision *precision)
{
    const struct step *step = evidence->step;
    *rounded = (struct rounded){.rows = xcalloc(evidence->n, sizeof(*rounded->rows))};
    memcpy(rounded->rows, evidence->rows, evidence->n * sizeof(*rounded->rows));
    for (unsigned k = 0; k < OP_MAX_INPUTS && step->input[k] >= 0; k++) {
        if (!(precision->inputs & 1u << k)) {
            continue;
        }
        uint32_t width = evidence->plan->steps[step->input[k]].width;
        bool shared = op_reads_earlier(step->op, k); /* from position 0 on */
        uint64_t n_rows = shared ? evidence->trace->n_positions : evidence->n;
        float *copy = rounded->copies[k] = xmalloc(n_rows * width * sizeof(*copy));
        for (uint64_t i = 0; i < n_rows; i++) {
            const float *from = shared ? evidence->rows[0].in[k] + i * width : evidence->rows[i].in[k];
            memcpy(copy + i * width, from, width * sizeof(*copy));
            precision->round(copy + i * width, width);
        }
        for (uint32_t i = 0; i < evidence->n; i++) {
            rounded->rows[i].in[k] = shared ? copy : copy + (uint64_t)i * width;
        }
    }
}

static void rounded_close(struct rounded *rounded)
{
    for (unsigned k = 0; k < OP_MAX_INPUTS; k++) {
        free(rounded->copies[k]);
    }
    free(rounded->rows);
}

/* Whether a recorded value is a rounding of some value within the bound. */
static bool output_is_rounded(const struct precision *precision, double y, double bound, float actual)
{
    float low = (float)(y - bound), high = (float)(y + bound);
    precision->stored(&low, 1);
    precision->stored(&high, 1);
    return actual >= low && actual <= high;
}

/* Whether quants count up from a minimum, so that ggml multiplies it by sums of the blocks of x. */
static bool has_minimum(const struct step *step)
{
    return step->op == OP_matmul && step->weight[0]->layout == LAYOUT_ROWS &&
           dtype_info(step->weight[0]->dtype)->header != 0;
}

/* Adds to y what the rounded block sums change: each block's minimum times `beyond`. That is a product with the matrix
 * whose quants are all 0. */
static void add_block_sums(const struct evidence *evidence, uint32_t n, double *y)
{
    const struct tensor *matrix = evidence->step->weight[0];
    uint32_t n_in = evidence->step->params.matmul.n_in, block = dtype_info(matrix->dtype)->block_bytes;
    uint64_t n_values = (uint64_t)n * evidence->step->width;
    uint8_t *bytes = xmalloc(matrix->n_bytes);
    memcpy(bytes, matrix->bytes, matrix->n_bytes);
    for (uint64_t at = 0, header = dtype_info(matrix->dtype)->header; at < matrix->n_bytes; at += block) {
        memset(bytes + at + header, 0, block - header);
    }
    struct tensor minimums = *matrix;
    minimums.bytes = bytes;
    struct step step = *evidence->step;
    step.weight[0] = &minimums;
    step.weight[1] = NULL;
    step.params.matmul.has_bias = 0;
    float *beyond = xmalloc((uint64_t)n * n_in * sizeof(*beyond));
    struct op_row *rows = xcalloc(n, sizeof(*rows));
    double *change = xmalloc(n_values * sizeof(*change));
    for (uint32_t i = 0; i < n; i++) {
        rows[i] = evidence->rows[i];
        rows[i].in[0] = beyond + (uint64_t)i * n_in;
        find_block_sums(evidence->rows[i].in[0], n_in, beyond + (uint64_t)i * n_in);
    }
    op_run(&(struct op_batch){
        .step = &step, .weights_dtype = evidence->stage->weights_dtype, .n_rows = n, .rows = rows, .y = change});
    for (uint64_t at = 0; at < n_values; at++) {
        y[at] += change[at];
    }
    free(change);
    free(rows);
    free(beyond);
    free(bytes);
}

/* A rounding of weights. */
struct weights_rounding {
    const struct precision *precision;
    float largest;  /* magnitude in the matrix, where one scale serves all of it; else 0 */
    uint32_t group; /* values of a row that one scale serves; 0: all */
};

/* Weights are rounded row by row. One value more, the matrix's largest, sets the scale of all its rows. */
static void weights_rounded(const void *context, const struct tensor *matrix, uint64_t row, float *w)
{
    const struct weights_rounding *rounding = context;
    uint64_t n = tensor_row_elems(matrix);
    float *values = xmalloc((n + 1) * sizeof(*values));
    weights_decode(matrix, row, 0, n, values);
    values[n] = rounding->largest;
    uint64_t end = rounding->largest > 0 ? n + 1 : n, most = rounding->group > 0 ? rounding->group : end;
    for (uint64_t first = 0; first < end; first += most) {
        rounding->precision->weights(values + first, end - first < most ? end - first : most);
    }
    memcpy(w, values, n * sizeof(*w));
    free(values);
}

static struct weights_rounding rounding_of(const struct precision *precision, const struct step *step)
{
    struct weights_rounding rounding = {.precision = precision};
    uint64_t n = precision->weights && step->weight[0] ? tensor_row_elems(step->weight[0]) : 0;
    size_t length = strlen(precision->name);
    if (n == 0 || length < 7 || strcmp(precision->name + length - 7, "-matrix") != 0) {
        return rounding;
    }
    float *w = xmalloc(n * sizeof(*w));
    for (uint64_t row = 0; row < tensor_rows(step->weight[0]); row++) {
        weights_decode(step->weight[0], row, 0, n, w);
        for (uint64_t i = 0; i < n; i++) {
            rounding.largest = fmaxf(rounding.largest, fabsf(w[i]));
        }
    }
    free(w);
    return rounding;
}

/* Whether the rounding reproduces rows [0, n) of the evidence, computed by a step with rounded weights. */
static bool reproduces(const struct evidence *evidence, const struct precision *precision, const struct step *step,
                       const struct op_row *rows, uint32_t n)
{
    uint32_t width = evidence->stage->width;
    double *y = xmalloc((uint64_t)n * width * sizeof(*y)), *bound = xmalloc((uint64_t)n * width * sizeof(*bound));
    struct op_batch batch = {.step = step,
                             .weights_dtype = evidence->stage->weights_dtype,
                             .n_rows = n,
                             .rows = rows,
                             .y = y,
                             .bound = bound};
    op_run(&batch);
    if (precision->block_sums) {
        add_block_sums(evidence, n, y);
    }
    bool same = true;
    for (uint64_t at = 0; at < (uint64_t)n * width && same; at++) {
        float actual = evidence_actual(evidence, (uint32_t)(at / width))[at % width];
        same = precision->stored ? output_is_rounded(precision, y[at], bound[at], actual)
                                 : judge(y[at], actual, bound[at]) <= 1;
    }
    free(y);
    free(bound);
    return same;
}

/* Whether one scale serves a group of weights, whose size is to be found. */
static bool has_groups(const struct precision *precision)
{
    return strstr(precision->what, "%u") != NULL;
}

/* The size of a group with which rounded weights come near the recorded outputs: usual ones, whose last group may be
 * shorter, and all that divide a row. 0: none. */
static uint32_t find_group(const struct evidence *evidence, const struct precision *precision,
                           const struct product_samples *samples)
{
    const struct tensor *matrix = evidence->step->weight[0];
    uint64_t n = tensor_row_elems(matrix);
    for (uint32_t group = FEWEST_IN_GROUP; group < n && group <= MOST_IN_GROUP; group++) {
        const struct weights_rounding rounding = {.precision = precision, .group = group};
        bool usual = group == 32 || group == 64 || group == 128;
        if ((usual || n % group == 0) && product_samples_fit(samples, matrix, weights_rounded, &rounding)) {
            return group;
        }
    }
    return 0;
}

/* Whether a rounding of the weights comes near the recorded outputs. It is cheap, and spares most attempts. *group: the
 * size that was found. */
static bool weights_may_fit(const struct evidence *evidence, const struct precision *precision, uint32_t *group)
{
    struct product_samples samples;
    bool fits = product_samples_open(&samples, evidence) || evidence->step->op == OP_rms_norm;
    if (has_groups(precision)) {
        *group = fits && samples.samples ? find_group(evidence, precision, &samples) : 0;
        fits = *group > 0;
    } else if (fits && samples.samples && !precision->inputs && !precision->stored) {
        const struct weights_rounding rounding = rounding_of(precision, evidence->step);
        fits = product_samples_fit(&samples, evidence->step->weight[0], weights_rounded, &rounding);
    }
    product_samples_close(&samples);
    return fits;
}

static bool applies(const struct evidence *evidence, const struct precision *precision, uint32_t *group)
{
    const struct step *step = evidence->step;
    if ((precision->attention && step->op != OP_attention) || (precision->block_sums && !has_minimum(step)) ||
        (precision->inputs && step->input[0] < 0) || (step->op == OP_embed && precision->stored)) {
        return false;
    }
    return !precision->weights || weights_may_fit(evidence, precision, group);
}

static bool holds(const struct evidence *evidence, const struct precision *precision, uint32_t group)
{
    struct rounded rounded;
    struct arena arena = {0};
    struct step step = *evidence->step;
    struct weights_rounding rounding = rounding_of(precision, &step);
    rounding.group = group;
    rounded_open(&rounded, evidence, precision);
    bool holds = !precision->weights || product_expand(&step, &arena, weights_rounded, &rounding,
                                                       &(struct product_rows){rounded.rows, evidence->n});
    holds = holds && reproduces(evidence, precision, &step, rounded.rows, 1) &&
            reproduces(evidence, precision, &step, rounded.rows, evidence->n);
    rounded_close(&rounded);
    arena_free(&arena);
    return holds;
}

uint32_t precision_find(const struct evidence *evidence, struct diagnosis *found, uint32_t max)
{
    for (size_t i = 0; i < sizeof(precisions) / sizeof(*precisions) && max > 0; i++) {
        const struct precision *precision = &precisions[i];
        uint32_t group = 0;
        if (!applies(evidence, precision, &group) || !holds(evidence, precision, group)) {
            continue;
        }
        char what[160];
        snprintf(what, sizeof(what), precision->what, group);
        struct diagnosis *diagnosis = &found[0];
        *diagnosis = (struct diagnosis){.how = HOW_REPRODUCED, .kind = KIND_PRECISION, .postmortem = ""};
        snprintf(diagnosis->fault, sizeof(diagnosis->fault), "%s", precision->name);
        snprintf(
            diagnosis->text, sizeof(diagnosis->text),
            "Precision, not a bug: %s, which the trace does not declare. Computed so, all %u failing rows come out as "
            "recorded. Declare storage_dtype or operand_dtype, or compare with a run in f32.",
            what, evidence->n);
        return 1; /* types that hold the same numbers tell nothing more */
    }
    return 0;
}
