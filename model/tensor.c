#include "model/tensor.h"

#include <string.h>

#include "model/error.h"

static const struct dtype_info dtypes[] = {
#define X(name, elems, bytes, gguf) [DTYPE_##name] = {#name, elems, bytes, gguf},
    DTYPES(X)
#undef X
};
_Static_assert(sizeof(dtypes) / sizeof(dtypes[0]) == DTYPE_COUNT, "params.h and the dtype table have other dtypes");

const struct dtype_info *dtype_info(uint32_t dtype)
{
    static const struct dtype_info bytes = {"U8", 1, 1, UINT32_MAX};
    if (dtype == DTYPE_U8)
        return &bytes;
    ASSERT(dtype < DTYPE_COUNT);
    return &dtypes[dtype];
}

uint64_t tensor_rows(const struct tensor *tensor)
{
    uint64_t rows = 1;
    for (uint32_t i = 0; i + 1 < tensor->n_dims; i++)
        rows *= tensor->shape[i];
    return rows;
}

uint64_t tensor_row_elems(const struct tensor *tensor)
{
    ASSERT(tensor->n_dims > 0);
    return tensor->shape[tensor->n_dims - 1];
}

#define SPLIT_ELEMS 32
#define SPLIT_BYTES 17

/* A scale, then bytes that hold elements i and i + 16. Source: transformers, integrations/mxfp4.py; ggml-common.h,
 * block_mxfp4. */
static void join_block(const uint8_t *from, uint8_t scale, uint8_t *to)
{
    uint8_t elements[SPLIT_ELEMS];
    for (unsigned i = 0; i < SPLIT_ELEMS / 2; i++) {
        elements[2 * i] = from[i] & 15;
        elements[2 * i + 1] = from[i] >> 4;
    }
    to[0] = scale;
    for (unsigned i = 0; i < SPLIT_ELEMS / 2; i++)
        to[1 + i] = (uint8_t)(elements[i] | elements[i + SPLIT_ELEMS / 2] << 4);
}

void tensor_copy(const struct tensor *tensor, uint64_t from, uint64_t n, uint8_t *to)
{
    ASSERT(from <= tensor->n_bytes && n <= tensor->n_bytes - from);
    if (!tensor->scales) {
        memcpy(to, tensor->bytes + from, n);
        return;
    }
    while (n > 0) {
        uint8_t block[SPLIT_BYTES];
        uint64_t i = from / SPLIT_BYTES, skip = from % SPLIT_BYTES;
        uint64_t part = SPLIT_BYTES - skip < n ? SPLIT_BYTES - skip : n;
        join_block(tensor->bytes + i * (SPLIT_ELEMS / 2), tensor->scales[i], block);
        memcpy(to, block + skip, part);
        from += part;
        to += part;
        n -= part;
    }
}

uint64_t dtype_bytes(uint32_t dtype, uint64_t n)
{
    const struct dtype_info *info = dtype_info(dtype);
    return (n + info->block_elems - 1) / info->block_elems * info->block_bytes;
}

uint64_t tensor_row_bytes(const struct tensor *tensor)
{
    ASSERT(tensor->layout == LAYOUT_ROWS);
    return dtype_bytes(tensor->dtype, tensor_row_elems(tensor));
}

void tensor_grain(const struct tensor *tensor, uint64_t *rows, uint64_t *bytes)
{
    uint64_t block = dtype_info(tensor->dtype)->block_elems;
    *rows = 1;
    if (tensor->layout == LAYOUT_PACKED) {
        while (*rows * tensor_row_elems(tensor) % block)
            (*rows)++; /* at most `block` steps */
    }
    if (tensor->layout == LAYOUT_COLUMNS || *rows > tensor_rows(tensor))
        *rows = tensor_rows(tensor);
    *bytes = tensor->layout == LAYOUT_ROWS  ? tensor_row_bytes(tensor)
             : *rows == tensor_rows(tensor) ? tensor->n_bytes
                                            : dtype_bytes(tensor->dtype, *rows * tensor_row_elems(tensor));
}
