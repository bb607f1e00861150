/* Inside the reference: the op functions, made from the op table, and what they share. */
#ifndef LOCKSTEP_REFERENCE_OP_H
#define LOCKSTEP_REFERENCE_OP_H

#include "reference/reference.h"

/* reference_embed, reference_rms_norm, …: fill y, and bound if it is wanted. A row of OPS without its function fails
 * the link. */
#define X(name, inputs, weights, what) void reference_##name(const struct op_batch *batch);
OPS(X)
JUDGED_OPS(X)
#undef X

/* variants.c: runs the op that a step with a variant asks for. */
typedef void op_function(const struct op_batch *batch);
void variant_run(const struct op_batch *batch, op_function *op);

/* Elements [first, first + count) of a weight's row as the batch wants them: decoded, then rounded to weights_dtype. */
void op_weights(const struct op_batch *batch, const struct tensor *tensor, uint64_t row, uint64_t first, uint64_t count,
                float *values);

/* An input of the batch's rows in f64 (reference/dot.h), [n_rows, width]. The caller frees it. */
double *op_widened(const struct op_batch *batch, unsigned input, uint64_t width);

#endif
