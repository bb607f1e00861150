/* The relation that finds one wrong weight: a flipped bit, a tensor patched by hand. Every error of the one wrong dim
 * is the same multiple of one input column. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "workbench/diagnose/relations.h"

/* One element of a tensor. */
static float tensor_value(const struct tensor *tensor, uint64_t row, uint32_t column)
{
    float value;
    weights_decode(tensor, row, column, 1, &value);
    return value;
}

/* Whether the errors of a dim are a constant times input column `column` in all rows. The rounding of a sum that holds
 * one changed term of whatever size is at most one roundoff of the result for each of its terms. */
static bool column_fits(const struct evidence *evidence, uint32_t dim, uint32_t column)
{
    double product = 0, square = 0, slack = 0, change = 0;
    for (unsigned pass = 0; pass < 2; pass++) {
        change = pass == 0 ? 0 : product / square;
        for (uint32_t i = 0; i < evidence->n; i++) {
            double input = evidence->rows[i].in[0][column];
            double actual = evidence_actual(evidence, i)[dim], error = actual - evidence_expected(evidence, i)[dim];
            double unsure = evidence_bound(evidence, i)[dim] +
                            evidence->step->params.matmul.n_in * evidence->stage->arith.u_sum * fabs(actual);
            if (pass == 0) {
                product += error * input;
                square += input * input;
                slack += unsure * fabs(input);
            } else if (!(fabs(error - change * input) <= unsure + slack / square * fabs(input))) {
                return false;
            }
        }
    }
    return isfinite(change);
}

/* The only column that fits, or -1: none, or too few rows to tell. */
static int64_t find_column(const struct evidence *evidence, uint32_t dim)
{
    int64_t found = -1;
    for (uint32_t column = 0; column < evidence->step->params.matmul.n_in; column++) {
        if (!column_fits(evidence, dim, column)) {
            continue;
        }
        if (found >= 0) {
            return -1;
        }
        found = column;
    }
    return found;
}

/* One row of the step's matrix as a matrix of its own, to run the op with one weight changed. */
struct lone_row {
    struct step step;
    struct tensor weight, bias;
    float *values, bias_value;
    double *y, *bound; /* of each row of the evidence */
};

static void lone_row_open(struct lone_row *lone, const struct evidence *evidence, uint32_t dim)
{
    uint32_t n_in = evidence->step->params.matmul.n_in;
    *lone = (struct lone_row){.step = *evidence->step};
    lone->values = xcalloc(n_in, sizeof(*lone->values));
    weights_decode(evidence->step->weight[0], dim, 0, n_in, lone->values);
    lone->weight = (struct tensor){.name = "one row",
                                   .dtype = DTYPE_F32,
                                   .n_dims = 2,
                                   .shape = {1, n_in},
                                   .bytes = (const uint8_t *)lone->values,
                                   .n_bytes = n_in * sizeof(float)};
    lone->step.weight[0] = &lone->weight;
    if (evidence->step->weight[1]) {
        lone->bias_value = tensor_value(evidence->step->weight[1], 0, dim);
        lone->bias = (struct tensor){.name = "one bias",
                                     .dtype = DTYPE_F32,
                                     .n_dims = 1,
                                     .shape = {1},
                                     .bytes = (const uint8_t *)&lone->bias_value,
                                     .n_bytes = sizeof(float)};
        lone->step.weight[1] = &lone->bias;
    }
    lone->step.width = lone->step.params.matmul.n_out = 1;
    lone->y = xcalloc(evidence->n, sizeof(*lone->y));
    lone->bound = xcalloc(evidence->n, sizeof(*lone->bound));
}

static void lone_row_run(struct lone_row *lone, const struct evidence *evidence)
{
    struct op_batch batch = {.step = &lone->step,
                             .weights_dtype = evidence->stage->weights_dtype,
                             .n_rows = evidence->n,
                             .rows = evidence->rows,
                             .y = lone->y,
                             .bound = lone->bound};
    op_run(&batch);
}

static void lone_row_close(struct lone_row *lone)
{
    free(lone->values);
    free(lone->y);
    free(lone->bound);
}

/* Solves for the weight that the output was made with, and proves it: with it the op gives what was recorded. How far
 * the bounds let the solution move is allowed for. */
static bool prove_weight(const struct evidence *evidence, struct lone_row *lone, uint32_t dim, uint32_t column,
                         float *value)
{
    double product = 0, square = 0, slack = 0;
    lone->values[column] = 0;
    lone_row_run(lone, evidence);
    for (uint32_t i = 0; i < evidence->n; i++) {
        double input = evidence->rows[i].in[0][column];
        product += (evidence_actual(evidence, i)[dim] - lone->y[i]) * input;
        square += input * input;
    }
    *value = lone->values[column] = (float)(product / square);
    lone_row_run(lone, evidence);
    for (uint32_t i = 0; i < evidence->n; i++) {
        slack += lone->bound[i] * fabs(evidence->rows[i].in[0][column]);
    }
    for (uint32_t i = 0; i < evidence->n; i++) {
        double input = evidence->rows[i].in[0][column];
        double error = evidence_actual(evidence, i)[dim] - lone->y[i];
        if (!(fabs(error) <= lone->bound[i] + slack / square * fabs(input))) {
            return false;
        }
    }
    return true;
}

bool relation_one_weight(const struct evidence *evidence, char text[512])
{
    int64_t dim = evidence_only_dim(evidence);
    if (evidence->step->op != OP_matmul || evidence->step->variant != VARIANT_NONE || dim < 0 || evidence->n < 2) {
        return false;
    }
    int64_t column = find_column(evidence, (uint32_t)dim);
    if (column < 0) {
        return false;
    }
    struct lone_row lone;
    float value;
    lone_row_open(&lone, evidence, (uint32_t)dim);
    double own = lone.values[column];
    bool proved = prove_weight(evidence, &lone, (uint32_t)dim, (uint32_t)column, &value);
    lone_row_close(&lone);
    snprintf(text, 512,
             "one weight differs: only dim %lld is wrong, and input %lld times another weight explains it in all %u "
             "failing rows; MODEL has %.80s[%lld, %lld] = %.9g, and the output was made with %.7g",
             (long long)dim, (long long)column, evidence->n, evidence->step->weight[0]->name, (long long)dim,
             (long long)column, own, value);
    return proved;
}
