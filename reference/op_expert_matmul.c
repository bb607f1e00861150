/* expert_matmul: y[j] = W[e_j] x_j + bias[e_j] for the k experts that the router chose. W [experts, n_out, n_in]. */
#include <math.h>
#include <stdlib.h>

#include "model/error.h"
#include "model/stop.h"
#include "reference/bounds.h"
#include "reference/dot.h"
#include "reference/op.h"

/* Expert in slot j of a row; n_experts if the row names none (a damaged trace). */
static uint32_t expert_of(const struct expert_matmul_params *p, const struct op_row *row, uint32_t j)
{
    float place = row->in[1][j];
    return place >= 0 && place < p->n_experts && place == floorf(place) ? (uint32_t)place : p->n_experts;
}

/* Width of a row's input: one x for each slot, or one for all. */
static uint64_t input_width(const struct expert_matmul_params *p)
{
    return p->shared_x ? p->n_in : (uint64_t)p->k * p->n_in;
}

/* Computes output o of slot j of row r. x: [n_rows, input_width]; w: the decoded weight row. */
static void slot_output(const struct op_batch *batch, const double *x, uint32_t r, uint32_t j, uint32_t o,
                        const float *w, double bias)
{
    const struct expert_matmul_params *p = &batch->step->params.expert_matmul;
    const struct op_row *row = &batch->rows[r];
    uint64_t at = ((uint64_t)r * p->k + j) * p->n_out + o, slot = p->shared_x ? 0 : (uint64_t)j * p->n_in;
    const double *in = x + r * input_width(p) + slot;
    struct dot dot = batch->bound ? dot_sum_squares(w, in, p->n_in) : dot_sum(w, in, p->n_in);
    batch->y[at] = dot.sum + bias;
    if (!batch->bound) {
        return;
    }
    batch->bound[at] = bound_dot(row->arith, p->n_in, dot.squares, dot.sum, bias);
    if (row->error[0]) {
        batch->bound[at] += dot_error(w, row->error[0] + slot, p->n_in);
    }
}

/* Runs one expert for every row and slot that chose it, so that its rows are decoded once. */
static void run_expert(const struct op_batch *batch, const double *x, uint32_t expert, const float *bias)
{
    const struct expert_matmul_params *p = &batch->step->params.expert_matmul;
#pragma omp parallel
    {
        float *w = xmalloc(p->n_in * sizeof(float));
#pragma omp for schedule(static)
        for (uint32_t o = 0; o < p->n_out; o++) {
            if (stop_asked()) {
                continue;
            }
            op_weights(batch, batch->step->weight[0], (uint64_t)expert * p->n_out + o, 0, p->n_in, w);
            for (uint32_t slot = 0; slot < batch->n_rows * p->k; slot++) {
                if (expert_of(p, &batch->rows[slot / p->k], slot % p->k) == expert) {
                    slot_output(batch, x, slot / p->k, slot % p->k, o, w, bias[o]);
                }
            }
        }
        free(w);
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
    double *x = op_widened(batch, 0, input_width(p));
    for (uint32_t expert = 0; expert < p->n_experts; expert++) {
        if (chosen[expert] && step->weight[1]) {
            op_weights(batch, step->weight[1], expert, 0, p->n_out, bias);
        }
        if (chosen[expert]) {
            run_expert(batch, x, expert, bias);
        }
    }
    free(x);
    free(bias);
    free(chosen);
}
