#include "workbench/audit/weights/rounding_product.h"

#include <math.h>
#include <stdlib.h>

#include "model/stop.h"
#include "reference/cloned.h"
#include "reference/dot.h"

/* Rows whose dependence is computed; a larger group costs more, and a sum's deviation is at most the sum of the groups'
 * deviations. */
#define GROUP 16

/* Outputs of a matrix up to which the dependence of its rows is computed. Of more outputs, whose errors are
 * independent, it is enough to take an output's rows as one: as if they depended entirely on each other. */
#define OUTPUTS_MOST 512

void rounding_add_value(struct rounding_evidence *sums, const struct rounding_value *value, uint32_t position,
                        uint32_t dim)
{
    double ratio = value->error == 0 ? 0 : fabs(value->error) / value->most;
    sums->n_values++;
    sums->squares += value->error * value->error / value->variance;
    sums->expected_squares += value->y * value->y / value->variance;
    sums->product += (value->error + value->y) * value->y / value->variance;
    sums->product_bound += fabs(value->bound * value->y) / value->variance;
    if (!(ratio <= sums->worst)) {
        sums->worst = isnan(ratio) ? INFINITY : ratio;
        sums->position = position;
        sums->dim = dim;
    }
}

void rounding_add_sums(struct rounding_evidence *sums, const struct rounding_evidence *more)
{
    if (more->n_values > 0 && (sums->n_values == 0 || more->worst > sums->worst)) {
        sums->worst = more->worst;
        sums->position = more->position;
        sums->dim = more->dim;
    }
    sums->n_values += more->n_values;
    sums->squares += more->squares;
    sums->dependence += more->dependence;
    sums->largest = fmax(sums->largest, more->largest);
    sums->expected_squares += more->expected_squares;
    sums->product += more->product;
    sums->product_variance += more->product_variance;
    sums->product_clipped += more->product_clipped;
    sums->product_bound += more->product_bound;
}

void rounding_load_weights(const struct tensor *matrix, uint32_t weights_dtype, uint64_t row, uint64_t n,
                           struct weight_step *steps, float *w)
{
    double u = weights_dtype == DTYPE_F16 ? 0x1p-11 : weights_dtype == DTYPE_BF16 ? 0x1p-8 : 0;
    weight_steps(matrix, row, 0, n, steps);
    weights_decode(matrix, row, 0, n, w);
    for (uint64_t i = 0; u > 0 && i < n; i++) {
        double moved = u * fabs((double)w[i]);
        steps[i].step = (float)sqrt((double)steps[i].step * steps[i].step + 4 * moved * moved);
        steps[i].most += (float)moved;
    }
}

/* The inputs, widened. */
struct inputs {
    double *x, *size, *square; /* [n_inputs, n_in] x, |x|, x^2 */
};

/* One output. Floats, and f64 sums. */
struct output {
    float *sigma;   /* [n_in] standard deviation of each weight */
    float *most;    /* [n_in] largest error of each weight */
    float *clipped; /* [n_in] |w| outwards */
    bool clips;     /* any is not 0 */
    double *lever;  /* [n_in] sum over r of x y / v; where the dependence of rows is computed */
    double *scale;  /* [n_inputs] 1 / sqrt(v) */
    double sum;     /* over r of |y| / sqrt(v) */
    float *scaled;  /* [n_in] one row's sigma x / sqrt(v) */
    double *group;  /* [GROUP, n_in] the same of a group's rows */
};

static void inputs_open(struct inputs *inputs, const struct rounding_product *product)
{
    uint64_t n = product->n_in, total = product->n_inputs * n;
    *inputs = (struct inputs){xmalloc((total + 1) * sizeof(double)), xmalloc((total + 1) * sizeof(double)),
                              xmalloc((total + 1) * sizeof(double))};
    for (uint32_t r = 0; r < product->n_inputs; r++) {
        for (uint64_t i = 0; i < n; i++) {
            double x = product->inputs[r].x[i];
            inputs->x[r * n + i] = x;
            inputs->size[r * n + i] = fabs(x);
            inputs->square[r * n + i] = x * x;
        }
    }
}

static void inputs_close(struct inputs *inputs)
{
    free(inputs->x);
    free(inputs->size);
    free(inputs->square);
}

static void output_open(struct output *output, const struct rounding_product *product, uint64_t o)
{
    uint64_t n = product->n_in;
    struct weight_step *steps = xmalloc(n * sizeof(*steps));
    float *w = xmalloc(n * sizeof(*w));
    *output = (struct output){.sigma = xmalloc(n * sizeof(float)),
                              .most = xmalloc(n * sizeof(float)),
                              .clipped = w,
                              .lever = xcalloc(n, sizeof(double)),
                              .scale = xmalloc(product->n_inputs * sizeof(double)),
                              .scaled = xmalloc(n * sizeof(float)),
                              .group = xmalloc(GROUP * n * sizeof(double))};
    rounding_load_weights(product->matrix, product->weights_dtype, product->first_row + o, n, steps, w);
    for (uint64_t i = 0; i < n; i++) {
        output->sigma[i] = steps[i].step / sqrtf(12);
        output->most[i] = steps[i].most;
        output->clipped[i] = fabsf(w[i]) * steps[i].outwards;
        output->clips |= steps[i].outwards != 0;
    }
    free(steps);
}

