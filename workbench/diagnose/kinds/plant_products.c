/* Bugs of matrix products and their weights. */
#include <string.h>

#include "workbench/diagnose/kinds/plant.h"
#include "workbench/diagnose/products/block_variants.h"
#include "workbench/diagnose/products/product_samples.h"

#define FACTOR 1.3F
#define THRICE 3

bool plant_last_inputs_lost(struct plant *plant)
{
    uint32_t n_in = plant->right->params.matmul.n_in, lost = n_in / 3;
    float *x = plant_copy_input(plant, 0, n_in);
    for (uint64_t at = 0; at < (uint64_t)plant->n * n_in; at++) {
        x[at] = at % n_in >= n_in - lost ? 0 : x[at];
    }
    plant->number = n_in - lost;
    plant_compute(plant);
    return true;
}

/* Adds a vector to every row. */
static void add_vector(struct plant *plant, const float *vector)
{
    plant_compute(plant);
    for (uint64_t at = 0; at < (uint64_t)plant->n * plant->right->width; at++) {
        plant->y[at] += vector[at % plant->right->width];
    }
}

bool plant_bias_twice(struct plant *plant)
{
    if (!plant->right->weight[1]) {
        return false;
    }
    add_vector(plant, plant_weights(plant, plant->right->weight[1], 0));
    plant->number = 2;
    return true;
}

bool plant_other_vector(struct plant *plant)
{
    for (uint32_t s = 0; s < plant->plan->n_steps; s++) {
        for (unsigned w = 0; w < OP_MAX_WEIGHTS; w++) {
            const struct tensor *tensor = plant->plan->steps[s].weight[w];
            if (tensor && tensor != plant->right->weight[w] && tensor_rows(tensor) == 1 &&
                tensor_row_elems(tensor) == plant->right->width) {
                add_vector(plant, plant_weights(plant, tensor, 0));
                return true;
            }
        }
    }
    return false;
}

bool plant_unknown_vector(struct plant *plant)
{
    float *vector = arena_alloc(&plant->arena, plant->right->width * sizeof(*vector));
    for (uint32_t d = 0; d < plant->right->width; d++) {
        vector[d] = (float)sin(1 + (double)d * d);
    }
    add_vector(plant, vector);
    return true;
}

bool plant_experts_bias_thrice(struct plant *plant)
{
    const struct expert_matmul_params *p = &plant->right->params.expert_matmul;
    if (!p->has_bias) {
        return false;
    }
    plant_compute(plant);
    for (uint32_t i = 0; i < plant->n; i++) {
        for (uint32_t j = 0; j < p->k; j++) {
            const float *bias = plant_weights(plant, plant->right->weight[1], (uint64_t)plant->rows[i].in[1][j]);
            for (uint32_t d = 0; d < p->n_out; d++) {
                plant->y[((uint64_t)i * p->k + j) * p->n_out + d] += (THRICE - 1) * bias[d];
            }
        }
    }
    plant->number = THRICE;
    return true;
}

bool plant_router_weight_on_input(struct plant *plant)
{
    struct expert_matmul_params *p = &plant->step.params.expert_matmul;
    const struct trace_stage *shares = trace_find(plant->trace, plant->right->layer, STAGE_router_weights);
    for (uint32_t i = 0; i < plant->n; i++) {
        float *x = arena_alloc(&plant->arena, (uint64_t)p->k * p->n_in * sizeof(*x));
        const float *share = shares ? trace_row(shares, plant->rows[i].position) : NULL;
        for (uint32_t at = 0; share && at < p->k * p->n_in; at++) {
            x[at] = share[at / p->n_in] * plant->rows[i].in[0][p->shared_x ? at % p->n_in : at];
        }
        if (!share) {
            return false;
        }
        plant->rows[i].in[0] = x;
    }
    p->shared_x = 0;
    plant_compute(plant);
    return true;
}

bool plant_input_before_norm(struct plant *plant)
{
    const struct step *norm = &plant->plan->steps[plant->right->input[0]];
    const struct trace_stage *before = norm->op == OP_rms_norm && norm->params.rms_norm.groups == 1
                                           ? trace_find_step(plant->trace, &plant->plan->steps[norm->input[0]])
                                           : NULL;
    for (uint32_t i = 0; i < plant->n && before; i++) {
        plant->rows[i].in[0] = trace_row(before, plant->rows[i].position);
        before = plant->rows[i].in[0] ? before : NULL;
    }
    if (before) {
        plant_compute(plant);
    }
    return before != NULL;
}

