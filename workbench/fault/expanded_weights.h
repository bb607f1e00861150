/* --weights f32|f16: the engine gets the matrices as plain floats, decoded when the model is loaded. If a divergence
 * goes away with it, the shader's decoder (or how it finds its blocks) is wrong; what is left is quantisation's own
 * drift. */
#ifndef LOCKSTEP_WORKBENCH_FAULT_EXPANDED_WEIGHTS_H
#define LOCKSTEP_WORKBENCH_FAULT_EXPANDED_WEIGHTS_H

#include "model/plan.h"

/* Reads the option's value: *dtype DTYPE_F32 or DTYPE_F16. text NULL: DTYPE_COUNT, weights as they are stored. */
enum status parse_weights(const char *text, uint32_t *dtype, struct error *err);

/* Replaces every weight of the plan's steps by a copy in this dtype, made by the reference's decoder and, for f16,
 * rounded to nearest even, as is the embedding's scale: what a trace that declares weights_dtype is audited with. The
 * copies live in the plan's arena. */
void plan_decode_weights(struct plan *plan, uint32_t dtype);

#endif
