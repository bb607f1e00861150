#include "model/tensor.h"

#include <stdio.h>
#include <string.h>

#include "model/error.h"

/* Bytes of a block's scale and minimum, for blocks with parts. */
#define SCALE_BYTES(m_times) ((m_times) ? 4u : 2u)

static const struct dtype_info dtypes[] = {
#define X(dtype, code, ggml, in_files, elems, bytes, kind, d, most, least, ahead, quant, step, bench) \
    [code] = {                                                                                        \
        .name = #dtype,                                                                               \
        .gguf_type = ggml,                                                                            \
        .files = in_files,                                                                            \
        .block_elems = elems,                                                                         \
        .block_bytes = bytes,                                                                         \
        .scale = kind,                                                                                \
        .d_at = d,                                                                                    \
        .m_at = d + 2,                                                                                \
        .d_times = most,                                                                              \
        .m_times = least,                                                                             \
        .header = ahead,                                                                              \
        .benched = bench,                                                                             \
        .parts = {.scale = (quant) ? SCALE_BYTES(least) : 0,                                          \
                  .fifth = (quant) ? (bytes)-SCALE_BYTES(least) - (quant) : 0,                        \
                  .quants = quant,                                                                    \
                  .blocks = (quant) ? 16 / SCALE_BYTES(least) : 0},                                   \
    },
    DTYPES(X)
#undef X
};

#define X(...) +1
_Static_assert(DTYPES(X) == DTYPE_COUNT, "the codes of shaders/dtypes.h count the rows");
#undef X

/* The shaders and the regrouping for GPUs rely on this layout of blocks with parts. */
#define X(name, code, ggml, files, elems, bytes, scale, d_at, d_times, m_times, header, quants, step, benched) \
    _Static_assert(                                                                                            \
        (quants) == 0 ||                                                                                       \
            ((elems) == 32 && (scale) == SCALE_HALF && (d_at) == 0 && ((quants) == 16 || (quants) == 32) &&    \
             ((bytes) == SCALE_BYTES(m_times) + (quants) || (bytes) == SCALE_BYTES(m_times) + 4 + (quants))),  \
        #name ": no block of a scale, fifth bits and quants");
DTYPES(X)
#undef X

const struct dtype_info *dtype_info(uint32_t dtype)
{
    static const struct dtype_info bytes = {.name = "U8", .block_elems = 1, .block_bytes = 1, .gguf_type = UINT32_MAX};
    if (dtype == DTYPE_U8) {
        return &bytes;
    }
    ASSERT(dtype < DTYPE_COUNT);
    return &dtypes[dtype];
}

static bool is_held(uint32_t dtype, uint32_t file)
{
    return dtype < DTYPE_COUNT && (file == 0 || (dtypes[dtype].files & file));
}

const char *dtype_names(uint32_t file, char text[256])
{
    uint32_t last = DTYPE_COUNT, n = 0;
    while (!is_held(--last, file)) {
    }
    text[0] = '\0';
    for (uint32_t dtype = 0; dtype <= last; dtype++) {
        if (is_held(dtype, file)) {
            n += (uint32_t)snprintf(text + n, 256 - n, "%s%s",
                                    n == 0          ? ""
                                    : dtype == last ? " or "
                                                    : ", ",
                                    dtypes[dtype].name);
            ASSERT(n < 256);
        }
    }
    return text;
}

bool dtype_by_name(const char *name, uint32_t file, uint32_t *dtype)
{
    for (*dtype = 0; *dtype < DTYPE_COUNT; (*dtype)++) {
        if (is_held(*dtype, file) && strcmp(dtypes[*dtype].name, name) == 0) {
            return true;
        }
    }
    return false;
}

uint64_t tensor_rows(const struct tensor *tensor)
{
    uint64_t rows = 1;
    for (uint32_t i = 0; i + 1 < tensor->n_dims; i++) {
        rows *= tensor->shape[i];
    }
    return rows;
}

uint64_t tensor_row_elems(const struct tensor *tensor)
{
    ASSERT(tensor->n_dims > 0);
    return tensor->shape[tensor->n_dims - 1];
}

#define SPLIT_ELEMS 32
#define SPLIT_BYTES 17

/* Makes a block: a scale, then bytes that hold elements i and i + 16. Source: transformers, integrations/mxfp4.py;
 * ggml-common.h, block_mxfp4. */
static void join_block(const uint8_t *from, uint8_t scale, uint8_t *to)
{
    uint8_t elements[SPLIT_ELEMS];
    for (unsigned i = 0; i < SPLIT_ELEMS / 2; i++) {
        elements[2 * i] = from[i] & 15;
        elements[2 * i + 1] = from[i] >> 4;
    }
    to[0] = scale;
    for (unsigned i = 0; i < SPLIT_ELEMS / 2; i++) {
        to[1 + i] = (uint8_t)(elements[i] | elements[i + SPLIT_ELEMS / 2] << 4);
    }
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
        while (*rows * tensor_row_elems(tensor) % block) {
            (*rows)++; /* at most `block` steps */
        }
    }
    if (tensor->layout == LAYOUT_COLUMNS || *rows > tensor_rows(tensor)) {
        *rows = tensor_rows(tensor);
    }
    *bytes = tensor->layout == LAYOUT_ROWS  ? tensor_row_bytes(tensor)
             : *rows == tensor_rows(tensor) ? tensor->n_bytes
                                            : dtype_bytes(tensor->dtype, *rows * tensor_row_elems(tensor));
}
