/* Decodes blocks of weights to f32. The engine has decoders of its own, so that the two cannot share a mistake.
 * Sources: ggml-common.h for the blocks, dequantize_row_* of ggml-quants.c for the formulas. Products with an f16 scale
 * are exact in f32 (11 + 6 + 7 bits at most); adding or subtracting a minimum rounds once, as in ggml. */
#include <string.h>

#include "model/error.h"
#include "model/tensor.h"
#include "reference/bits.h"
#include "reference/cloned.h"
#include "reference/decode.h"

static uint16_t read_u16(const uint8_t *bytes)
{
    return (uint16_t)(bytes[0] | bytes[1] << 8);
}

static float read_half(const uint8_t *bytes)
{
    return float_from_half(read_u16(bytes));
}

void decode_F32(const uint8_t *bytes, uint64_t count, float *values)
{
    memcpy(values, bytes, count * sizeof(float));
}

CLONED void decode_F16(const uint8_t *restrict bytes, uint64_t count, float *restrict values)
{
    for (uint64_t i = 0; i < count; i++) {
        values[i] = read_half(bytes + 2 * i);
    }
}

CLONED void decode_BF16(const uint8_t *restrict bytes, uint64_t count, float *restrict values)
{
    for (uint64_t i = 0; i < count; i++) {
        values[i] = float_from_bits((uint32_t)read_u16(bytes + 2 * i) << 16);
    }
}

/* Reads eight bytes at once, so that compilers vectorise the shifts that extract nibbles. The loops over the bytes must
 * not be unrolled, or gcc leaves them scalar. */
static inline uint64_t read_u64(const uint8_t *bytes)
{
    uint64_t word; /* little-endian, as all files are */
    memcpy(&word, bytes, sizeof(word));
    return word;
}

/* Block: f16 d, 16 bytes of nibbles (elements 0 to 15 in the low ones, 16 to 31 in the high ones). value = d (q - 8) */
CLONED void decode_Q4_0(const uint8_t *restrict block, uint64_t count, float *restrict values)
{
    for (uint64_t i = 0; i < count; i += 32, block += 18) {
        float d = read_half(block);
        for (unsigned k = 0; k < 16; k += 8) {
            uint64_t word = read_u64(block + 2 + k);
#pragma GCC unroll 1
            for (unsigned j = 0; j < 8; j++) {
                values[i + k + j] = d * (float)((int)(word >> 8 * j & 15) - 8);
            }
#pragma GCC unroll 1
            for (unsigned j = 0; j < 8; j++) {
                values[i + 16 + k + j] = d * (float)((int)(word >> (8 * j + 4) & 15) - 8);
            }
        }
    }
}

/* Block: f16 d, f16 m, 16 bytes of nibbles as in Q4_0. value = d q + m */
CLONED void decode_Q4_1(const uint8_t *restrict block, uint64_t count, float *restrict values)
{
    for (uint64_t i = 0; i < count; i += 32, block += 20) {
        float d = read_half(block), m = read_half(block + 2);
        for (unsigned k = 0; k < 16; k += 8) {
            uint64_t word = read_u64(block + 4 + k);
#pragma GCC unroll 1
            for (unsigned j = 0; j < 8; j++) {
                values[i + k + j] = d * (float)(int)(word >> 8 * j & 15) + m;
            }
#pragma GCC unroll 1
            for (unsigned j = 0; j < 8; j++) {
                values[i + 16 + k + j] = d * (float)(int)(word >> (8 * j + 4) & 15) + m;
            }
        }
    }
}

/* Block: f16 d, 32 signed bytes. value = d q */
CLONED void decode_Q8_0(const uint8_t *restrict block, uint64_t count, float *restrict values)
{
    for (uint64_t i = 0; i < count; i += 32, block += 34) {
        float d = read_half(block);
        for (unsigned j = 0; j < 32; j++) {
            values[i + j] = d * (float)(int8_t)block[2 + j];
        }
    }
}

/* Q5_0 and Q5_1 hold four low bits in 16 bytes, as Q4_0 does. The fifth bit of element j is bit j of the four bytes
 * before them. */
static unsigned fifth_bit(const uint8_t *bits, unsigned j)
{
    return (unsigned)(bits[j / 8] >> j % 8 & 1) << 4;
}

/* Block: f16 d, 4 bytes of fifth bits, 16 bytes of nibbles. value = d (q - 16) */
CLONED void decode_Q5_0(const uint8_t *restrict block, uint64_t count, float *restrict values)
{
    for (uint64_t i = 0; i < count; i += 32, block += 22) {
        float d = read_half(block);
        for (unsigned j = 0; j < 16; j++) {
            values[i + j] = d * (float)((int)((block[6 + j] & 15) | fifth_bit(block + 2, j)) - 16);
            values[i + 16 + j] = d * (float)((int)(block[6 + j] >> 4 | fifth_bit(block + 2, 16 + j)) - 16);
        }
    }
}

/* Block: f16 d, f16 m, 4 bytes of fifth bits, 16 bytes of nibbles. value = d q + m */
CLONED void decode_Q5_1(const uint8_t *restrict block, uint64_t count, float *restrict values)
{
    for (uint64_t i = 0; i < count; i += 32, block += 24) {
        float d = read_half(block), m = read_half(block + 2);
        for (unsigned j = 0; j < 16; j++) {
            values[i + j] = d * (float)((block[8 + j] & 15) | fifth_bit(block + 4, j)) + m;
            values[i + 16 + j] = d * (float)(block[8 + j] >> 4 | fifth_bit(block + 4, 16 + j)) + m;
        }
    }
}

