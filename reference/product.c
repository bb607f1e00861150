#include "reference/product.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/error.h"
#include "reference/bounds.h"
#include "reference/dot.h"

static const struct roundings no_roundings = {0};

/* One input: rounded, then widened or cut into blocks. */
static void prepare_input(struct product *product, uint64_t input, const float *x, float *scratch)
{
    uint64_t n = product->n_in;
    if (product->integers) {
        quantise_operand(&product->roundings, x, n, product->blocks + input * (n / INTEGER_BLOCK));
        return;
    }
    memcpy(scratch, x, n * sizeof(*scratch));
    if (product->roundings.operands > ROUNDING_BF16) { /* a mutant's matrix need not have blocks along its rows */
        struct integer_operand *blocks = xmalloc(n / INTEGER_BLOCK * sizeof(*blocks));
        quantise_operand(&product->roundings, x, n, blocks);
        for (uint64_t i = 0; i < n; i++) {
            const struct integer_operand *block = &blocks[i / INTEGER_BLOCK];
            scratch[i] = (float)(block->d * block->q[i % INTEGER_BLOCK]);
        }
        free(blocks);
    } else {
        round_values(product->roundings.operands, scratch, n);
    }
    dot_widen(scratch, n, product->x + input * n);
}

/* How far the rounded values of an input can be off that is off by `error`. */
static void prepare_error(const struct product *product, uint64_t input, const float *x, const double *error)
{
    enum rounding_type type = (enum rounding_type)product->roundings.operands;
    uint64_t n = product->n_in;
    double *to = product->error + input * n;
    if (type > ROUNDING_BF16) {
        double *sums = product->sum_error ? product->sum_error + input * (n / INTEGER_BLOCK) : NULL;
        quantised_errors(&product->roundings, x, error, n, to, sums);
        return;
    }
    for (uint64_t i = 0; i < n; i++) {
        to[i] = type == ROUNDING_NONE ? error[i] : rounded_float_error(type, x[i], error[i]);
    }
}

void product_open(struct product *product, const struct op_batch *batch, uint64_t n_in, uint64_t per_row)
{
    const struct arith *arith = batch->n_rows > 0 ? batch->rows[0].arith : NULL;
    *product = (struct product){.batch = batch,
                                .matrix = batch->step->weight[0],
                                .n_in = n_in,
                                .n_inputs = batch->n_rows * per_row,
                                .roundings = arith ? arith->roundings : no_roundings};
    bool blocks = product->roundings.operands > ROUNDING_BF16;
    if (blocks && n_in % (product->roundings.operands == ROUNDING_Q8_K ? 256 : INTEGER_BLOCK) != 0) {
        product->roundings.operands = ROUNDING_NONE; /* a file declared blocks that no input of this width has */
        blocks = false;
    }
    product->integers =
        blocks && batch->step->variant != VARIANT_TRANSPOSE_B && integer_product_fits(product->matrix, n_in);
    uint64_t n = product->n_inputs * n_in;
    if (product->integers) {
        product->blocks = xmalloc(n / INTEGER_BLOCK * sizeof(*product->blocks));
    } else {
        product->x = xmalloc(n * sizeof(*product->x));
    }
    float *scratch = xmalloc(n_in * sizeof(*scratch));
    bool inexact = false;
    for (uint32_t r = 0; r < batch->n_rows; r++) {
        inexact |= batch->rows[r].error[0] != NULL;
        for (uint64_t k = 0; k < per_row; k++) {
            prepare_input(product, r * per_row + k, batch->rows[r].in[0] + k * n_in, scratch);
        }
    }
    free(scratch);
    bool sums = product->integers && product->roundings.operands == ROUNDING_Q8_1;
    if (inexact && batch->bound) {
        product->error = xcalloc(n, sizeof(*product->error));
        product->sum_error = sums ? xcalloc(n / INTEGER_BLOCK, sizeof(*product->sum_error)) : NULL;
    }
    for (uint64_t i = 0; i < product->n_inputs && product->error; i++) {
        const double *error = batch->rows[i / per_row].error[0];
        if (error) {
            const float *x = batch->rows[i / per_row].in[0] + i % per_row * n_in;
            prepare_error(product, i, x, error + i % per_row * n_in);
        }
    }
}

void product_close(struct product *product)
{
    free(product->x);
    free(product->blocks);
    free(product->error);
    free(product->sum_error);
}

void product_weights_open(const struct product *product, struct product_weights *weights)
{
    *weights = (struct product_weights){.own = xmalloc(product->n_in * sizeof(*weights->own))};
    if (product->integers) {
        weights->blocks = xmalloc(product->n_in / INTEGER_BLOCK * sizeof(*weights->blocks));
    }
}

void product_weights_load(const struct product *product, struct product_weights *weights, uint64_t row)
{
    if (product->integers) {
        integer_weights_decode(product->matrix, row, product->n_in, weights->blocks);
    }
    if (!product->integers || product->error) {
        bool as_is = product->roundings.weights == ROUNDING_NONE && product->batch->weights_dtype == DTYPE_F32;
        const float *stored = as_is ? weights_stored(product->matrix, row) : NULL;
        weights->w = stored ? stored : weights->own;
        if (!stored) {
            op_weights(product->batch, product->matrix, row, 0, product->n_in, weights->own);
            round_values(product->roundings.weights, weights->own, product->n_in);
        }
    }
}

void product_weights_close(struct product_weights *weights)
{
    free(weights->own);
    free(weights->blocks);
}

/* What the errors of an input do to its product with a row of W. */
static double passed_on(const struct product *product, const struct product_weights *weights, uint64_t input)
{
    uint64_t n = product->n_in, n_blocks = n / INTEGER_BLOCK;
    double passed = dot_error(weights->w, product->error + input * n, n), squares = passed * passed;
    for (uint64_t b = 0; b < n_blocks && product->sum_error; b++) {
        double moved = weights->blocks[b].minimum * product->sum_error[input * n_blocks + b];
        squares += moved * moved;
    }
    return product->sum_error ? sqrt(squares) : passed;
}

double product_dot(const struct product *product, const struct product_weights *weights, uint64_t input, double bias,
                   double *bound)
{
    uint64_t n = product->n_in, n_terms = n;
    struct dot dot;
    if (product->integers) {
        struct integer_dot integers =
            integer_dot(product->roundings.operands, weights->blocks, product->blocks + input * (n / INTEGER_BLOCK), n);
        dot = (struct dot){integers.sum, integers.squares};
        n_terms = integers.n_terms;
    } else {
        const double *x = product->x + input * n;
        dot = bound ? dot_sum_squares(weights->w, x, n) : dot_sum(weights->w, x, n);
    }
    if (bound) {
        const struct op_row *row = &product->batch->rows[input / (product->n_inputs / product->batch->n_rows)];
        *bound = bound_dot(row->arith, n_terms, dot.squares, dot.sum, bias);
        if (product->error && row->error[0]) {
            *bound += passed_on(product, weights, input);
        }
    }
    return dot.sum + bias;
}
