/* How the attention of one row is split into parts of consecutive keys, one workgroup a part and head. */
#ifndef LOCKSTEP_ENGINE_PLACEMENT_ATTENTION_PARTS_H
#define LOCKSTEP_ENGINE_PLACEMENT_ATTENTION_PARTS_H

#include <stdint.h>

#include "shaders/params.h"

struct attention_parts {
    uint32_t n;    /* parts */
    uint32_t keys; /* visible keys of a part; the last part may have fewer */
};

struct attention_parts attention_parts_of(const struct attention_params *op, uint32_t max_positions);

/* Bytes of all intermediate results of one attention, as shaders/join.glsl lays them out. */
uint64_t attention_parts_bytes(const struct attention_params *op, uint32_t max_positions);

#endif
