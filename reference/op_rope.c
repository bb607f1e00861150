/* rope: pairs (a, b) = (x[i], x[i + dim/2]) of each head are rotated by the angle position * theta^(-2i/dim); the
 * frequency may be scaled for a longer context. Su et al. 2021, in transformers' order (rotate halves). */
#include <math.h>

#include "model/error.h"
#include "reference/bounds.h"
#include "reference/op.h"

/* Angle of pair i, its sine and cosine, and how far rounding moves the angle. */
struct turn {
    double cosine, sine;             /* both multiplied by m */
    double scale;                    /* m: factor of cos and sin */
    double angle_error;              /* for u_sum = 1 */
    double cosine_error, sine_error; /* besides, absolute: where the table is rounded, to either of two neighbours */
};

/* y = m (a cos - b sin); its partner m (b cos + a sin) is called with (b, -a). cosine and sine include m. Errors: the
 * angle's becomes |a sin| + |b cos|; cos and sin themselves, the products and the sum, in f32: 2 m u (|a| + |b|); where
 * less is stored, cos or sin and the product are rounded to it: 2 u_storage (|a cos| + |b sin|); the store. */
static double rope_bound(const struct arith *arith, const struct turn *turn, double a, double b, double y)
{
    a = fabs(a), b = fabs(b);
    double cosine = fabs(turn->cosine), sine = fabs(turn->sine);
    return (a * sine + b * cosine) * turn->angle_error * arith->u_sum + 2 * turn->scale * arith->u_sum * (a + b) +
           2 * arith->u_storage * (a * cosine + b * sine) + arith->u_storage * fabs(y) + arith->eta +
           a * turn->cosine_error + b * turn->sine_error;
}

/* llama3: low frequencies are divided by the factor, high ones stay, those between are blended. Source: Llama 3.1's
 * apply_scaling; transformers, modeling_rope_utils.py, _compute_llama3_parameters. */
static double llama3_frequency(const struct rope_params *p, double frequency)
{
    double waves = p->original * frequency / (2 * M_PI); /* waves in the original context */
    if (waves > p->high) {
        return frequency;
    }
    if (waves < p->low) {
        return frequency / p->factor;
    }
    double smooth = (waves - p->low) / ((double)p->high - p->low);
    return (1 - smooth) * frequency / p->factor + smooth * frequency;
}

/* Dim (pair number) that turns `rotations` times over the original context. */
static double yarn_dim(const struct rope_params *p, double rotations)
{
    return p->dim * log(p->original / (rotations * 2 * M_PI)) / (2 * log(p->theta));
}

/* yarn: between two dims the frequency changes from the plain one to the interpolated one. Source: Peng et al. 2023;
 * transformers, modeling_rope_utils.py, _compute_yarn_parameters. */
static double yarn_frequency(const struct rope_params *p, double frequency, uint32_t i)
{
    double low = yarn_dim(p, p->high), high = yarn_dim(p, p->low);
    if (p->truncate) {
        low = floor(low);
        high = ceil(high);
    }
    low = fmax(low, 0);
    high = fmin(high, p->dim - 1.0);
    if (low == high) {
        high += 0.001;
    }
    double ramp = fmin(fmax((i - low) / (high - low), 0), 1);
    return frequency / p->factor * ramp + frequency * (1 - ramp);
}

/* cos or sin, times m, as a table in f16 or bf16 holds it; float32 holds it as it is. */
static double in_table(const struct arith *arith, double value)
{
    return arith && arith->roundings.tables ? round_number((enum rounding_type)arith->roundings.tables, value) : value;
}

/* Errors of the frequency theta^-(2i/dim): its exponent rounds by u, which the power turns into ln(theta) 2i/dim u; the
 * power, its inverse and the product with the position round: 3 u. Scaling adds: linear one division; llama3 and yarn a
 * blend of two frequencies, whose weights (differences, a quotient) round too. */
static struct turn right_turn(const struct rope_params *p, const struct arith *arith, double position, uint32_t i)
{
    static const double roundings[] = {
        [ROPE_TYPE_DEFAULT] = 0, [ROPE_TYPE_LINEAR] = 1, [ROPE_TYPE_LLAMA3] = 6, [ROPE_TYPE_YARN] = 8};
    double exponent = 2.0 * i / p->dim, frequency = pow(p->theta, -exponent);
    if (p->type == ROPE_TYPE_LINEAR) {
        frequency /= p->factor;
    } else if (p->type == ROPE_TYPE_LLAMA3) {
        frequency = llama3_frequency(p, frequency);
    } else if (p->type == ROPE_TYPE_YARN) {
        frequency = yarn_frequency(p, frequency, i);
    }
    double angle = position * frequency;
    return (struct turn){.cosine = in_table(arith, p->scale * cos(angle)),
                         .sine = in_table(arith, p->scale * sin(angle)),
                         .scale = p->scale,
                         .angle_error = fabs(angle) * (3 + log(p->theta) * exponent + roundings[p->type])};
}

