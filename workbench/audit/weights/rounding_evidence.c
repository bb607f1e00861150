#include "workbench/audit/weights/rounding_evidence.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "model/stop.h"
#include "workbench/audit/rows.h"
#include "workbench/audit/weights/rounding_product.h"

bool rounding_has_weights(const struct step *step)
{
    bool multiplies = step->op == OP_embed || step->op == OP_matmul || step->op == OP_expert_matmul;
    return multiplies && step->weight[0]->dtype != DTYPE_F32;
}

/* A row of the embedding: each value is one weight. Their v is the row's mean, as of the values of a product: the ends
 * of a K-quant's run may be off by more than its step says, where the scales of its block differ much. */
static void judge_token(const struct embed_params *p, const struct weight_step *steps,
                        const struct rounding_input *input, struct rounding_evidence *evidence)
{
    double scale = fabs((double)p->scale), variance = 0;
    for (uint32_t i = 0; i < p->width; i++) {
        double own = scale * steps[i].step;
        variance += (own * own / 12 + input->bound[i] * input->bound[i]) / p->width;
    }
    for (uint32_t i = 0; i < p->width; i++) {
        double share = scale * scale * steps[i].step * steps[i].step / 12 / variance;
        const struct rounding_value value = {.error = input->actual[i] - input->expected[i],
                                             .y = input->expected[i],
                                             .bound = input->bound[i],
                                             .most = scale * steps[i].most + input->bound[i],
                                             .variance = variance};
        rounding_add_value(evidence, &value, input->position, i);
        evidence->dependence += share * share;
        evidence->largest = fmax(evidence->largest, share);
        evidence->product_variance += value.y * value.y / variance * share;
        evidence->product_clipped += scale * fabs(value.y) * steps[i].outwards / variance;
    }
}

/* A token's later rows repeat its first. */
static void judge_embedding(const struct step *step, uint32_t weights_dtype, const struct rows *rows,
                            const struct rounding_input *inputs, struct rounding_evidence *evidence)
{
    const struct embed_params *p = &step->params.embed;
    struct weight_step *steps = xmalloc(p->width * sizeof(*steps));
    float *w = xmalloc(p->width * sizeof(*w));
    for (uint32_t r = 0; r < rows->n; r++) {
        bool repeated = false;
        for (uint32_t k = 0; k < r && !repeated; k++) {
            repeated = rows->rows[k].token == rows->rows[r].token;
        }
        if (repeated) {
            continue;
        }
        rounding_load_weights(step->weight[0], weights_dtype, (uint64_t)rows->rows[r].token, p->width, steps, w);
        judge_token(p, steps, &inputs[r], evidence);
    }
    free(w);
    free(steps);
}

/* Each expert's matrix, with the rows and slots that chose it. */
static void judge_experts(const struct step *step, uint32_t weights_dtype, const struct rows *rows,
                          const struct rounding_input *of_rows, struct rounding_evidence *evidence)
{
    const struct expert_matmul_params *p = &step->params.expert_matmul;
    struct rounding_input *inputs = xmalloc(((uint64_t)rows->n * p->k + 1) * sizeof(*inputs));
    for (uint32_t expert = 0; expert < p->n_experts; expert++) {
        struct rounding_product product = {.matrix = step->weight[0],
                                           .bias = step->weight[1],
                                           .weights_dtype = weights_dtype,
                                           .first_row = (uint64_t)expert * p->n_out,
                                           .n_in = p->n_in,
                                           .n_out = p->n_out,
                                           .bias_row = expert,
                                           .inputs = inputs};
        for (uint64_t slot = 0; slot < (uint64_t)rows->n * p->k; slot++) {
            const struct rounding_input *row = &of_rows[slot / p->k];
            uint64_t at = slot % p->k;
            if (rows->rows[slot / p->k].in[1][at] == (float)expert) {
                inputs[product.n_inputs++] = (struct rounding_input){row->x + (p->shared_x ? 0 : at * p->n_in),
                                                                     row->actual + at * p->n_out,
                                                                     row->expected + at * p->n_out,
                                                                     row->bound + at * p->n_out,
                                                                     row->position,
                                                                     (uint32_t)at};
            }
        }
        rounding_judge_product(&product, evidence);
    }
    free(inputs);
}

/* Whether a row's inputs are recorded, not computed over several ops: only then is its error that of one matrix. */
static bool is_direct(const struct plan *plan, const struct step *step, const struct trace *trace,
                      const struct op_row *row)
{
    for (unsigned i = 0; i < OP_MAX_INPUTS && step->input[i] >= 0; i++) {
        const struct trace_stage *stage = trace_find_step(trace, &plan->steps[step->input[i]]);
        if (!stage || row->in[i] != trace_row(stage, row->position)) {
            return false;
        }
    }
    return true;
}

/* Takes out the rows that are not direct. */
static void keep_direct(struct rows *rows, const struct plan *plan, const struct step *step, const struct trace *trace)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < rows->n; i++) {
        if (is_direct(plan, step, trace, &rows->rows[i])) {
            rows->rows[n++] = rows->rows[i];
        }
    }
    rows->n = n;
}

