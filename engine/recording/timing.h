/* Measures time on the device with timestamps. A device without timestamps is STATUS_ABSENT. */
#ifndef LOCKSTEP_ENGINE_RECORDING_TIMING_H
#define LOCKSTEP_ENGINE_RECORDING_TIMING_H

#include "engine/recording/repeat.h"
#include "engine/recording/shape_types.h"

/* Runs the whole plan once with a timestamp behind every entry, and waits. ns: [n_steps]; ns[step] is the time of the
 * entry that ends with this step, with its barrier. It is not set where no entry ends. */
enum status timing_run_steps(const struct shape *shape, double *ns, struct error *err);

/* Runs the copies of a kernel in one submit. *ns: from the first one's start to the last one's end. */
enum status timing_run_repeat(const struct shape *shape, const struct engine_repeat *repeat, double *ns,
                              struct error *err);

#endif
