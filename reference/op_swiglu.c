/* swiglu: y = (up + 1) gate sigmoid(alpha gate), gate <= limit, |up| <= limit; inputs alternate between gate and up.
 * Source: GPT-OSS; transformers, GptOssExperts._apply_gate. */
#include <float.h>
#include <math.h>

#include "model/error.h"
#include "reference/bounds.h"
#include "reference/op.h"

/* s = sigmoid(z), z = alpha g. z is rounded and stored; exp is off by (2 + |z|) u, which reaches s multiplied by 1 - s;
 * the sum, the division and three products; the stores of s, of g s, of up + 1 and of y. Where exp(-z) overflows in
 * f32, or s is flushed, s is 0 instead of a number below FLT_MIN. */
static double swiglu_bound(const struct arith *arith, double g, double z, double s, double up, double y)
{
    double reaching = fabs(z) * (1 - s);
    double relative = arith->u_sum * (8 + 5 * reaching) + arith->u_storage * (4 + reaching);
    return fabs(y) * relative + FLT_MIN * fabs(g * (up + 1)) + arith->eta;
}

/* Errors of gate and up: |f'| times each. An input that is past its limit by more than its error has no effect. */
static double propagated(const struct swiglu_params *p, double gate, double up, double gate_error, double up_error)
{
    double g = fmin(gate, p->limit), u = fmin(fmax(up, -p->limit), p->limit);
    double s = 1 / (1 + exp(-p->alpha * g));
    double by_gate = gate - gate_error > p->limit ? 0 : fabs(u + 1) * fabs(s + p->alpha * g * s * (1 - s));
    double by_up = fabs(up) - up_error > p->limit ? 0 : fabs(g * s);
    return by_gate * gate_error + by_up * up_error;
}

void reference_swiglu(const struct op_batch *batch)
{
    const struct swiglu_params *right = &batch->step->params.swiglu, *p = right;
    const struct swiglu_params plain = {right->width, INFINITY, 1, right->run};
    bool is_plain = batch->step->variant == VARIANT_PLAIN_SWIGLU,
         halves = batch->step->variant == VARIANT_GATE_UP_HALVES;
    if (is_plain) {
        p = &plain;
    }
    double one = is_plain ? 0 : 1; /* added to up */
#pragma omp parallel for schedule(static)
    for (uint32_t r = 0; r < batch->n_rows; r++) {
        const struct op_row *row = &batch->rows[r];
        for (uint32_t i = 0; i < p->width; i++) {
            uint64_t at = (uint64_t)r * p->width + i;
            uint32_t gate_at = halves ? i / p->run * 2 * p->run + i % p->run : 2 * i;
            uint32_t up_at = halves ? gate_at + p->run : gate_at + 1;
            double gate = row->in[0][gate_at], up = row->in[0][up_at];
            double g = fmin(gate, p->limit), u = fmin(fmax(up, -p->limit), p->limit);
            double z = p->alpha * g, s = 1 / (1 + exp(-z));
            batch->y[at] = (u + one) * (g * s);
            if (!batch->bound) {
                continue;
            }
            batch->bound[at] = swiglu_bound(row->arith, g, z, s, u, batch->y[at]);
            if (row->error[0]) {
                batch->bound[at] += propagated(p, gate, up, row->error[0][gate_at], row->error[0][up_at]);
            }
        }
    }
}