/* A number that is off by up to *error, rounded to a type of floats; *error becomes how far the rounded one can be off:
 * where the middle of two of its values is near, either may be taken. */
static double round_known(enum rounding_type type, double number, double *error)
{
    double rounded = round_number(type, number);
    double low = round_number(type, number - *error), high = round_number(type, number + *error);
    *error = type == ROUNDING_NONE ? *error : fmax(high - rounded, rounded - low);
    return rounded;
}

/* The turn of an engine that has other positions or frequencies, or that rounds them, their angles, or cos and sin. */
static struct turn tried_turn(const struct rope_params *p, const struct op_row *row, uint32_t i, double u)
{
    const struct rope_trial *trial = row->rope;
    double position = round_number(trial->position, row->position + trial->shift);
    struct turn turn = right_turn(p, NULL, position, i), unit = right_turn(p, NULL, 1, i);
    double frequency = trial->frequencies ? trial->frequencies[i] : atan2(unit.sine, unit.cosine);
    double error = unit.angle_error * u;
    uint8_t table = trial->table == ROUNDING_NONE && row->arith ? row->arith->roundings.tables : trial->table;
    frequency = round_known(trial->frequency, frequency, &error);
    error = fabs(position) * error + (trial->frequency ? u * fabs(position * frequency) : 0);
    double angle = round_known(trial->angle, position * frequency, &error);
    double cosine_error = fabs(sin(angle)) * error + 2 * u, sine_error = fabs(cos(angle)) * error + 2 * u;
    turn.cosine = turn.scale * cos(angle);
    turn.sine = turn.scale * sin(angle);
    turn.angle_error = error / u;
    if (table != ROUNDING_NONE) {
        turn.cosine = round_known((enum rounding_type)table, turn.cosine, &cosine_error);
        turn.sine = round_known((enum rounding_type)table, turn.sine, &sine_error);
        turn.angle_error = 0;
        turn.cosine_error = cosine_error;
        turn.sine_error = sine_error;
    }
    return turn;
}

static struct turn rope_turn(const struct rope_params *p, const struct op_row *row, uint32_t i)
{
    return row->rope ? tried_turn(p, row, i, row->arith ? row->arith->u_sum : 0x1p-24)
                     : right_turn(p, row->arith, row->position, i);
}

static void rope_row(const struct rope_params *p, bool neighbours, const struct op_row *row, double *y, double *bound)
{
    uint32_t half = p->dim / 2;
    for (uint32_t i = 0; i < half; i++) {
        struct turn turn = rope_turn(p, row, i);
        for (uint32_t h = 0; h < p->heads; h++) {
            uint64_t first = (uint64_t)h * p->dim + (neighbours ? 2 * i : i), second = first + (neighbours ? 1 : half);
            double a = row->in[0][first], b = row->in[0][second];
            y[first] = a * turn.cosine - b * turn.sine;
            y[second] = b * turn.cosine + a * turn.sine;
            if (bound) {
                bound[first] = rope_bound(row->arith, &turn, a, b, y[first]);
                bound[second] = rope_bound(row->arith, &turn, b, -a, y[second]);
            }
            if (bound && row->error[0]) { /* rotated like the values, with the worst signs */
                double cosine = fabs(turn.cosine), sine = fabs(turn.sine);
                bound[first] += cosine * row->error[0][first] + sine * row->error[0][second];
                bound[second] += cosine * row->error[0][second] + sine * row->error[0][first];
            }
        }
    }
}

void reference_rope(const struct op_batch *batch)
{
    const struct rope_params *p = &batch->step->params.rope;
    ASSERT(p->dim % 2 == 0 && p->type <= ROPE_TYPE_YARN);
    uint64_t width = (uint64_t)p->heads * p->dim;
#pragma omp parallel for schedule(static)
    for (uint32_t r = 0; r < batch->n_rows; r++) {
        rope_row(p, batch->step->variant == VARIANT_ROPE_NEIGHBOURS, &batch->rows[r], batch->y + r * width,
                 batch->bound ? batch->bound + r * width : NULL);
    }
}
