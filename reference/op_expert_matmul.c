/* expert_matmul: y[j] = W[e_j] x_j + bias[e_j] for the k experts that the router chose. W [experts, n_out, n_in]. */
#include <math.h>
#include <stdlib.h>

#include "model/error.h"
#include "model/stop.h"
#include "reference/product.h"

/* Expert in slot j of a row; n_experts if the row names none (a damaged trace). */
static uint32_t expert_of(const struct expert_matmul_params *p, const struct op_row *row, uint32_t j)
{
    float place = row->in[1][j];
    return place >= 0 && place < p->n_experts && place == floorf(place) ? (uint32_t)place : p->n_experts;
}

/* Computes output o of a slot: slot j of row r is number r k + j. */
static void slot_output(const struct product *product, const struct product_weights *weights, uint32_t slot, uint32_t o,
                        double bias)
{
    const struct op_batch *batch = product->batch;
    const struct expert_matmul_params *p = &batch->step->params.expert_matmul;
    uint64_t at = (uint64_t)slot * p->n_out + o, input = p->shared_x ? slot / p->k : slot;
    batch->y[at] = product_dot(product, weights, input, bias, batch->bound ? &batch->bound[at] : NULL);
}

/* Runs one expert for every row and slot that chose it, so that its rows are decoded once. */
static void run_expert(const struct product *product, uint32_t expert, const float *bias)
{
    const struct op_batch *batch = product->batch;
    const struct expert_matmul_params *p = &batch->step->params.expert_matmul;
#pragma omp parallel
    {
        struct product_weights weights;
        product_weights_open(product, &weights);
#pragma omp for schedule(static)
        for (uint32_t o = 0; o < p->n_out; o++) {
            if (stop_asked()) {
                continue;
            }
            product_weights_load(product, &weights, (uint64_t)expert * p->n_out + o);
            for (uint32_t slot = 0; slot < batch->n_rows * p->k; slot++) {
                if (expert_of(p, &batch->rows[slot / p->k], slot % p->k) == expert) {
                    slot_output(product, &weights, slot, o, bias[o]);
                }
            }
        }
        product_weights_close(&weights);
    }
}

void reference_expert_matmul(const struct op_batch *batch)
{
    const struct step *step = batch->step;
    const struct expert_matmul_params *p = &step->params.expert_matmul;
    uint64_t width = (uint64_t)p->k * p->n_out;
    bool *chosen = xcalloc(p->n_experts + 1, sizeof(*chosen));
    for (uint32_t slot = 0; slot < batch->n_rows * p->k; slot++) {
        chosen[expert_of(p, &batch->rows[slot / p->k], slot % p->k)] = true;
    }
    for (uint64_t i = 0; i < batch->n_rows * width && chosen[p->n_experts]; i++) {
        batch->y[i] = NAN; /* no expert: no result */
        if (batch->bound) {
            batch->bound[i] = 0;
        }
    }
    float *bias = xcalloc(p->n_out, sizeof(float));
    struct product product;
    product_open(&product, batch, p->n_in, p->shared_x ? 1 : p->k);
    for (uint32_t expert = 0; expert < p->n_experts; expert++) {
        if (chosen[expert] && step->weight[1]) {
            op_weights(batch, step->weight[1], expert, 0, p->n_out, bias);
        }
        if (chosen[expert]) {
            run_expert(&product, expert, bias);
        }
    }
    product_close(&product);
    free(bias);
    free(chosen);
}
