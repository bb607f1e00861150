/* glu: y = act(gate) up. Shazeer 2020; silu: Elfwing et al. 2017; GELU in its tanh form: Hendrycks and Gimpel 2016. */
#include <float.h>
#include <math.h>

#include "model/error.h"
#include "reference/bounds.h"
#include "reference/op.h"

/* silu(g) = g s, s = 1 / (1 + exp(-g)). exp is off by about (2 + |g|) u, which reaches s multiplied by 1 - s; further
 * the sum, the division, two products and the store. Where exp(-g) overflows in f32, or s is flushed, s is 0 instead of
 * a number below FLT_MIN. s itself may be off absolutely (BOUND_SIGMOID). */
static double silu(const struct arith *arith, double g, double up, double *bound)
{
    double s = 1 / (1 + exp(-g)), y = g * s * up;
    if (bound) {
        double relative = arith->u_sum * (6 + 4 * fabs(g) * (1 - s)) + 2 * arith->u_storage;
        *bound = fabs(y) * relative + (BOUND_SIGMOID * arith->u_sum + FLT_MIN) * fabs(g * up) + arith->eta;
    }
    return y;
}

/* gelu(g) = g/2 (1 + t), t = tanh(z), z = sqrt(2/pi) (g + 0.044715 g^3). z is off by 5 u |z|, which reaches t
 * multiplied by 1 - t^2; tanh itself is off by 2 u |t|; 1 + t rounds. For negative g the 1 + t cancels and absolute
 * errors stay: no relative bound holds. Further the products, and the stores of gelu(g) and y. */
static double gelu_tanh(const struct arith *arith, double g, double up, double *bound)
{
    double z = sqrt(2 / M_PI) * (g + 0.044715 * g * g * g), t = tanh(z);
    double gelu = g / 2 * (1 + t), y = gelu * up;
    if (bound) {
        double u = arith->u_sum;
        double sum = 5 * u * (1 - t * t) * fabs(z) + 2 * u * fabs(t) + u * (1 + fabs(t));
        *bound = fabs(up) * (fabs(g) / 2 * sum + (2 * u + arith->u_storage) * fabs(gelu)) + arith->u_storage * fabs(y) +
                 arith->eta;
    }
    return y;
}

/* gelu(g) = g/2 (1 + e), e = erf(z), z = g / sqrt(2). No family uses it; the fault gelu-erf does. z rounds twice, which
 * reaches e multiplied by 2/sqrt(pi) exp(-z^2). erf itself: one rounding for each of its steps, and z^2 of the
 * exponential's argument. */
static double gelu_erf(const struct arith *arith, double g, double up, double *bound)
{
    double z = g / sqrt(2), e = erf(z), gelu = g / 2 * (1 + e), y = gelu * up;
    if (bound) {
        double u = arith->u_sum;
        double sum = 4 * u * fabs(z) * exp(-z * z) + u * fabs(e) * (8 + fmin(z * z, 20)) + u * (1 + fabs(e));
        *bound = fabs(up) * (fabs(g) / 2 * sum + (2 * u + arith->u_storage) * fabs(gelu)) + arith->u_storage * fabs(y) +
                 arith->eta;
    }
    return y;
}

/* A product and its store. */
static double product(const struct arith *arith, double g, double up, double *bound)
{
    if (bound) {
        *bound = fabs(g * up) * (arith->u_sum + 2 * arith->u_storage) + arith->eta;
    }
    return g * up;
}

/* Slopes of the activations, for errors of the gate. */
static double silu_slope(double g)
{
    double s = 1 / (1 + exp(-g));
    return s * (1 + g * (1 - s));
}

static double gelu_tanh_slope(double g)
{
    double t = tanh(sqrt(2 / M_PI) * (g + 0.044715 * g * g * g));
    return (1 + t) / 2 + g / 2 * (1 - t * t) * sqrt(2 / M_PI) * (1 + 3 * 0.044715 * g * g);
}

