/* add: y = residual + branch */
#include <math.h>

#include "reference/bounds.h"
#include "reference/op.h"

/* The sum rounds once, and a fused kernel adds the branch before it is rounded to what the trace holds. Sums of floats
 * never round below the smallest normal number: no eta. */
static double add_bound(const struct arith *arith, double branch, double y)
{
    return arith->u_storage * (fabs(y) + fabs(branch));
}

/* Errors of computed inputs (row->error) in y. */
static double passed_on(const struct op_row *row, bool dropped, uint32_t i)
{
    double residual = row->error[0] && !dropped ? row->error[0][i] : 0, branch = row->error[1] ? row->error[1][i] : 0;
    return residual + branch;
}

void reference_add(const struct op_batch *batch)
{
    uint32_t width = batch->step->params.add.width;
    bool dropped = batch->step->variant == VARIANT_DROP_RESIDUAL;
#pragma omp parallel for schedule(static)
    for (uint32_t r = 0; r < batch->n_rows; r++) {
        const struct op_row *row = &batch->rows[r];
        const float *residual = row->in[0], *branch = row->in[1];
        double *y = batch->y + (uint64_t)r * width;
        for (uint32_t i = 0; i < width; i++) {
            y[i] = (dropped ? 0 : (double)residual[i]) + branch[i];
            if (batch->bound) {
                batch->bound[(uint64_t)r * width + i] =
                    add_bound(row->arith, branch[i], y[i]) + passed_on(row, dropped, i);
            }
        }
    }
}
