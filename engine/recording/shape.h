/* Opens a shape and runs batches with it. */
#ifndef LOCKSTEP_ENGINE_RECORDING_SHAPE_H
#define LOCKSTEP_ENGINE_RECORDING_SHAPE_H

#include "engine/recording/shape_types.h"

/* Builds the schedule for batches of n_rows and records its command buffers. captured: [n_steps] borrowed. On failure
 * nothing stays allocated. */
enum status shape_open(struct shape *shape, const struct buffers *buffers, struct programs *programs, uint32_t n_rows,
                       const bool *captured, struct error *err);

/* A zeroed shape is allowed. Nothing that uses the shape may be running. */
void shape_close(struct shape *shape);

/* Fills every slot with sentinels, on the device and on the host, and waits. Needed before parts of a batch are run. */
enum status shape_reset(const struct shape *shape, uint32_t place, struct error *err);

/* Runs the whole plan, after copy number `after_copy`, and waits until the last step's rows are on the host. The other
 * captured rows are copied meanwhile, and are not waited for. Stoppable (device/submit.h). */
enum status shape_run_whole(const struct shape *shape, uint32_t place, uint64_t after_copy, struct error *err);

/* Runs steps [first, last), copies their rows to the host, and waits. Stoppable. */
enum status shape_run_part(const struct shape *shape, uint32_t place, uint32_t first, uint32_t last, struct error *err);

#endif
