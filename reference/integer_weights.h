/* Quantised weights as the integers that their blocks hold, for products with 8-bit operands: such a product sums
 * integers inside a block exactly, and float32 rounds only from block to block. Formats and pairs: ggml-quants.c and
 * ggml-cpu.c (type_traits_cpu, vec_dot_type). */
#ifndef LOCKSTEP_REFERENCE_INTEGER_WEIGHTS_H
#define LOCKSTEP_REFERENCE_INTEGER_WEIGHTS_H

#include "model/tensor.h"
#include "reference/roundings.h"

/* 32 weights: value i = scale[i / 16] q[i] + minimum. */
struct integer_weights {
    double scale[2], minimum;
    int8_t q[INTEGER_BLOCK];
};

/* What ggml rounds x to beside weights of this dtype: ROUNDING_Q8_0, _Q8_1 or _Q8_K; ROUNDING_NONE: no 8-bit type. */
enum rounding_type integer_operand_of(uint32_t dtype);

/* Whether a product of this matrix, row by row, can be done with 8-bit operands of its dtype's type. */
bool integer_product_fits(const struct tensor *matrix, uint64_t n_in);

/* Decodes one block of a dtype that integer_operand_of knows: blocks[block_elems / 32]. */
void integer_block_decode(uint32_t dtype, const uint8_t *block, struct integer_weights *blocks);

/* Row `row` of a matrix that fits: blocks[n_in / 32]. */
void integer_weights_decode(const struct tensor *matrix, uint64_t row, uint64_t n_in, struct integer_weights *blocks);

/* One dot product: what it is, and what its float32 bound needs (bounds.h, bound_sum). */
struct integer_dot {
    double sum;
    double squares; /* of the terms that float32 adds: a lane's d_w d_x sum(q q), and a block's minimum times x's sum */
    uint64_t n_terms; /* of these */
};
struct integer_dot integer_dot(enum rounding_type operands, const struct integer_weights *w,
                               const struct integer_operand *x, uint64_t n_in);

#endif
