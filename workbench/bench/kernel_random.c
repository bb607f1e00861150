/* xorshift64*, and weights made from it. */
#include "workbench/bench/kernel_random.h"

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

/* Where a block holds its f16 scales: byte offsets. */
static const struct {
    uint32_t n, at[2];
} halves[DTYPE_COUNT] = {
    [DTYPE_Q4_0] = {1, {0}},    [DTYPE_Q4_1] = {2, {0, 2}}, [DTYPE_Q8_0] = {1, {0}},    [DTYPE_Q5_0] = {1, {0}},
    [DTYPE_Q5_1] = {2, {0, 2}}, [DTYPE_Q4_K] = {2, {0, 2}}, [DTYPE_Q5_K] = {2, {0, 2}}, [DTYPE_Q6_K] = {1, {208}},
};

static void set_scales(uint32_t dtype, uint8_t *block)
{
    for (uint32_t i = 0; i < halves[dtype].n; i++) {
        uint16_t half;
        memcpy(&half, block + halves[dtype].at[i], 2);
        half = (uint16_t)((half & floats[DTYPE_F16].keep) | (floats[DTYPE_F16].set & 0xffff));
        memcpy(block + halves[dtype].at[i], &half, 2);
    }
    if (dtype == DTYPE_MXFP4) {
        block[0] = (uint8_t)(120 + block[0] % 4); /* the exponent of a power-of-two scale */
    }
}

void random_weight_bytes(uint64_t *seed, uint32_t dtype, uint8_t *bytes, uint64_t n_bytes)
{
    uint32_t block = dtype_info(dtype)->block_bytes;
    bool is_float = dtype <= DTYPE_BF16;
    for (uint64_t at = 0; at < n_bytes; at += 8) {
        uint64_t word = random_bits(seed), rest = n_bytes - at;
        word = is_float ? (word & floats[dtype].keep) | floats[dtype].set : word;
        memcpy(bytes + at, &word, rest < 8 ? rest : 8);
    }
    for (uint64_t at = 0; !is_float && at < n_bytes; at += block) {
        set_scales(dtype, bytes + at);
    }
}