bool plant_block_decoding(struct plant *plant)
{
    const struct tensor *matrix = plant->right->weight[0];
    uint32_t n;
    const struct block_variant *variants = block_variants(&n), *chosen = NULL;
    for (uint32_t v = 0; v < n && !chosen; v++) {
        bool takes_next = variants[v].scale == SOURCE_NEXT && variants[v].number != SCALE_ALONE;
        chosen = takes_next && variants[v].dtypes & 1ull << matrix->dtype ? &variants[v] : NULL;
    }
    if (!chosen || matrix->layout != LAYOUT_ROWS) {
        return false;
    }
    plant->step.weight[0] = weights_expand(&plant->arena, matrix, weights_of_variant, chosen);
    plant_compute(plant);
    return true;
}

bool plant_scales_multiplied(struct plant *plant)
{
    const struct tensor *matrix = plant->right->weight[0];
    if (matrix->layout != LAYOUT_ROWS || dtype_info(matrix->dtype)->scale != SCALE_HALF || plant->right->weight[1]) {
        return false;
    }
    plant->step.weight[0] = weights_rescaled(&plant->arena, matrix, FACTOR);
    plant->number = (double)FACTOR;
    plant_compute(plant);
    return true;
}

/* context: unused. Row r of [out, in] as the same bytes have it that are taken for [in, out]. */
static void transposed(const void *context, const struct tensor *matrix, uint64_t row, float *w)
{
    uint64_t n_in = tensor_row_elems(matrix), n_out = tensor_rows(matrix);
    (void)context;
    for (uint64_t i = 0; i < n_in; i++) {
        weights_decode(matrix, (i * n_out + row) / n_in, (i * n_out + row) % n_in, 1, &w[i]);
    }
}

bool plant_transposed(struct plant *plant)
{
    const struct tensor *matrix = plant->right->weight[0];
    if (matrix->layout != LAYOUT_ROWS || tensor_rows(matrix) == tensor_row_elems(matrix)) {
        return false; /* a square one is a fault of the table */
    }
    plant->step.weight[0] = weights_expand(&plant->arena, matrix, transposed, NULL);
    plant_compute(plant);
    return true;
}

bool plant_row_before_read(struct plant *plant)
{
    for (uint32_t i = plant->n; i-- > 1;) {
        plant->rows[i].in[0] = plant->rows[i - 1].in[0];
        if (plant->rows[i].position != plant->rows[i - 1].position + 1) {
            return false;
        }
    }
    plant->number = -1;
    plant_compute(plant);
    return true;
}

bool plant_input_rolled(struct plant *plant)
{
    uint32_t n_in = plant->right->params.matmul.n_in;
    float *x = plant_copy_input(plant, 0, n_in);
    for (uint32_t i = 0; i < plant->n; i++) {
        float *row = x + (uint64_t)i * n_in, first = row[0];
        memmove(row, row + 1, (n_in - 1) * sizeof(*row));
        row[n_in - 1] = first;
    }
    plant->number = 1;
    plant_compute(plant);
    return true;
}

/* Row r of q is row r + 1 of q, k and v, one after the other. */
static void next_row(const void *context, const struct tensor *matrix, uint64_t row, float *w)
{
    bool last = row + 1 == tensor_rows(matrix);
    weights_decode(last ? context : matrix, last ? 0 : row + 1, 0, tensor_row_elems(matrix), w);
}

bool plant_fused_rows(struct plant *plant)
{
    int32_t keys = plan_find(plant->plan, plant->right->layer, STAGE_k_proj);
    if (plant->right->stage != STAGE_q_proj || keys < 0) {
        return false;
    }
    plant->step.weight[0] =
        weights_expand(&plant->arena, plant->right->weight[0], next_row, plant->plan->steps[keys].weight[0]);
    plant->number = 1;
    plant_compute(plant);
    return true;
}

/* context: rows of one expert. */
static void next_expert(const void *context, const struct tensor *matrix, uint64_t row, float *w)
{
    weights_decode(matrix, (row + *(const uint32_t *)context) % tensor_rows(matrix), 0, tensor_row_elems(matrix), w);
}

bool plant_experts_shifted(struct plant *plant)
{
    plant->step.weight[0] =
        weights_expand(&plant->arena, plant->right->weight[0], next_expert, &plant->right->params.expert_matmul.n_out);
    plant->number = 1;
    plant_compute(plant);
    return true;
}