static void output_close(struct output *output)
{
    free(output->sigma);
    free(output->most);
    free(output->clipped);
    free(output->lever);
    free(output->scale);
    free(output->scaled);
    free(output->group);
}

static bool is_computed(const struct rounding_product *product)
{
    return product->n_out <= OUTPUTS_MOST;
}

CLONED static void add_scaled(const double *x, double scale, uint64_t n, double *to)
{
    for (uint64_t i = 0; i < n; i++) {
        to[i] += x[i] * scale;
    }
}

/* |C|, group by group. */
static double dependence(const struct rounding_product *product, const struct inputs *inputs, struct output *output)
{
    uint64_t n = product->n_in;
    double norm = 0;
    for (uint32_t first = 0; first < product->n_inputs; first += GROUP) {
        uint32_t count = product->n_inputs - first < GROUP ? product->n_inputs - first : GROUP;
        double squares = 0;
        for (uint32_t r = 0; r < count; r++) {
            double *row = output->group + r * n;
            for (uint64_t i = 0; i < n; i++) {
                row[i] = output->scale[first + r] * output->sigma[i] * inputs->x[(first + r) * n + i];
                output->scaled[i] = (float)row[i];
            }
            for (uint32_t k = 0; k <= r; k++) {
                double sum = dot_sum(output->scaled, output->group + k * n, n).sum;
                squares += sum * sum * (k < r ? 2 : 1);
            }
        }
        norm += sqrt(squares);
    }
    return norm;
}

/* Input r of output o. bias: of the output. */
static void judge_value(const struct rounding_product *product, const struct inputs *inputs, uint64_t o, uint32_t r,
                        double bias, struct output *output, struct rounding_evidence *sums)
{
    uint64_t n = product->n_in, at = r * n;
    const struct rounding_input *input = &product->inputs[r];
    double bound = input->bound[o];
    double variance = dot_sum_squares(output->sigma, inputs->x + at, n).squares + bound * bound;
    const struct rounding_value value = {.error = input->actual[o] - input->expected[o],
                                         .y = input->expected[o] - bias,
                                         .bound = bound,
                                         .most = dot_sum(output->most, inputs->size + at, n).sum + bound,
                                         .variance = variance};
    rounding_add_value(sums, &value, input->position, (uint32_t)(input->slot * product->n_out + o));
    if (output->clips) {
        sums->product_clipped += dot_sum(output->clipped, inputs->square + at, n).sum / variance;
    }
    output->scale[r] = 1 / sqrt(variance);
    output->sum += fabs(value.y) * output->scale[r];
    if (is_computed(product)) {
        add_scaled(inputs->x + at, value.y / variance, n, output->lever);
    }
}

/* All inputs of one output. */
static void judge_output(const struct rounding_product *product, const struct inputs *inputs, uint64_t o, double bias,
                         struct rounding_evidence *sums)
{
    struct output output;
    output_open(&output, product, o);
    for (uint32_t r = 0; r < product->n_inputs; r++) {
        judge_value(product, inputs, o, r, bias, &output, sums);
    }
    if (is_computed(product)) {
        double norm = dependence(product, inputs, &output);
        sums->dependence = norm * norm;
        sums->largest = norm;
        sums->product_variance = dot_sum_squares(output.sigma, output.lever, product->n_in).squares;
    } else {
        sums->dependence = (double)product->n_inputs * product->n_inputs;
        sums->largest = product->n_inputs;
        sums->product_variance = output.sum * output.sum;
    }
    output_close(&output);
}

void rounding_judge_product(const struct rounding_product *product, struct rounding_evidence *evidence)
{
    struct rounding_evidence *outputs = xcalloc(product->n_out, sizeof(*outputs));
    float *bias = xcalloc(product->n_out, sizeof(*bias));
    struct inputs inputs;
    inputs_open(&inputs, product);
    if (product->bias) {
        weights_decode(product->bias, product->bias_row, 0, product->n_out, bias);
    }
#pragma omp parallel for schedule(dynamic, 16)
    for (uint64_t o = 0; o < product->n_out; o++) {
        if (!stop_asked() && product->n_inputs > 0) {
            judge_output(product, &inputs, o, bias[o], &outputs[o]);
        }
    }
    for (uint64_t o = 0; o < product->n_out; o++) { /* in order, so that the sums are the same on every machine */
        rounding_add_sums(evidence, &outputs[o]);
    }
    inputs_close(&inputs);
    free(bias);
    free(outputs);
}
