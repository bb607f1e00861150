/* Integer division and rounding. */
#ifndef LOCKSTEP_ENGINE_PLACEMENT_ROUND_H
#define LOCKSTEP_ENGINE_PLACEMENT_ROUND_H

#include <stdint.h>

/* value / by, rounded up. */
static inline uint64_t divide_up(uint64_t value, uint64_t by)
{
    return (value + by - 1) / by;
}

/* The smallest multiple of `alignment` that is not less than `value`. */
static inline uint64_t align_up(uint64_t value, uint64_t alignment)
{
    return divide_up(value, alignment) * alignment;
}

#endif
