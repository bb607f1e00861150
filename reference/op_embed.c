/* embed: y = scale W[token] */
#include <math.h>
#include <stdlib.h>

#include "model/error.h"
#include "reference/bounds.h"
#include "reference/op.h"

/* The product and its store round. */
static double embed_bound(const struct arith *arith, double y)
{
    return 2 * arith->u_storage * fabs(y) + arith->eta;
}

void reference_embed(const struct op_batch *batch)
{
    const struct step *step = batch->step;
    const struct embed_params *p = &step->params.embed;
    double scale = round_to_dtype(p->scale, batch->weights_dtype); /* transformers casts it to the weights' dtype */
#pragma omp parallel for schedule(static)
    for (uint32_t r = 0; r < batch->n_rows; r++) {
        const struct op_row *row = &batch->rows[r];
        ASSERT(row->token >= 0 && (uint32_t)row->token < p->vocab);
        float *weights = xmalloc(p->width * sizeof(float));
        op_weights(batch, step->weight[0], (uint64_t)row->token, 0, p->width, weights);
        double *y = batch->y + (uint64_t)r * p->width;
        for (uint32_t i = 0; i < p->width; i++) {
            y[i] = scale * weights[i];
        }
        if (batch->bound) {
            double *bound = batch->bound + (uint64_t)r * p->width;
            for (uint32_t i = 0; i < p->width; i++) {
                bound[i] = embed_bound(row->arith, y[i]);
            }
        }
        free(weights);
    }
}
