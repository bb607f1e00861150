#include "engine/placement/weight_range.h"

#include <math.h>
#include <string.h>

/* |weight| <= |d| * most + |m| * least. d and m are halves in the block, at bytes d_at and m_at. */
static const struct {
    uint32_t d_at;
    float most;
    uint32_t m_at;
    float least;
} scales[DTYPE_COUNT] = {
    [DTYPE_Q4_0] = {0, 8, 0, 0},        [DTYPE_Q4_1] = {0, 15, 2, 1},         [DTYPE_Q5_0] = {0, 16, 0, 0},
    [DTYPE_Q5_1] = {0, 31, 2, 1},       [DTYPE_Q8_0] = {0, 128, 0, 0},        [DTYPE_Q4_K] = {0, 63 * 15, 2, 63},
    [DTYPE_Q5_K] = {0, 63 * 31, 2, 63}, [DTYPE_Q6_K] = {208, 128 * 32, 0, 0},
};

/* Not less than the magnitude of a half: exact for normal numbers, an upper bound for subnormal ones. */
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

/* A scale of MXFP4 is an exponent, and 6 its largest value. The scales are the first byte of each block of 17, or stand
 * apart from blocks of 16. */
static float largest_of_mxfp4(const struct tensor *tensor)
{
    uint32_t block_bytes = dtype_info(DTYPE_MXFP4)->block_bytes, stride = tensor->scales ? 1 : block_bytes;
    const uint8_t *scales_at = tensor->scales ? tensor->scales : tensor->bytes;
    uint8_t most = 0;
    for (uint64_t block = 0; block < tensor->n_bytes / block_bytes; block++) {
        uint8_t scale = scales_at[block * stride];
        most = scale > most ? scale : most;
    }
    return ldexpf(6, most - 127);
}

static float largest_of_blocks(const struct tensor *tensor)
{
    const struct dtype_info *info = dtype_info(tensor->dtype);
    float most = 0;
    for (const uint8_t *block = tensor->bytes; block < tensor->bytes + tensor->n_bytes; block += info->block_bytes) {
        float value = half_at_most(block + scales[tensor->dtype].d_at) * scales[tensor->dtype].most +
                      half_at_most(block + scales[tensor->dtype].m_at) * scales[tensor->dtype].least;
        most = value > most ? value : most;
    }
    return most;
}

float weight_range_scale(const struct tensor *tensor)
{
    if (tensor->dtype == DTYPE_F16) {
        return 1; /* the weights are halves */
    }
    float most = tensor->dtype == DTYPE_F32 || tensor->dtype == DTYPE_BF16 ? largest_float(tensor)
                 : tensor->dtype == DTYPE_MXFP4                            ? largest_of_mxfp4(tensor)
                                                                           : largest_of_blocks(tensor);
    int exponent = 0;
    if (most > 0 && isfinite(most)) {
        (void)frexpf(most, &exponent); /* now most < 2^exponent */
    }
    exponent = 14 - exponent;
    return ldexpf(1, exponent > 100 ? 100 : exponent < -100 ? -100 : exponent);
}
