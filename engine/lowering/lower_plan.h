/* Lowers a plan to a schedule of dispatches. */
#ifndef LOCKSTEP_ENGINE_LOWERING_LOWER_PLAN_H
#define LOCKSTEP_ENGINE_LOWERING_LOWER_PLAN_H

#include "engine/schedule/schedule.h"

/* Builds the schedule for batches of n_rows. captured: [n_steps] borrowed. programs NULL: only
 * to see which kernels there would be. Fails if a shader does not compile or does
 * not fit, or if the device cannot run a step. On failure nothing stays allocated. */
enum status lower_plan(struct schedule *schedule, const struct buffers *buffers, struct programs *programs,
                       uint32_t n_rows, const bool *captured, struct error *err);

#endif