/* The 6-bit scale and minimum of run j; a block of Q4_K or Q5_K has 8 runs of 32 elements. The first 8 of the 12 bytes
 * hold the scales and minimums of runs 0 to 3 in their low six bits. The last 4 hold the low nibbles of the other
 * runs'; their top bits are the top bits of the first 8 bytes. */
static void scale_and_minimum(const uint8_t *packed, unsigned j, float *scale, float *minimum)
{
    unsigned k = j % 4;
    if (j < 4) {
        *scale = (float)(packed[k] & 63);
        *minimum = (float)(packed[4 + k] & 63);
    } else {
        *scale = (float)((packed[8 + k] & 15) | packed[k] >> 6 << 4);
        *minimum = (float)(packed[8 + k] >> 4 | packed[4 + k] >> 6 << 4);
    }
}

/* Q4_K (high NULL) and Q5_K: each run j of 32 elements has its own scale and minimum. 32 bytes hold run 2c in their low
 * nibbles and run 2c + 1 in their high nibbles; the fifth bit of element l of run j is bit j of high[l]. value = d
 * scale q - dmin minimum (postmortem 2025-12-16 gemma3-debug: a quantiser for q scale + min). */
static inline void decode_runs(const uint8_t *restrict block, const uint8_t *high, const uint8_t *low,
                               float *restrict values)
{
    float d = read_half(block), dmin = read_half(block + 2), scale, minimum;
    for (unsigned j = 0; j < 8; j++, values += 32) {
        scale_and_minimum(block + 4, j, &scale, &minimum);
        scale *= d;
        minimum *= dmin;
        for (unsigned l = 0; l < 32; l++) {
            unsigned q = low[j / 2 * 32 + l] >> (j % 2 ? 4 : 0) & 15;
            if (high) {
                q |= (unsigned)(high[l] >> j & 1) << 4;
            }
            values[l] = scale * (float)q - minimum;
        }
    }
}

/* Block: f16 d, f16 dmin, 12 bytes of scales, 128 bytes of nibbles */
CLONED void decode_Q4_K(const uint8_t *restrict block, uint64_t count, float *restrict values)
{
    for (uint64_t i = 0; i < count; i += 256, block += 144) {
        decode_runs(block, NULL, block + 16, values + i);
    }
}

/* Block: f16 d, f16 dmin, 12 bytes of scales, 32 bytes of fifth bits, 128 bytes of nibbles */
CLONED void decode_Q5_K(const uint8_t *restrict block, uint64_t count, float *restrict values)
{
    for (uint64_t i = 0; i < count; i += 256, block += 176) {
        decode_runs(block, block + 16, block + 48, values + i);
    }
}

/* Block: 128 bytes of low nibbles, 64 bytes of top bit pairs, 16 signed scales, f16 d. Each half of 128 elements is
 * four runs of 32: run r has the low (r < 2) or high nibbles of 32 bytes, those of run r % 2, and bit pair r. Each
 * scale is for 16 elements. value = d scale (q - 32) */
CLONED void decode_Q6_K(const uint8_t *restrict block, uint64_t count, float *restrict values)
{
    for (uint64_t i = 0; i < count; i += 256, block += 210) {
        float d = read_half(block + 208);
        for (unsigned j = 0; j < 256; j++) {
            unsigned half = j / 128, run = j % 128 / 32, l = j % 32;
            unsigned low = block[half * 64 + run % 2 * 32 + l] >> (run / 2 * 4) & 15;
            unsigned top = block[128 + half * 32 + l] >> (2 * run) & 3;
            float scale = d * (float)(int8_t)block[192 + j / 16];
            values[i + j] = scale * (float)((int)(top << 4 | low) - 32);
        }
    }
}

/* Block: an e8m0 exponent byte, 16 bytes of e2m1 nibbles as in Q4_0. The table holds e2m1's values doubled, so that
 * they are whole numbers; the exponent is one less. Source: OCP microscaling formats 1.0; ggml, kvalues_mxfp4. */
CLONED void decode_MXFP4(const uint8_t *restrict block, uint64_t count, float *restrict values)
{
    static const int8_t doubled[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};
    for (uint64_t i = 0; i < count; i += 32, block += 17) {
        float d = float_from_bits(block[0] < 2 ? 0x00200000u << block[0] : (uint32_t)(block[0] - 1) << 23);
        for (unsigned j = 0; j < 16; j++) {
            values[i + j] = d * (float)doubled[block[1 + j] & 15];
            values[i + 16 + j] = d * (float)doubled[block[1 + j] >> 4];
        }
    }
}

/* Block: f16 d, 16 bytes of nibbles as in Q4_0. value = d table[q]. Source: ggml-common.h, kvalues_iq4nl. */
CLONED void decode_IQ4_NL(const uint8_t *restrict block, uint64_t count, float *restrict values)
{
    static const int8_t table[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
    for (uint64_t i = 0; i < count; i += 32, block += 18) {
        float d = read_half(block);
        for (unsigned j = 0; j < 16; j++) {
            values[i + j] = d * (float)table[block[2 + j] & 15];
            values[i + 16 + j] = d * (float)table[block[2 + j] >> 4];
        }
    }
}

void decode_blocks(uint32_t dtype, const uint8_t *bytes, uint64_t count, float *values)
{
    static void (*const decoders[DTYPE_COUNT])(const uint8_t *restrict, uint64_t, float *restrict) = {
#define X(name, code, ...) [code] = decode_##name,
        DTYPES(X)
#undef X
    };
    ASSERT(dtype < DTYPE_COUNT);
    decoders[dtype](bytes, count, values);
}
