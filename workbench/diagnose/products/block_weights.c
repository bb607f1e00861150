/* Rows of weights, decoded by a variant of the decoder. */
#include <stdlib.h>
#include <string.h>

#include "workbench/diagnose/products/block_variants.h"

/* The number of a block whose bytes are taken for block b of a row, counted over the tensor. */
static uint64_t source_block(const struct tensor *tensor, enum block_source source, uint64_t row, uint64_t b)
{
    uint64_t elems = dtype_info(tensor->dtype)->block_elems, n_rows = tensor_rows(tensor);
    uint64_t in_row = (tensor_row_elems(tensor) + elems - 1) / elems, own = row * in_row + b, all = n_rows * in_row;
    switch (source) {
    case SOURCE_FIRST_OF_ROW:
        return row * in_row;
    case SOURCE_NEXT:
        return (own + 1) % all;
    case SOURCE_PREVIOUS:
        return (own + all - 1) % all;
    case SOURCE_FIRST_ROW:
        return b;
    case SOURCE_TRANSPOSED:
        return b * n_rows + row;
    default:
        return own;
    }
}

/* The bytes of a block that are not quants, or the scale d alone. */
static void take_scale(struct block *block, const uint8_t *from, bool alone)
{
    const struct dtype_info *info = dtype_info(block->dtype);
    if (alone) {
        memcpy(block->bytes + info->d_at, from + info->d_at, 2);
    } else if (block->dtype == DTYPE_Q6_K) {
        memcpy(block->bytes + 192, from + 192, 18);
    } else if (block->dtype == DTYPE_Q4_K || block->dtype == DTYPE_Q5_K) {
        memcpy(block->bytes, from, 16);
    } else {
        memcpy(block->bytes, from, info->scale == SCALE_E8M0 ? 1 : info->m_times != 0 ? 4 : 2);
    }
}

/* Reads block b of a row as a variant takes it. */
static void read_block(const struct tensor *tensor, const struct block_variant *variant, uint64_t row, uint64_t b,
                       struct block *block)
{
    uint32_t size = dtype_info(tensor->dtype)->block_bytes;
    block->dtype = tensor->dtype;
    tensor_copy(tensor, source_block(tensor, variant->whole, row, b) * size, size, block->bytes);
    if (variant->scale != SOURCE_OWN) {
        uint8_t other[256];
        tensor_copy(tensor, source_block(tensor, variant->scale, row, b) * size, size, other);
        take_scale(block, other, variant->number == SCALE_ALONE);
    }
}

void weights_of_variant(const void *context, const struct tensor *matrix, uint64_t row, float *w)
{
    const struct block_variant *variant = context;
    uint64_t n = tensor_row_elems(matrix), elems = dtype_info(matrix->dtype)->block_elems;
    for (uint64_t first = 0; first < n; first += elems) {
        struct block block;
        float values[256];
        read_block(matrix, variant, row, first / elems, &block);
        if (variant->decode) {
            variant->decode(&block, variant->number, values);
        } else {
            block_decode(&block, values);
        }
        memcpy(w + first, values, (n - first < elems ? n - first : elems) * sizeof(*w));
    }
}

bool has_zero_point(uint32_t dtype)
{
    return dtype_info(dtype)->header != 0 || dtype == DTYPE_Q6_K;
}

void weights_linear(const void *context, const struct tensor *matrix, uint64_t row, float *w)
{
    static const struct block_variant right = {0};
    const struct linear_weights *linear = context;
    const struct dtype_info *info = dtype_info(matrix->dtype);
    uint64_t n = tensor_row_elems(matrix);
    for (uint64_t first = 0; first < n; first += info->block_elems) {
        struct block block;
        float values[256], zeros[256] = {0};
        read_block(matrix, &right, row, first / info->block_elems, &block);
        block_decode(&block, values);
        if (has_zero_point(matrix->dtype)) {
            uint32_t header = matrix->dtype == DTYPE_Q6_K ? 0 : info->header;
            memset(block.bytes + header, 0, (matrix->dtype == DTYPE_Q6_K ? 192 : info->block_bytes) - header);
            block_decode(&block, zeros);
        }
        for (uint64_t i = 0; i < info->block_elems && first + i < n; i++) {
            w[first + i] = (float)(linear->scale * ((double)values[i] - zeros[i]) + linear->minimum * zeros[i]);
        }
    }
}
