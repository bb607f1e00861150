/* expert_sum: y = sum over the k chosen experts of w_j x_j; x [k, width]. */
#include <math.h>

#include "model/error.h"
#include "reference/bounds.h"
#include "reference/op.h"

/* Bound of a sum of k products. Where less than f32 is stored, transformers stores each product and each partial sum,
 * adding expert by expert; no partial sum exceeds the sum of magnitudes. */
static double expert_sum_bound(const struct arith *arith, uint32_t k, double squares, double magnitudes, double y)
{
    double stored = arith->u_storage > arith->u_sum ? arith->u_storage * k * magnitudes : 0;
    return bound_dot(arith, k, squares, y, 0) + stored;
}

void reference_expert_sum(const struct op_batch *batch)
{
    const struct expert_sum_params *p = &batch->step->params.expert_sum;
    uint32_t first = batch->step->variant == VARIANT_LAST_EXPERT ? p->k - 1 : 0;
#pragma omp parallel for schedule(static)
    for (uint32_t r = 0; r < batch->n_rows; r++) {
        const struct op_row *row = &batch->rows[r];
        for (uint32_t i = 0; i < p->width; i++) {
            double sum = 0, squares = 0, magnitudes = 0, passed = 0;
            for (uint32_t j = first; j < p->k; j++) {
                uint64_t at = (uint64_t)j * p->width + i;
                double term = (double)row->in[1][j] * row->in[0][at];
                sum += term;
                squares += term * term;
                magnitudes += fabs(term);
                double error = row->error[0] ? row->in[1][j] * row->error[0][at] : 0;
                double share = row->error[1] ? row->in[0][at] * row->error[1][j] : 0;
                passed += error * error + share * share;
            }
            batch->y[(uint64_t)r * p->width + i] = sum;
            if (batch->bound) {
                batch->bound[(uint64_t)r * p->width + i] =
                    expert_sum_bound(row->arith, p->k, squares, magnitudes, sum) + sqrt(passed);
            }
        }
    }
}
