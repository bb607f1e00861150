/* Weight bytes to f32. The engine has its own decoders, so that the two cannot share a mistake.
 * Block layouts: ggml-common.h; formulas: dequantize_row_* of ggml-quants.c. Products with an f16 scale are exact
 * in f32 (11 + 8 bits at most); Q4_1's addition of the minimum rounds once, as ggml's does. */
#include <string.h>

#include "model/error.h"
#include "reference/op.h"

static float float_from_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

static uint32_t bits_of_float(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof(bits));
    return bits;
}

static float float_from_half(uint16_t half)
{
    uint32_t magnitude = (half & 0x7fffu) << 13, sign = (half & 0x8000u) << 16;
    if (magnitude >= 0x7c00u << 13) /* infinity, NaN */
        return float_from_bits(sign | 0x7f800000u | magnitude);
    float value =
        float_from_bits(magnitude) * 0x1p112f; /* exponent bias 15 to 127; subnormals come out right as well */
    return float_from_bits(sign | bits_of_float(value));
}

static uint16_t read_u16(const uint8_t *bytes)
{
    return (uint16_t)(bytes[0] | bytes[1] << 8);
}

static void decode_f16(const uint8_t *bytes, uint64_t count, float *values)
{
    for (uint64_t i = 0; i < count; i++)
        values[i] = float_from_half(read_u16(bytes + 2 * i));
}

static void decode_bf16(const uint8_t *bytes, uint64_t count, float *values)
{
    for (uint64_t i = 0; i < count; i++)
        values[i] = float_from_bits((uint32_t)read_u16(bytes + 2 * i) << 16);
}

/* A block: f16 d, then 16 bytes: elements 0 to 15 in the low nibbles, 16 to 31 in the high ones. value = d (q - 8) */
static void decode_q4_0(const uint8_t *block, uint64_t count, float *values)
{
    for (uint64_t i = 0; i < count; i += 32, block += 18) {
        float d = float_from_half(read_u16(block));
        for (unsigned j = 0; j < 16; j++) {
            values[i + j] = d * (float)((block[2 + j] & 15) - 8);
            values[i + 16 + j] = d * (float)((block[2 + j] >> 4) - 8);
        }
    }
}

/* f16 d, f16 m, 16 bytes as above. value = d q + m */
static void decode_q4_1(const uint8_t *block, uint64_t count, float *values)
{
    for (uint64_t i = 0; i < count; i += 32, block += 20) {
        float d = float_from_half(read_u16(block)), m = float_from_half(read_u16(block + 2));
        for (unsigned j = 0; j < 16; j++) {
            values[i + j] = d * (float)(block[4 + j] & 15) + m;
            values[i + 16 + j] = d * (float)(block[4 + j] >> 4) + m;
        }
    }
}

/* f16 d, 32 signed bytes. value = d q */
static void decode_q8_0(const uint8_t *block, uint64_t count, float *values)
{
    for (uint64_t i = 0; i < count; i += 32, block += 34) {
        float d = float_from_half(read_u16(block));
        for (unsigned j = 0; j < 32; j++)
            values[i + j] = d * (float)(int8_t)block[2 + j];
    }
}

void weights_decode(const struct tensor *tensor, uint64_t row, uint64_t first, uint64_t count, float *values)
{
    const struct dtype_info *info = dtype_info(tensor->dtype);
    uint64_t row_elems = tensor_row_elems(tensor);
    ASSERT(row < tensor_rows(tensor) && first <= row_elems && count <= row_elems - first);
    ASSERT(first % info->block_elems == 0 && count % info->block_elems == 0);

    const uint8_t *bytes =
        tensor->bytes + row * tensor_row_bytes(tensor) + first / info->block_elems * info->block_bytes;
    switch (tensor->dtype) {
    case DTYPE_F32:
        memcpy(values, bytes, count * sizeof(float));
        break;
    case DTYPE_F16:
        decode_f16(bytes, count, values);
        break;
    case DTYPE_BF16:
        decode_bf16(bytes, count, values);
        break;
    case DTYPE_Q4_0:
        decode_q4_0(bytes, count, values);
        break;
    case DTYPE_Q4_1:
        decode_q4_1(bytes, count, values);
        break;
    case DTYPE_Q8_0:
        decode_q8_0(bytes, count, values);
        break;
    default:
        ASSERT(!"a dtype without a decoder");
    }
}

static float round_to_bf16(float x)
{
    uint32_t bits = bits_of_float(x);
    if ((bits & 0x7fffffffu) > 0x7f800000u) /* a NaN stays one */
        return float_from_bits((bits | 0x400000u) & 0xffff0000u);
    return float_from_bits((bits + 0x7fffu + (bits >> 16 & 1)) & 0xffff0000u);
}

static float round_to_f16(float x)
{
    uint32_t sign = bits_of_float(x) & 0x80000000u, bits = bits_of_float(x) & 0x7fffffffu;
    if (bits > 0x7f800000u)
        return x;
    if (bits < 0x38800000u) { /* below 2^-14 f16 has a step of 2^-24, and so has f32 from 0.5 on */
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

void op_weights(const struct op_batch *batch, const struct tensor *tensor, uint64_t row, uint64_t first, uint64_t count,
                float *values)
{
    weights_decode(tensor, row, first, count, values);
    if (batch->weights_dtype == DTYPE_F32)
        return;
    for (uint64_t i = 0; i < count; i++)
        values[i] = round_to_dtype(values[i], batch->weights_dtype);
}
