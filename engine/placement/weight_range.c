#include "engine/placement/weight_range.h"

#include <math.h>
#include <string.h>

#include "model/error.h"
#include "shaders/params.h"

#include "shaders/params.h"

/* At least the magnitude of a half: subnormal ones as the smallest normal one. */
static float half_at_most(const uint8_t *bytes)
{
    uint32_t magnitude = (uint32_t)(bytes[0] | bytes[1] << 8) & 0x7fff;
    return ldexpf((float)(1024 + (magnitude & 1023)), (int)(magnitude >> 10) - 25);
}

static float largest_float(const struct tensor *tensor)
{
    uint32_t most = 0; /* the bits of positive floats are ordered as the floats are */
    for (uint64_t i = 0; tensor->dtype == DTYPE_F32 && i < tensor->n_bytes / 4; i++) {
        uint32_t bits;
        memcpy(&bits, tensor->bytes + 4 * i, 4);
        bits &= 0x7fffffffu;
        most = bits > most ? bits : most;
    }
    for (uint64_t i = 0; tensor->dtype != DTYPE_F32 && i < tensor->n_bytes / 2; i++) {
        uint16_t bits;
        memcpy(&bits, tensor->bytes + 2 * i, 2);
        uint32_t wide = (uint32_t)(bits & 0x7fff) << 16;
        most = wide > most ? wide : most;
    }
    float value;
    memcpy(&value, &most, 4);
    return value;
}

/* Blocks whose scale is an exponent: the first byte of each, or apart from them (tensor.h). */
static float largest_of_exponents(const struct tensor *tensor)
{
    const struct dtype_info *info = dtype_info(tensor->dtype);
    uint32_t stride = tensor->scales ? 1 : info->block_bytes;
    const uint8_t *scales_at = tensor->scales ? tensor->scales : tensor->bytes + info->d_at;
    uint8_t most = 0;
    for (uint64_t block = 0; block < tensor->n_bytes / info->block_bytes; block++) {
        uint8_t scale = scales_at[block * stride];
        most = scale > most ? scale : most;
    }
    return ldexpf(info->d_times, most - 127);
}

static float largest_of_halves(const struct tensor *tensor)
{
    const struct dtype_info *info = dtype_info(tensor->dtype);
    float most = 0;
    for (const uint8_t *block = tensor->bytes; block < tensor->bytes + tensor->n_bytes; block += info->block_bytes) {
        float m = info->m_times > 0 ? half_at_most(block + info->m_at) : 0;
        float value = half_at_most(block + info->d_at) * info->d_times + m * info->m_times;
        most = value > most ? value : most;
    }
    return most;
}

/* At least the magnitude of the largest weight. */
static float largest(const struct tensor *tensor)
{
    switch (dtype_info(tensor->dtype)->scale) {
    case SCALE_NONE:
        return largest_float(tensor);
    case SCALE_HALF:
        return largest_of_halves(tensor);
    default:
        ASSERT(dtype_info(tensor->dtype)->scale == SCALE_E8M0);
        return largest_of_exponents(tensor);
    }
}

float weight_range_scale(const struct tensor *tensor)
{
    if (tensor->dtype == DTYPE_F16) {
        return 1; /* the weights are halves */
    }
    float most = largest(tensor);
    int exponent = 0;
    if (most > 0 && isfinite(most)) {
        (void)frexpf(most, &exponent); /* now most < 2^exponent */
    }
    exponent = 14 - exponent;
    return ldexpf(1, exponent > 100 ? 100 : exponent < -100 ? -100 : exponent);
}
