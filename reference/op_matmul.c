/* matmul: y = W x + bias, W [n_out, n_in] */
#include <stdlib.h>

#include "model/error.h"
#include "model/stop.h"
#include "reference/bounds.h"
#include "reference/dot.h"
#include "reference/op.h"

/* Computes one output for every row of the batch. x: [n_rows, n_in]; w: the decoded weight row. Each output is a dot
 * product of its own (dot.h), so it does not depend on threads or on other rows. Bound: bounds.h. */
static void matmul_output(const struct op_batch *batch, const double *x, uint32_t o, const float *w, double bias)
{
    const struct matmul_params *p = &batch->step->params.matmul;
    for (uint32_t r = 0; r < batch->n_rows; r++) {
        const struct op_row *row = &batch->rows[r];
        uint64_t at = (uint64_t)r * p->n_out + o;
        const double *in = x + (uint64_t)r * p->n_in;
        struct dot dot = batch->bound ? dot_sum_squares(w, in, p->n_in) : dot_sum(w, in, p->n_in);
        batch->y[at] = dot.sum + bias;
        if (batch->bound) {
            batch->bound[at] = bound_dot(row->arith, p->n_in, dot.squares, dot.sum, bias) +
                               (row->error[0] ? dot_error(w, row->error[0], p->n_in) : 0);
        }
    }
}

/* VARIANT_TRANSPOSE_B: W's columns in place of its rows. */
static float *matmul_transposed(const struct op_batch *batch)
{
    const struct matmul_params *p = &batch->step->params.matmul;
    ASSERT(p->n_in == p->n_out);
    uint64_t n = p->n_in;
    float *row = xmalloc(n * sizeof(float)), *transposed = xmalloc(n * n * sizeof(float));
    for (uint64_t o = 0; o < n; o++) {
        op_weights(batch, batch->step->weight[0], o, 0, n, row);
        for (uint64_t i = 0; i < n; i++) {
            transposed[i * n + o] = row[i];
        }
    }
    free(row);
    return transposed;
}

void reference_matmul(const struct op_batch *batch)
{
    const struct step *step = batch->step;
    const struct matmul_params *p = &step->params.matmul;
    float *bias = xcalloc(p->n_out, sizeof(float));
    if (step->weight[1]) {
        op_weights(batch, step->weight[1], 0, 0, p->n_out, bias);
    }
    float *transposed = step->variant == VARIANT_TRANSPOSE_B ? matmul_transposed(batch) : NULL;
    double *x = op_widened(batch, 0, p->n_in);
#pragma omp parallel
    {
        float *decoded = xmalloc(p->n_in * sizeof(float));
#pragma omp for schedule(dynamic, 64) /* a thread that is preempted delays 64 rows, not half of them */
        for (uint32_t o = 0; o < p->n_out; o++) {
            if (stop_asked()) {
                continue;
            }
            const float *w = transposed ? transposed + (uint64_t)o * p->n_in : decoded;
            if (!transposed) {
                op_weights(batch, step->weight[0], o, 0, p->n_in, decoded);
            }
            matmul_output(batch, x, o, w, bias[o]);
        }
        free(decoded);
    }
    free(x);
    free(transposed);
    free(bias);
}
