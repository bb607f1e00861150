/* matmul: y = W x + bias, W [n_out, n_in] */
#include <stdlib.h>

#include "model/error.h"
#include "model/stop.h"
#include "reference/product.h"

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
    struct product product;
    product_open(&product, batch, p->n_in, 1);
#pragma omp parallel
    {
        struct product_weights weights;
        product_weights_open(&product, &weights);
#pragma omp for schedule(dynamic, 64) /* a thread that is preempted delays 64 rows, not half of them */
        for (uint32_t o = 0; o < p->n_out; o++) {
            if (stop_asked()) {
                continue;
            }
            if (transposed) {
                weights.w = transposed + (uint64_t)o * p->n_in;
            } else {
                product_weights_load(&product, &weights, o);
            }
            for (uint32_t r = 0; r < batch->n_rows; r++) {
                uint64_t at = (uint64_t)r * p->n_out + o;
                batch->y[at] = product_dot(&product, &weights, r, bias[o], batch->bound ? &batch->bound[at] : NULL);
            }
        }
        product_weights_close(&weights);
    }
    product_close(&product);
    free(transposed);
    free(bias);
}
