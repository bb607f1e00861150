#include "engine/placement/groups.h"

#include <string.h>

static struct dtype_parts parts_of(uint32_t dtype)
{
    return dtype_info(dtype)->parts;
}

bool groups_fit(const struct tensor *tensor)
{
    return parts_of(tensor->dtype).blocks && tensor->layout == LAYOUT_ROWS && tensor->n_dims == 2 &&
           tensor_row_elems(tensor) % 32 == 0;
}

uint64_t groups_row_bytes(const struct tensor *tensor)
{
    struct dtype_parts parts = parts_of(tensor->dtype);
    uint64_t blocks = tensor_row_elems(tensor) / 32, rest = blocks % parts.blocks;
    uint64_t whole = (blocks - rest) * dtype_info(tensor->dtype)->block_bytes;
    return rest ? whole + parts.blocks * (parts.scale + parts.fifth) + rest * parts.quants : whole;
}

static void group_row(const struct dtype_parts *parts, const uint8_t *from, uint64_t n_blocks, uint8_t *to)
{
    uint32_t block_bytes = parts->scale + parts->fifth + parts->quants;
    for (uint64_t first = 0; first < n_blocks; first += parts->blocks) {
        uint8_t *fifth = to + parts->blocks * parts->scale, *quants = fifth + parts->blocks * parts->fifth;
        uint64_t n = n_blocks - first < parts->blocks ? n_blocks - first : parts->blocks;
        if (n < parts->blocks) {
            memset(to, 0, quants - to); /* also the scales of the blocks that a partial group lacks */
        }
        for (uint64_t i = 0; i < n; i++, from += block_bytes) {
            memcpy(to + i * parts->scale, from, parts->scale);
            memcpy(fifth + i * parts->fifth, from + parts->scale, parts->fifth);
            memcpy(quants + i * parts->quants, from + parts->scale + parts->fifth, parts->quants);
        }
        to = quants + n * parts->quants;
    }
}

void groups_copy(const struct tensor *tensor, uint64_t first, uint64_t n_rows, uint8_t *to)
{
    struct dtype_parts parts = parts_of(tensor->dtype);
    uint64_t row = tensor_row_bytes(tensor), grouped = groups_row_bytes(tensor);
    for (uint64_t i = 0; i < n_rows; i++) {
        group_row(&parts, tensor->bytes + (first + i) * row, tensor_row_elems(tensor) / 32, to + i * grouped);
    }
}