static double gelu_erf_slope(double g)
{
    return (1 + erf(g / sqrt(2))) / 2 + g * exp(-g * g / 2) / sqrt(2 * M_PI);
}

static double product_slope(double g)
{
    (void)g;
    return 1;
}

typedef double activation_function(const struct arith *arith, double g, double up, double *bound);

static const struct activation {
    activation_function *run;
    double (*slope)(double g);
} activations[] = {
    [ACTIVATION_SILU] = {silu, silu_slope},
    [ACTIVATION_GELU_TANH] = {gelu_tanh, gelu_tanh_slope},
    [ACTIVATION_GELU_ERF] = {gelu_erf, gelu_erf_slope},
    [ACTIVATION_NONE] = {product, product_slope},
};

/* How far a gate that is off by `error` can be off once it is rounded as an index of the table. */
static double index_error(const struct op_row *row, uint32_t i, double error)
{
    enum rounding_type type = (enum rounding_type)row->arith->roundings.activation;
    return type == ROUNDING_NONE ? error : rounded_float_error(type, row->in[0][i], error);
}

/* Errors of gate and up in y = act(gate) up: the slope at the gate, and, where the slope is 0, half of the largest
 * curvature of any activation here (0.8, GELU's at 0). */
static double passed_on(const struct activation *activation, const struct op_row *row, uint32_t i)
{
    double g = row->in[0][i], up = fabs(row->in[1][i]);
    double by_gate = row->error[0] ? index_error(row, i, row->error[0][i]) : 0,
           by_up = row->error[1] ? row->error[1][i] : 0;
    double act = fabs(activation->run(row->arith, g, 1, NULL));
    double moved = fabs(activation->slope(g)) * by_gate + 0.4 * by_gate * by_gate;
    return moved * (up + by_up) + act * by_up;
}

/* y = act(gate) up of an engine that looks act up in a table of 16-bit floats, indexed by such a float: gate is
 * rounded, and act of it. Where act is so near the middle of two floats that float32 cannot tell on which side, the
 * table may hold either. GELU's ends are not looked up: it is 0 from -10 down, and gate itself from 10 up. Source:
 * ggml, vec.h, ggml_vec_geglu_f32; ggml-cpu.c fills the table. */
static double looked_up(const struct activation *activation, const struct arith *arith, double g, double up,
                        double *bound)
{
    enum rounding_type type = (enum rounding_type)arith->roundings.activation;
    if (activation->run == gelu_tanh && fabs(g) >= 10) {
        return activation->run(arith, g, up, bound);
    }
    double error, act = activation->run(arith, round_number(type, g), 1, &error), rounded = round_number(type, act);
    double most = fmax(round_number(type, act + error) - rounded, rounded - round_number(type, act - error));
    if (bound) {
        *bound = most * fabs(up) + fabs(rounded * up) * (arith->u_sum + arith->u_storage) + arith->eta;
    }
    return rounded * up;
}

void reference_glu(const struct op_batch *batch)
{
    const struct glu_params *p = &batch->step->params.glu;
    ASSERT(p->activation < sizeof(activations) / sizeof(*activations));
    const struct activation *activation = &activations[p->activation];
#pragma omp parallel for schedule(static)
    for (uint32_t r = 0; r < batch->n_rows; r++) {
        const struct op_row *row = &batch->rows[r];
        const float *gate = row->in[0], *up = row->in[1];
        double *y = batch->y + (uint64_t)r * p->width;
        double *bound = batch->bound ? batch->bound + (uint64_t)r * p->width : NULL;
        bool table = row->arith && row->arith->roundings.activation != ROUNDING_NONE;
        for (uint32_t i = 0; i < p->width; i++) {
            y[i] = (table ? looked_up(activation, row->arith, gate[i], up[i], bound ? &bound[i] : NULL)
                          : activation->run(row->arith, gate[i], up[i], bound ? &bound[i] : NULL));
        }
        for (uint32_t i = 0; i < p->width && bound && (row->error[0] || row->error[1]); i++) {
            bound[i] += passed_on(activation, row, i);
        }
    }
}
