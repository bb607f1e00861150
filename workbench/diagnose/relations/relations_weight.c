/* The relation that finds one wrong weight, such as a flipped bit: only one dim is wrong, and its errors are the same
 * multiple of one input column in all rows. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "workbench/diagnose/relations/relations.h"

/* One element of a tensor. */
static float tensor_value(const struct tensor *tensor, uint64_t row, uint32_t column)
{
    float value;
    weights_decode(tensor, row, column, 1, &value);
    return value;
}

/* Whether a dim's errors are a constant times input column `column` in all rows. One changed term, however large, can
 * add at most one roundoff of the result for each term of the sum. */
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

/* The only column that fits. -1: none does, or several do because there are too few rows. */
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

/* A matmul of one row of the step's matrix, to run the op with one weight changed. */
struct one_row_matmul {
    struct step step;
    struct tensor weight, bias;
    float *values, bias_value;
    double *y, *bound; /* [rows of the evidence] */
};

static void one_row_open(struct one_row_matmul *one, const struct evidence *evidence, uint32_t dim)
{
    uint32_t n_in = evidence->step->params.matmul.n_in;
    *one = (struct one_row_matmul){.step = *evidence->step};
    one->values = xcalloc(n_in, sizeof(*one->values));
    weights_decode(evidence->step->weight[0], dim, 0, n_in, one->values);
    one->weight = (struct tensor){.name = "one row",
                                  .dtype = DTYPE_F32,
                                  .n_dims = 2,
                                  .shape = {1, n_in},
                                  .bytes = (const uint8_t *)one->values,
                                  .n_bytes = n_in * sizeof(float)};
    one->step.weight[0] = &one->weight;
    if (evidence->step->weight[1]) {
        one->bias_value = tensor_value(evidence->step->weight[1], 0, dim);
        one->bias = (struct tensor){.name = "one bias",
                                    .dtype = DTYPE_F32,
                                    .n_dims = 1,
                                    .shape = {1},
                                    .bytes = (const uint8_t *)&one->bias_value,
                                    .n_bytes = sizeof(float)};
        one->step.weight[1] = &one->bias;
    }
    one->step.width = one->step.params.matmul.n_out = 1;
    one->y = xcalloc(evidence->n, sizeof(*one->y));
    one->bound = xcalloc(evidence->n, sizeof(*one->bound));
}

static void one_row_run(struct one_row_matmul *one, const struct evidence *evidence)
{
    struct op_batch batch = {.step = &one->step,
                             .weights_dtype = evidence->stage->weights_dtype,
                             .n_rows = evidence->n,
                             .rows = evidence->rows,
                             .y = one->y,
                             .bound = one->bound};
    op_run(&batch);
}

static void one_row_close(struct one_row_matmul *one)
{
    free(one->values);
    free(one->y);
    free(one->bound);
}

/* Solves for the weight that the output was computed with, and proves it: with that weight the op gives what was
 * recorded, but for how far the bounds let the solution move. */
static bool prove_weight(const struct evidence *evidence, struct one_row_matmul *one, uint32_t dim, uint32_t column,
                         float *value)
{
    double product = 0, square = 0, slack = 0;
    one->values[column] = 0;
    one_row_run(one, evidence);
    for (uint32_t i = 0; i < evidence->n; i++) {
        double input = evidence->rows[i].in[0][column];
        product += (evidence_actual(evidence, i)[dim] - one->y[i]) * input;
        square += input * input;
    }
    *value = one->values[column] = (float)(product / square);
    one_row_run(one, evidence);
    for (uint32_t i = 0; i < evidence->n; i++) {
        slack += one->bound[i] * fabs(evidence->rows[i].in[0][column]);
    }
    for (uint32_t i = 0; i < evidence->n; i++) {
        double input = evidence->rows[i].in[0][column];
        double error = evidence_actual(evidence, i)[dim] - one->y[i];
        if (!(fabs(error) <= one->bound[i] + slack / square * fabs(input))) {
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
    struct one_row_matmul one;
    float value;
    one_row_open(&one, evidence, (uint32_t)dim);
    double own = one.values[column];
    bool proved = prove_weight(evidence, &one, (uint32_t)dim, (uint32_t)column, &value);
    one_row_close(&one);
    snprintf(text, 512,
             "One weight differs. Only dim %lld is wrong, and input %lld times another weight explains it in all %u "
             "failing rows: MODEL has %.80s[%lld, %lld] = %.9g, the output was made with %.7g.",
             (long long)dim, (long long)column, evidence->n, evidence->step->weight[0]->name, (long long)dim,
             (long long)column, own, value);
    return proved;
}