/* Computes some rows, and judges them. */
static void judge_rows(const struct step *step, const struct rows *rows, const struct trace_stage *stage,
                       struct rounding_evidence *evidence)
{
    double *expected = xmalloc((uint64_t)rows->n * step->width * sizeof(*expected));
    double *bound = xmalloc((uint64_t)rows->n * step->width * sizeof(*bound));
    struct rounding_input *inputs = xmalloc(rows->n * sizeof(*inputs));
    struct op_batch batch = {.step = step,
                             .weights_dtype = stage->weights_dtype,
                             .n_rows = rows->n,
                             .rows = rows->rows,
                             .y = expected,
                             .bound = bound};
    op_run(&batch);
    for (uint32_t i = 0; i < rows->n; i++) {
        uint64_t at = (uint64_t)i * step->width;
        inputs[i] = (struct rounding_input){.x = rows->rows[i].in[0],
                                            .actual = trace_row(stage, rows->rows[i].position),
                                            .expected = expected + at,
                                            .bound = bound + at,
                                            .position = rows->rows[i].position};
    }
    if (step->op == OP_embed) {
        judge_embedding(step, stage->weights_dtype, rows, inputs, evidence);
    } else if (step->op == OP_expert_matmul) {
        judge_experts(step, stage->weights_dtype, rows, inputs, evidence);
    } else {
        const struct matmul_params *p = &step->params.matmul;
        const struct rounding_product product = {.matrix = step->weight[0],
                                                 .bias = step->weight[1],
                                                 .weights_dtype = stage->weights_dtype,
                                                 .n_in = p->n_in,
                                                 .n_out = p->n_out,
                                                 .n_inputs = rows->n,
                                                 .inputs = inputs};
        rounding_judge_product(&product, evidence);
    }
    free(inputs);
    free(bound);
    free(expected);
}

/* Adds sums of other rows, which depend on the earlier ones: their deviations add up. */
static void add_dependent(struct rounding_evidence *sums, const struct rounding_evidence *more)
{
    double dependence = sqrt(sums->dependence) + sqrt(more->dependence), largest = sums->largest + more->largest;
    double product = sqrt(sums->product_variance) + sqrt(more->product_variance);
    rounding_add_sums(sums, more);
    sums->dependence = dependence * dependence;
    sums->largest = largest;
    sums->product_variance = product * product;
}

void rounding_evidence_gather(struct rounding_evidence *evidence, const struct plan *plan, uint32_t step_index,
                              const struct trace *trace)
{
    const struct step *step = &plan->steps[step_index];
    const struct trace_stage *stage = trace_find_step(trace, step);
    struct rows rows;
    *evidence = (struct rounding_evidence){0};
    ASSERT(rounding_has_weights(step));
    if (!stage) {
        return;
    }
    rows_gather(&rows, plan, step_index, trace, NULL);
    keep_direct(&rows, plan, step, trace);
    uint32_t most = rows_at_once(rows.n, step->width);
    for (uint32_t first = 0; first < rows.n && !stop_asked(); first += most) {
        struct rounding_evidence piece = {0};
        const struct rows some = {.n = rows.n - first < most ? rows.n - first : most, .rows = rows.rows + first};
        judge_rows(step, &some, stage, &piece);
        add_dependent(evidence, &piece);
    }
    rows_free(&rows);
}

struct rounding_limits rounding_limits(const struct rounding_evidence *evidence)
{
    double n = (double)evidence->n_values, y = evidence->expected_squares;
    double wide = (sqrt(2 * UNLIKELY * evidence->product_variance) + evidence->product_bound) / y;
    double more = 2 * sqrt(UNLIKELY * evidence->dependence) + 2 * UNLIKELY * evidence->largest;
    return (struct rounding_limits){
        .most_rms = sqrt(1 + more / n),
        .rms = sqrt(evidence->squares / n),
        .least_factor = 1 - n / y - wide,
        .most_factor = 1 + evidence->product_clipped / y + wide,
        .factor = evidence->product / y,
    };
}

bool rounding_explains(const struct rounding_evidence *evidence, char why[160])
{
    const struct rounding_limits limits = rounding_limits(evidence);
    if (!(limits.factor >= limits.least_factor && limits.factor <= limits.most_factor)) {
        snprintf(why, 160, "it is %.6g times MODEL's by least squares; rounding leaves %.6g to %.6g", limits.factor,
                 limits.least_factor, limits.most_factor);
    } else if (!(limits.rms <= limits.most_rms)) {
        snprintf(why, 160, "its error is %.3g times the rounding's in rms; rounding leaves at most %.3g", limits.rms,
                 limits.most_rms);
    } else if (!(evidence->worst <= 1)) {
        snprintf(why, 160, "token %u, dim %u is off by %.3g times the most that rounding can cause", evidence->position,
                 evidence->dim, evidence->worst);
    } else {
        return evidence->n_values > 0;
    }
    return false;
}
