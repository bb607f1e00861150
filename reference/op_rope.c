/* rope: pairs (a, b) = (x[i], x[i + dim/2]) of each head, turned by the angle position / factor * theta^(-2i/dim).
 * Su et al. 2021, in transformers' order (rotate halves). */
#include <math.h>
#include <stdlib.h>

#include "model/error.h"
#include "reference/bounds.h"
#include "reference/op.h"

/* The angle of pair i, the sine and cosine that go with it, and how far rounding moves the angle. */
struct turn {
    double cosine, sine;
    double angle_error; /* for u_sum = 1 */
};

/* y = a cos - b sin (its partner is b cos + a sin, so it takes (b, -a)). The angle's error turns into
 * |a sin| + |b cos|; cos and sin themselves, the products and the sum, in f32: 2 u (|a| + |b|); where less is stored,
 * cos or sin and the product are rounded to it: 2 u_storage (|a cos| + |b sin|); the store. */
static double rope_bound(const struct arith *arith, const struct turn *turn, double a, double b, double y)
{
    a = fabs(a), b = fabs(b);
    double cosine = fabs(turn->cosine), sine = fabs(turn->sine);
    return (a * sine + b * cosine) * turn->angle_error * arith->u_sum + 2 * arith->u_sum * (a + b) +
           2 * arith->u_storage * (a * cosine + b * sine) + arith->u_storage * fabs(y) + arith->eta;
}

/* The frequency is theta^-(2i/dim): its exponent, rounded, is off by u, which the power turns into ln(theta) 2i/dim u;
 * the power, its inverse and the product with the position round: 3 u; the factor of linear scaling once more. */
static struct turn rope_turn(const struct rope_params *p, uint32_t position, uint32_t i)
{
    double exponent = 2.0 * i / p->dim;
    double scaling = p->type == ROPE_TYPE_LINEAR ? p->factor : 1;
    double angle = position / scaling * pow(p->theta, -exponent);
    double roundings = 3 + log(p->theta) * exponent + (p->type == ROPE_TYPE_LINEAR ? 1 : 0);
    return (struct turn){cos(angle), sin(angle), angle * roundings};
}

static void rope_row(const struct rope_params *p, const struct op_row *row, double *y, double *bound)
{
    uint32_t half = p->dim / 2;
    for (uint32_t i = 0; i < half; i++) {
        struct turn turn = rope_turn(p, row->position, i);
        for (uint32_t h = 0; h < p->heads; h++) {
            uint64_t first = (uint64_t)h * p->dim + i, second = first + half;
            double a = row->in[0][first], b = row->in[0][second];
            y[first] = a * turn.cosine - b * turn.sine;
            y[second] = b * turn.cosine + a * turn.sine;
            if (bound) {
                bound[first] = rope_bound(row->arith, &turn, a, b, y[first]);
                bound[second] = rope_bound(row->arith, &turn, b, -a, y[second]);
            }
        }
    }
}

void reference_rope(const struct op_batch *batch)
{
    const struct rope_params *p = &batch->step->params.rope;
    ASSERT(p->dim % 2 == 0 && (p->type == ROPE_TYPE_DEFAULT || p->type == ROPE_TYPE_LINEAR));
    uint64_t width = (uint64_t)p->heads * p->dim;
#pragma omp parallel for schedule(static)
    for (uint32_t r = 0; r < batch->n_rows; r++)
        rope_row(p, &batch->rows[r], batch->y + r * width, batch->bound ? batch->bound + r * width : NULL);
}
