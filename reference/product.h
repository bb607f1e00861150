/* The matrix product that matmul and expert_matmul share: rows of W, by any number of inputs x, in the arithmetic of
 * the batch's rows (all of them declare the same roundings). */
#ifndef LOCKSTEP_REFERENCE_PRODUCT_H
#define LOCKSTEP_REFERENCE_PRODUCT_H

#include "reference/integer_weights.h"
#include "reference/op.h"

struct product {
    const struct op_batch *batch;
    const struct tensor *matrix;
    uint64_t n_in;
    uint64_t n_inputs;
    struct roundings roundings;
    bool integers;                  /* operands are 8-bit blocks */
    double *x;                      /* [n_inputs, n_in] as rounded; with integers: NULL */
    struct integer_operand *blocks; /* [n_inputs, n_in / 32] with integers; else NULL */
    double *error;                  /* [n_inputs, n_in] how far x can be off; NULL: every input is exact */
    double *sum_error;              /* [n_inputs, n_in / 32] of the sums of blocks of Q8_1; else NULL */
};

/* Row r of the batch has `per_row` inputs of n_in values each, one behind the other. */
void product_open(struct product *product, const struct op_batch *batch, uint64_t n_in, uint64_t per_row);
void product_close(struct product *product);

/* One row of W, as the product takes it. A thread has one of its own. */
struct product_weights {
    const float *w; /* [n_in] `own`, or as the file stores it */
    float *own;
    struct integer_weights *blocks;
};
void product_weights_open(const struct product *product, struct product_weights *weights);
void product_weights_load(const struct product *product, struct product_weights *weights, uint64_t row);
void product_weights_close(struct product_weights *weights);

/* y = W[row] x[input] + bias; *bound (NULL: not wanted): how far y can be off. */
double product_dot(const struct product *product, const struct product_weights *weights, uint64_t input, double bias,
                   double *bound);

#endif
