#include "engine/placement/attention_parts.h"

#include "engine/placement/round.h"

#define TILE_KEYS 32 /* a part has a multiple of the keys that attention_part.comp takes at a time */
#define MOST_PARTS 32

struct attention_parts attention_parts_of(const struct attention_params *op, uint32_t max_positions)
{
    uint64_t keys = op->window && op->window < max_positions ? op->window : max_positions;
    uint64_t keys_a_part = align_up(divide_up(keys, MOST_PARTS), TILE_KEYS);
    return (struct attention_parts){(uint32_t)divide_up(keys, keys_a_part), (uint32_t)keys_a_part};
}

uint64_t attention_parts_bytes(const struct attention_params *op, uint32_t max_positions)
{
    uint64_t n = (uint64_t)op->heads * attention_parts_of(op, max_positions).n;
    return (2 * n + 4 + n * op->dim) * sizeof(float);
}
