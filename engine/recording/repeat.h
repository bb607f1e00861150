/* Steps that are timed by themselves, many times over. */
#ifndef LOCKSTEP_ENGINE_RECORDING_REPEAT_H
#define LOCKSTEP_ENGINE_RECORDING_REPEAT_H

#include <stdbool.h>
#include <stdint.h>

/* The plan holds several copies of a kernel, each with weights of its own, so that no cache holds the weights when a
 * copy's turn comes again. */
struct engine_repeat {
    uint32_t first, n_steps; /* steps of the first copy */
    uint32_t n_copies;
    uint32_t stride; /* steps from one copy to the next */
    uint32_t times;  /* runs of all copies together; they take turns */
    bool waits; /* each run waits for the one before, as dependent steps do; otherwise only copies that share memory
                   wait */
};

#endif
