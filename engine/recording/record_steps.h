/* Records the dispatches of steps, with the barriers that they need. */
#ifndef LOCKSTEP_ENGINE_RECORDING_RECORD_STEPS_H
#define LOCKSTEP_ENGINE_RECORDING_RECORD_STEPS_H

#include "engine/recording/shape_types.h"

/* What was recorded. */
struct counts {
    uint32_t n_dispatches, n_barriers;
};

/* Records steps [first, last) for a batch in `place`. */
struct counts record_steps(VkCommandBuffer commands, const struct shape *shape, uint32_t place, uint32_t first,
                           uint32_t last);

/* Records dispatch `index` of the schedule, without a barrier. */
void record_dispatch(VkCommandBuffer commands, const struct shape *shape, uint32_t place, uint32_t index);

#endif
