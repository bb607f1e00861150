/* Decodes rows of weights to f32 in every layout, and rounds them to a trace's declared dtype. The formats are in
 * decode_blocks.c. */
#include <math.h>
#include <string.h>

#include "model/error.h"
#include "reference/bits.h"
#include "reference/decode.h"
#include "reference/op.h"

#define X(name, code, ggml, files, elems, ...) _Static_assert((elems) <= DECODE_MAX_BLOCK, #name ": a larger block");
DTYPES(X)
#undef X

/* Decodes elements [first, first + count) of a run of blocks: whole blocks directly, partial ones at the ends through a
 * copy. */
static void decode_span(uint32_t dtype, const uint8_t *blocks, uint64_t first, uint64_t count, float *values)
{
    const struct dtype_info *info = dtype_info(dtype);
    float block[DECODE_MAX_BLOCK];
    while (count > 0) {
        uint64_t skip = first % info->block_elems, n = info->block_elems - skip;
        const uint8_t *bytes = blocks + first / info->block_elems * info->block_bytes;
        if (skip == 0 && count >= info->block_elems) {
            n = count / info->block_elems * info->block_elems;
            decode_blocks(dtype, bytes, n, values);
        } else {
            n = n < count ? n : count;
            decode_blocks(dtype, bytes, info->block_elems, block);
            memcpy(values, block + skip, n * sizeof(float));
        }
        first += n;
        count -= n;
        values += n;
    }
}

/* Decodes a row of blocks whose scales are apart. A few blocks are joined at a time. */
static void decode_split(const struct tensor *tensor, uint64_t row, uint64_t first, uint64_t count, float *values)
{
    const struct dtype_info *info = dtype_info(tensor->dtype);
    uint8_t blocks[16 * 32];
    uint64_t most = sizeof(blocks) / info->block_bytes, start = row * tensor_row_bytes(tensor);
    while (count > 0) {
        uint64_t block = first / info->block_elems, skip = first % info->block_elems;
        uint64_t n = most * info->block_elems - skip < count ? most * info->block_elems - skip : count;
        uint64_t n_blocks = (skip + n + info->block_elems - 1) / info->block_elems;
        tensor_copy(tensor, start + block * info->block_bytes, n_blocks * info->block_bytes, blocks);
        decode_span(tensor->dtype, blocks, skip, n, values);
        first += n;
        count -= n;
        values += n;
    }
}

void weights_decode(const struct tensor *tensor, uint64_t row, uint64_t first, uint64_t count, float *values)
{
    uint64_t row_elems = tensor_row_elems(tensor), n_rows = tensor_rows(tensor);
    ASSERT(row < n_rows && first <= row_elems && count <= row_elems - first);
    switch (tensor->layout) {
    case LAYOUT_ROWS:
        if (tensor->scales) {
            decode_split(tensor, row, first, count, values);
        } else {
            decode_span(tensor->dtype, tensor->bytes + row * tensor_row_bytes(tensor), first, count, values);
        }
        break;
    case LAYOUT_PACKED:
        decode_span(tensor->dtype, tensor->bytes, row * row_elems + first, count, values);
        break;
    case LAYOUT_COLUMNS:
        for (uint64_t i = 0; i < count; i++) {
            decode_span(tensor->dtype, tensor->bytes + (first + i) * dtype_bytes(tensor->dtype, n_rows), row, 1,
                        values + i);
        }
        break;
    default:
        ASSERT(!"a layout without a reader");
    }
}

const float *weights_stored(const struct tensor *tensor, uint64_t row)
{
    bool as_is = tensor->dtype == DTYPE_F32 && tensor->layout == LAYOUT_ROWS && !tensor->scales;
    return as_is ? (const float *)(const void *)(tensor->bytes + row * tensor_row_bytes(tensor)) : NULL;
}

static float round_to_bf16(float x)
{
    uint32_t bits = bits_of_float(x);
    if ((bits & 0x7fffffffu) > 0x7f800000u) { /* keeps NaN */
        return float_from_bits((bits | 0x400000u) & 0xffff0000u);
    }
    return float_from_bits((bits + 0x7fffu + (bits >> 16 & 1)) & 0xffff0000u);
}

static float round_to_f16(float x)
{
    uint32_t sign = bits_of_float(x) & 0x80000000u, bits = bits_of_float(x) & 0x7fffffffu;
    if (bits > 0x7f800000u) {
        return x;
    }
    if (bits < 0x38800000u) { /* below 2^-14 f16 has a step of 2^-24, as f32 has from 0.5 on */
        float rounded = (float_from_bits(bits) + 0.5f) - 0.5f;
        return float_from_bits(sign | bits_of_float(rounded));
    }
    bits = (bits + 0xfffu + (bits >> 13 & 1)) & 0xffffe000u;
    return float_from_bits(sign | (bits >= 0x47800000u ? 0x7f800000u : bits)); /* 65,536 and more: infinity */
}

float round_to_dtype(float x, uint32_t dtype)
{
    switch (dtype) {
    case DTYPE_BF16:
        return round_to_bf16(x);
    case DTYPE_F16:
        return round_to_f16(x);
    default:
        ASSERT(dtype == DTYPE_F32);
        return x;
    }
}

void round_all_to_dtype(float *values, uint64_t n, uint32_t dtype)
{
    if (dtype == DTYPE_BF16) {
        for (uint64_t i = 0; i < n; i++) {
            values[i] = round_to_bf16(values[i]);
        }
    } else if (dtype == DTYPE_F16) {
        for (uint64_t i = 0; i < n; i++) {
            values[i] = round_to_f16(values[i]);
        }
    }
}

uint16_t half_of(float value)
{
    float rounded = round_to_dtype(value, DTYPE_F16), magnitude = fabsf(rounded);
    uint16_t sign = signbit(rounded) ? 0x8000 : 0;
    if (isnan(rounded)) {
        return sign | 0x7e00;
    }
    if (isinf(rounded)) {
        return sign | 0x7c00;
    }
    if (magnitude < 0x1p-14f) {
        return (uint16_t)(sign | (uint32_t)(magnitude * 0x1p24f));
    }
    return (uint16_t)(sign | (bits_of_float(magnitude) - 0x38000000u) >> 13);
}

void op_weights(const struct op_batch *batch, const struct tensor *tensor, uint64_t row, uint64_t first, uint64_t count,
                float *values)
{
    weights_decode(tensor, row, first, count, values);
    round_all_to_dtype(values, count, batch->weights_dtype);
}
