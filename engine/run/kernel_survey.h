/* Which kernels make the stages of a plan, and which could: it is lowered without programs, so nothing compiles. */
#ifndef LOCKSTEP_ENGINE_RUN_KERNEL_SURVEY_H
#define LOCKSTEP_ENGINE_RUN_KERNEL_SURVEY_H

#include "engine/placement/buffers.h"

/* Lowers the plan without programs, for batches of n_rows. kernels[STAGE_COUNT]: 1 << KERNEL_ for each kernel that
 * makes the stage in some layer, with the choices of the buffers. */
enum status kernel_survey_used(const struct buffers *buffers, uint32_t n_rows, const bool *captured, uint32_t *kernels,
                               struct error *err);

/* The same for each kernel that could be chosen. */
enum status kernel_survey_possible(const struct buffers *buffers, uint32_t n_rows, const bool *captured,
                                   uint32_t *kernels, struct error *err);

#endif
