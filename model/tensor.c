#include "model/tensor.h"

#include "model/error.h"

static const struct dtype_info dtypes[] = {
#define X(name, elems, bytes, gguf) [DTYPE_##name] = {#name, elems, bytes, gguf},
    DTYPES(X)
#undef X
};
_Static_assert(sizeof(dtypes) / sizeof(dtypes[0]) == DTYPE_COUNT, "params.h and the dtype table have other dtypes");

const struct dtype_info *dtype_info(uint32_t dtype)
{
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

uint64_t tensor_row_bytes(const struct tensor *tensor)
{
    const struct dtype_info *info = dtype_info(tensor->dtype);
    return tensor_row_elems(tensor) / info->block_elems * info->block_bytes;
}
