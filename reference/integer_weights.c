#include "reference/integer_weights.h"

#include <string.h>

#include "model/error.h"
#include "reference/bits.h"

enum { SUPER_BLOCK = 256 };

static double half_at(const uint8_t *bytes)
{
    return float_from_half((uint16_t)(bytes[0] | bytes[1] << 8));
}

/* 16 bytes of nibbles: elements 0 to 15 are the low ones, 16 to 31 the high ones. */
static unsigned nibble(const uint8_t *nibbles, unsigned i)
{
    return nibbles[i % 16] >> (i / 16 * 4) & 15;
}

static unsigned fifth(const uint8_t *bits, unsigned i)
{
    return (unsigned)(bits[i / 8] >> i % 8 & 1) << 4;
}

static void set_scale(struct integer_weights *w, double scale, double minimum)
{
    w->scale[0] = w->scale[1] = scale;
    w->minimum = minimum;
}

static void decode_q4_0(const uint8_t *block, struct integer_weights *w)
{
    set_scale(w, half_at(block), 0);
    for (unsigned i = 0; i < INTEGER_BLOCK; i++) {
        w->q[i] = (int8_t)((int)nibble(block + 2, i) - 8);
    }
}

static void decode_q4_1(const uint8_t *block, struct integer_weights *w)
{
    set_scale(w, half_at(block), half_at(block + 2));
    for (unsigned i = 0; i < INTEGER_BLOCK; i++) {
        w->q[i] = (int8_t)nibble(block + 4, i);
    }
}

static void decode_q5_0(const uint8_t *block, struct integer_weights *w)
{
    set_scale(w, half_at(block), 0);
    for (unsigned i = 0; i < INTEGER_BLOCK; i++) {
        w->q[i] = (int8_t)((int)(nibble(block + 6, i) | fifth(block + 2, i)) - 16);
    }
}

static void decode_q5_1(const uint8_t *block, struct integer_weights *w)
{
    set_scale(w, half_at(block), half_at(block + 2));
    for (unsigned i = 0; i < INTEGER_BLOCK; i++) {
        w->q[i] = (int8_t)(nibble(block + 8, i) | fifth(block + 4, i));
    }
}

static void decode_q8_0(const uint8_t *block, struct integer_weights *w)
{
    set_scale(w, half_at(block), 0);
    memcpy(w->q, block + 2, INTEGER_BLOCK);
}

