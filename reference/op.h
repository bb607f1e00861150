/* Private to the reference: the op functions, declared from the op table, and their helpers. */
#ifndef LOCKSTEP_REFERENCE_OP_H
#define LOCKSTEP_REFERENCE_OP_H

#include "reference/reference.h"

/* reference_embed, reference_rms_norm, …: fill y, and bound unless it is NULL. A row of OPS without its function fails
 * the link. */
#define X(name, inputs, weights, what) void reference_##name(const struct op_batch *batch);
OPS(X)
JUDGED_OPS(X)
#undef X

/* Runs the variant that a step asks for; op: the step's op function (variants.c). */
typedef void op_function(const struct op_batch *batch);
void variant_run(const struct op_batch *batch, op_function *op);

/* A row of float32 weights where it lies in the file; NULL: it has to be decoded. */
const float *weights_stored(const struct tensor *tensor, uint64_t row);

/* Reads elements [first, first + count) of a weight's row: decoded, then rounded to the batch's weights_dtype. */
void op_weights(const struct op_batch *batch, const struct tensor *tensor, uint64_t row, uint64_t first, uint64_t count,
                float *values);

#endif
