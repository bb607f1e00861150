/* softcap: y = cap tanh(x / cap); cap 0: y = x. Gemma 2 report, 2024. Both bounds are in bounds.h. */
#include <math.h>

#include "reference/bounds.h"
#include "reference/op.h"

void reference_softcap(const struct op_batch *batch)
{
    uint32_t width = batch->step->params.softcap.width;
    double cap = batch->step->params.softcap.cap;
#pragma omp parallel for schedule(static)
    for (uint32_t r = 0; r < batch->n_rows; r++) {
        const struct op_row *row = &batch->rows[r];
        double *y = batch->y + (uint64_t)r * width;
        double *bound = batch->bound ? batch->bound + (uint64_t)r * width : NULL;
        for (uint32_t i = 0; i < width; i++) {
            double x = row->in[0][i], t = cap != 0 ? tanh(x / cap) : 0;
            y[i] = cap != 0 ? cap * t : x;
            if (!bound) {
                continue;
            }
            bound[i] = cap != 0 ? bound_softcap(row->arith, cap, x, t) : bound_copy(row->arith, x);
            if (row->error[0]) {
                bound[i] += cap != 0 ? softcap_error(cap, t, row->error[0][i]) : row->error[0][i];
            }
        }
    }
}
