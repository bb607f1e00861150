/* xorshift64*, and weights made from it. */
#include "workbench/bench/kernels/kernel_random.h"

#include <string.h>

#include "model/tensor.h"
#include "shaders/params.h"

uint64_t random_bits(uint64_t *seed)
{
    *seed ^= *seed >> 12;
    *seed ^= *seed << 25;
    *seed ^= *seed >> 27;
    return *seed * 2685821657736338717ull;
}

float random_unit(uint64_t *seed)
{
    return (float)(int64_t)(random_bits(seed) >> 40) / 8388608.0f - 1.0f;
}

/* Masks for 8 bytes of floats: bits that stay random, and bits that are set. Magnitudes are from 2^-7 to 2^-3, like
 * those of weights. */
static const struct {
    uint64_t keep, set;
} floats[] = {
    [DTYPE_F32] = {0x81ffffff81ffffffull, 0x3c0000003c000000ull},
    [DTYPE_F16] = {0x8fff8fff8fff8fffull, 0x2000200020002000ull},
    [DTYPE_BF16] = {0x81ff81ff81ff81ffull, 0x3c003c003c003c00ull},
};

static void set_half(uint8_t *bytes)
{
    uint16_t half;
    memcpy(&half, bytes, sizeof(half));
    half = (uint16_t)((half & floats[DTYPE_F16].keep) | (floats[DTYPE_F16].set & 0xffff));
    memcpy(bytes, &half, sizeof(half));
}

static void set_scales(const struct dtype_info *info, uint8_t *block)
{
    if (info->scale == SCALE_E8M0) {
        block[info->d_at] = (uint8_t)(120 + block[info->d_at] % 4); /* a power of two */
        return;
    }
    set_half(block + info->d_at);
    if (info->m_times > 0) {
        set_half(block + info->m_at);
    }
}

void random_weight_bytes(uint64_t *seed, uint32_t dtype, uint8_t *bytes, uint64_t n_bytes)
{
    const struct dtype_info *info = dtype_info(dtype);
    bool is_float = info->scale == SCALE_NONE;
    for (uint64_t at = 0; at < n_bytes; at += 8) {
        uint64_t word = random_bits(seed), rest = n_bytes - at;
        word = is_float ? (word & floats[dtype].keep) | floats[dtype].set : word;
        memcpy(bytes + at, &word, rest < 8 ? rest : 8);
    }
    for (uint64_t at = 0; !is_float && at < n_bytes; at += info->block_bytes) {
        set_scales(info, bytes + at);
    }
}
