/* Matrix products: a lane computes rows of the matrix (on CPU drivers), or a workgroup computes them. Prefill and
 * decoding on a GPU have kernels of their own (prefill.h, matvec.h), which are preferred. */
#ifndef LOCKSTEP_ENGINE_LOWERING_LOWER_MATMUL_H
#define LOCKSTEP_ENGINE_LOWERING_LOWER_MATMUL_H

#include "engine/lowering/matmul.h"

/* Adds the dispatches of the current step, which is a matmul. */
enum status lower_matmul(struct builder *b);

/* The same for a step that is an expert_matmul. */
enum status lower_expert_matmul(struct builder *b);

/* Adds the dispatches of any product, one for each slice of its matrix. */
enum status matmul_add(struct builder *b, const struct matmul *matmul);

#endif