/* Nibbles are indices into a table (reference/decode_blocks.c). */
static void decode_iq4_nl(const uint8_t *block, struct integer_weights *w)
{
    static const int8_t table[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
    set_scale(w, half_at(block), 0);
    for (unsigned i = 0; i < INTEGER_BLOCK; i++) {
        w->q[i] = table[nibble(block + 2, i)];
    }
}

/* e2m1's values, doubled so that they are whole numbers; the exponent is one less. */
static void decode_mxfp4(const uint8_t *block, struct integer_weights *w)
{
    static const int8_t doubled[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};
    set_scale(w, float_from_bits(block[0] < 2 ? 0x00200000u << block[0] : (uint32_t)(block[0] - 1) << 23), 0);
    for (unsigned i = 0; i < INTEGER_BLOCK; i++) {
        w->q[i] = doubled[nibble(block + 1, i)];
    }
}

/* The 6-bit scale and minimum of run j of 32 elements: reference/decode_blocks.c has the layout. */
static void decode_k_runs(const uint8_t *block, const uint8_t *high, const uint8_t *low, struct integer_weights *w)
{
    const uint8_t *packed = block + 4;
    double d = half_at(block), dmin = half_at(block + 2);
    for (unsigned j = 0; j < 8; j++, w++) {
        unsigned k = j % 4;
        unsigned scale = j < 4 ? packed[k] & 63u : (packed[8 + k] & 15u) | packed[k] >> 6 << 4;
        unsigned minimum = j < 4 ? packed[4 + k] & 63u : (unsigned)(packed[8 + k] >> 4) | packed[4 + k] >> 6 << 4;
        set_scale(w, d * scale, -dmin * minimum);
        for (unsigned i = 0; i < INTEGER_BLOCK; i++) {
            unsigned q = low[j / 2 * 32 + i] >> (j % 2 ? 4 : 0) & 15;
            w->q[i] = (int8_t)(q | (high ? (unsigned)(high[i] >> j & 1) << 4 : 0));
        }
    }
}

static void decode_q4_k(const uint8_t *block, struct integer_weights *w)
{
    decode_k_runs(block, NULL, block + 16, w);
}

static void decode_q5_k(const uint8_t *block, struct integer_weights *w)
{
    decode_k_runs(block, block + 16, block + 48, w);
}

static void decode_q6_k(const uint8_t *block, struct integer_weights *w)
{
    double d = half_at(block + 208);
    for (unsigned j = 0; j < SUPER_BLOCK; j++) {
        unsigned half = j / 128, run = j % 128 / 32, l = j % 32;
        unsigned low = block[half * 64 + run % 2 * 32 + l] >> (run / 2 * 4) & 15;
        unsigned top = block[128 + half * 32 + l] >> (2 * run) & 3;
        struct integer_weights *at = &w[j / INTEGER_BLOCK];
        at->q[j % INTEGER_BLOCK] = (int8_t)((int)(top << 4 | low) - 32);
        at->scale[j % INTEGER_BLOCK / 16] = d * (int8_t)block[192 + j / 16];
        at->minimum = 0;
    }
}

/* The formats that have 8-bit operands. */
static const struct integer_format {
    enum rounding_type operands;
    void (*decode)(const uint8_t *block, struct integer_weights *w);
} formats[DTYPE_COUNT] = {
    [DTYPE_Q4_0] = {ROUNDING_Q8_0, decode_q4_0}, [DTYPE_Q4_1] = {ROUNDING_Q8_1, decode_q4_1},
    [DTYPE_Q5_0] = {ROUNDING_Q8_0, decode_q5_0}, [DTYPE_Q5_1] = {ROUNDING_Q8_1, decode_q5_1},
    [DTYPE_Q8_0] = {ROUNDING_Q8_0, decode_q8_0}, [DTYPE_MXFP4] = {ROUNDING_Q8_0, decode_mxfp4},
    [DTYPE_Q4_K] = {ROUNDING_Q8_K, decode_q4_k}, [DTYPE_Q5_K] = {ROUNDING_Q8_K, decode_q5_k},
    [DTYPE_Q6_K] = {ROUNDING_Q8_K, decode_q6_k}, [DTYPE_IQ4_NL] = {ROUNDING_Q8_0, decode_iq4_nl},
};

enum rounding_type integer_operand_of(uint32_t dtype)
{
    ASSERT(dtype < DTYPE_COUNT);
    return formats[dtype].operands;
}

bool integer_product_fits(const struct tensor *matrix, uint64_t n_in)
{
    return integer_operand_of(matrix->dtype) != ROUNDING_NONE && matrix->layout == LAYOUT_ROWS &&
           n_in % dtype_info(matrix->dtype)->block_elems == 0;
}

void integer_block_decode(uint32_t dtype, const uint8_t *block, struct integer_weights *blocks)
{
    ASSERT(integer_operand_of(dtype) != ROUNDING_NONE);
    formats[dtype].decode(block, blocks);
}

void integer_weights_decode(const struct tensor *matrix, uint64_t row, uint64_t n_in, struct integer_weights *blocks)
{
    const struct dtype_info *info = dtype_info(matrix->dtype);
    uint8_t block[SUPER_BLOCK];
    ASSERT(integer_product_fits(matrix, n_in) && info->block_bytes <= sizeof(block));
    uint64_t at = row * (n_in / info->block_elems) * info->block_bytes;
    for (uint64_t first = 0; first < n_in; first += info->block_elems, at += info->block_bytes) {
        tensor_copy(matrix, at, info->block_bytes, block);
        formats[matrix->dtype].decode(block, &blocks[first / INTEGER_BLOCK]);
    }
}

/* Kernels sum the integers of a block in up to 8 lanes, each of 4 neighbours, and add the lanes in float32 (ggml's AVX2
 * and VNNI code; others add more of them as integers, which rounds less): lane l has elements 4l to 4l + 3 of each 32.
 */
enum { LANES = 8, LANE = INTEGER_BLOCK / LANES };

static void add_products(const struct integer_weights *w, const struct integer_operand *x, double lanes[LANES])
{
    for (unsigned l = 0; l < LANES; l++) {
        int sum = 0;
        for (unsigned i = l * LANE; i < (l + 1) * LANE; i++) {
            sum += w->q[i] * x->q[i];
        }
        lanes[l] += x->d * w->scale[l / (LANES / 2)] * sum;
    }
}

struct integer_dot integer_dot(enum rounding_type operands, const struct integer_weights *w,
                               const struct integer_operand *x, uint64_t n_in)
{
    struct integer_dot dot = {0};
    uint64_t together = operands == ROUNDING_Q8_K ? SUPER_BLOCK / INTEGER_BLOCK : 1;
    for (uint64_t first = 0; first < n_in / INTEGER_BLOCK; first += together) {
        double lanes[LANES] = {0}, minimum = 0;
        for (uint64_t b = first; b < first + together; b++) {
            add_products(&w[b], &x[b], lanes);
            minimum += w[b].minimum * x[b].sum;
        }
        for (unsigned l = 0; l < LANES; l++) {
            dot.sum += lanes[l];
            dot.squares += lanes[l] * lanes[l];
        }
        dot.sum += minimum;
        dot.squares += minimum * minimum;
        dot.n_terms += LANES + (minimum != 0);
    }
    return dot;
}
