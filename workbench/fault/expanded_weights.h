/* --weights f32|f16: the engine gets plain floats instead of quantised matrices, decoded when the model is loaded. If a
 * divergence disappears, the shader's decoder is wrong, or how it finds its blocks. What remains is the drift of
 * quantisation. */
#ifndef LOCKSTEP_WORKBENCH_FAULT_EXPANDED_WEIGHTS_H
#define LOCKSTEP_WORKBENCH_FAULT_EXPANDED_WEIGHTS_H

#include "model/plan.h"

/* Reads the option's value. *dtype: DTYPE_F32, DTYPE_F16, or DTYPE_COUNT for text NULL: weights as they are stored. */
enum status parse_weights(const char *text, uint32_t *dtype, struct error *err);

/* Replaces every weight of the plan's steps by a copy in this dtype, decoded by the reference and, for f16, rounded to
 * nearest even. The embedding's scale is rounded alike. A trace that declares weights_dtype is audited with such a
 * plan. The copies lie in the plan's arena. */
void plan_decode_weights(struct plan *plan, uint32_t dtype);

#endif
