#include "workbench/diagnose/products/block_variants.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "reference/bits.h"
#include "reference/decode.h"

#define BIT(name) (1ull << DTYPE_##name)
#define SMALL_NIBBLES (BIT(Q4_0) | BIT(Q4_1) | BIT(Q5_0) | BIT(Q5_1) | BIT(MXFP4) | BIT(IQ4_NL))
#define RUNS (BIT(Q4_K) | BIT(Q5_K))
#define NIBBLES (SMALL_NIBBLES | RUNS | BIT(Q6_K))
#define HALF_SCALE (ALL_BLOCKS & ~BIT(MXFP4))
#define ALL_BLOCKS (NIBBLES | BIT(Q8_0))
#define WITH_MORE (BIT(Q4_1) | BIT(Q5_1) | RUNS | BIT(Q6_K)) /* than d beside the quants */
#define FLOATS (BIT(F32) | BIT(F16) | BIT(BF16))

void block_decode(const struct block *block, float *values)
{
    decode_blocks(block->dtype, block->bytes, dtype_info(block->dtype)->block_elems, values);
}

/* Where the low four bits of element i lie: a byte of the block, and a shift. */
static uint8_t *nibble_at(struct block *block, uint32_t i, unsigned *shift)
{
    uint32_t header;
    switch (block->dtype) {
    case DTYPE_Q4_K:
    case DTYPE_Q5_K:
        header = block->dtype == DTYPE_Q4_K ? 16 : 48;
        *shift = i / 32 % 2 * 4;
        return block->bytes + header + i / 64 * 32 + i % 32;
    case DTYPE_Q6_K:
        *shift = i % 128 / 64 * 4;
        return block->bytes + i / 128 * 64 + i % 64;
    default:
        *shift = i / 16 * 4;
        return block->bytes + dtype_info(block->dtype)->block_bytes - 16 + i % 16;
    }
}

/* Element i takes the low bits of element from[i]. */
static void move_nibbles(struct block *block, const uint32_t *from)
{
    struct block right = *block;
    uint32_t n = dtype_info(block->dtype)->block_elems;
    for (uint32_t i = 0; i < n; i++) {
        unsigned shift, to_shift;
        const uint8_t *byte = nibble_at(&right, from[i], &shift);
        uint8_t *to = nibble_at(block, i, &to_shift);
        unsigned q = *byte >> shift & 15;
        *to = (uint8_t)((*to & ~(15u << to_shift)) | q << to_shift);
    }
}

enum { EXCHANGED, LOW_THEN_HIGH, PAIRS_AS_HALVES, HALVES_OF_BLOCK };

static void decode_moved(struct block *block, int number, float *values)
{
    uint32_t from[256], n = dtype_info(block->dtype)->block_elems;
    uint32_t half = block->dtype == DTYPE_Q6_K ? 64 : n == 256 ? 32 : 16;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t unit = i - i % (2 * half), within = i % (2 * half), byte = i % (n / 2);
        from[i] = number == EXCHANGED         ? unit + (within + half) % (2 * half)
                  : number == LOW_THEN_HIGH   ? unit + within / 2 + within % 2 * half
                  : number == PAIRS_AS_HALVES ? unit + within % half * 2 + within / half
                                              : byte / half * 2 * half + i / (n / 2) * half + byte % half;
    }
    move_nibbles(block, from);
    block_decode(block, values);
}

/* Bits of the quants that are not in the nibbles. */
static void high_bits(const struct block *block, uint32_t *at, uint32_t *n)
{
    *at = block->dtype == DTYPE_Q5_0 ? 2 : block->dtype == DTYPE_Q5_1 ? 4 : block->dtype == DTYPE_Q5_K ? 16 : 128;
    *n = block->dtype == DTYPE_Q5_K ? 32 : block->dtype == DTYPE_Q6_K ? 64 : 4;
}

enum { LOST, ALWAYS_SET, REVERSED, HALVES_EXCHANGED };

static uint8_t reversed_bits(uint8_t byte, unsigned width)
{
    uint8_t reversed = 0;
    for (unsigned at = 0; at < 8; at += width) {
        reversed |= (uint8_t)((byte >> at & ((1u << width) - 1)) << (8 - width - at));
    }
    return reversed;
}

static void decode_high_bits(struct block *block, int number, float *values)
{
    struct block right = *block;
    uint32_t at, n;
    high_bits(block, &at, &n);
    for (uint32_t i = 0; i < n; i++) {
        uint8_t byte = right.bytes[at + i];
        block->bytes[at + i] = number == LOST         ? 0
                               : number == ALWAYS_SET ? 255
                               : number == REVERSED   ? reversed_bits(byte, block->dtype == DTYPE_Q6_K ? 2 : 1)
                                                      : right.bytes[at + (i + n / 2) % n];
    }
    block_decode(block, values);
}

/* Scales and minimums of the 8 runs of Q4_K and Q5_K, which decode_blocks.c explains. */
enum {
    HIGH_BITS_LOST,
    HIGH_BITS_OF_SCALES_LOST,
    HIGH_BITS_OF_MINIMUMS_LOST,
    HIGH_BITS_EXCHANGED,
    LIKE_FIRST_FOUR,
    SCALES_AND_MINIMUMS_EXCHANGED,
    LAST_FOUR_EXCHANGED,
    SIGNED_SCALES,
    UNMASKED,
    FIRST_ALONE,
    ORDER_REVERSED,
    NEIGHBOURS_EXCHANGED,
    HIGH_BITS_LOW
};

static void run_scales(const uint8_t *packed, int number, double scale[8], double minimum[8])
{
    for (unsigned j = 0; j < 8; j++) {
        unsigned k = j % 4, s = packed[k] & 63, m = packed[4 + k] & 63;
        if (j >= 4 && number != LIKE_FIRST_FOUR) {
            unsigned low_s = packed[8 + k] & 15, low_m = packed[8 + k] >> 4;
            unsigned high_s = packed[k] >> 6, high_m = packed[4 + k] >> 6;
            bool exchanged = number == HIGH_BITS_EXCHANGED;
            s = low_s | (exchanged ? high_m : high_s) << 4;
            m = low_m | (exchanged ? high_s : high_m) << 4;
            s = number == HIGH_BITS_LOST || number == HIGH_BITS_OF_SCALES_LOST ? low_s : s;
            m = number == HIGH_BITS_LOST || number == HIGH_BITS_OF_MINIMUMS_LOST ? low_m : m;
            if (number == LAST_FOUR_EXCHANGED) {
                s = low_m | high_s << 4;
                m = low_s | high_m << 4;
            } else if (number == HIGH_BITS_LOW) {
                s = low_s << 2 | high_s;
                m = low_m << 2 | high_m;
            }
        } else if (number == UNMASKED) {
            s = packed[k];
            m = packed[4 + k];
        }
        scale[j] = number == SCALES_AND_MINIMUMS_EXCHANGED ? m : s;
        minimum[j] = number == SCALES_AND_MINIMUMS_EXCHANGED ? s : m;
        if (number == SIGNED_SCALES) {
            scale[j] -= s >= 32 ? 64 : 0;
            minimum[j] -= m >= 32 ? 64 : 0;
        }
    }
}

static void decode_runs(struct block *block, int number, float *values)
{
    double scale[8], minimum[8];
    float d = float_from_half((uint16_t)(block->bytes[0] | block->bytes[1] << 8));
    float dmin = float_from_half((uint16_t)(block->bytes[2] | block->bytes[3] << 8));
    run_scales(block->bytes + 4, number, scale, minimum);
    memset(block->bytes + 2, 0, 2); /* no minimum */
    memset(block->bytes + 4, 1, 4); /* every run has the scale 1 */
    memset(block->bytes + 8, 0, 4);
    memset(block->bytes + 12, 1, 4);
    block_decode(block, values); /* d q */
    for (unsigned i = 0; i < 256; i++) {
        unsigned j = i / 32;
        j = number == FIRST_ALONE ? 0 : number == ORDER_REVERSED ? 7 - j : number == NEIGHBOURS_EXCHANGED ? j ^ 1 : j;
        float q = d != 0 ? values[i] / d : 0;
        values[i] = d * (float)scale[j] * roundf(q) - dmin * (float)minimum[j];
    }
}

/* Q6_K's 16 signed scales. */
enum { UNSIGNED, OF_32_VALUES, FIRST_SCALE_ALONE, SCALES_REVERSED, HALVES_IN_TURN };

static void decode_q6_scales(struct block *block, int number, float *values)
{
    int8_t scale[16];
    memcpy(scale, block->bytes + 192, 16);
    memset(block->bytes + 192, 1, 16);
    block_decode(block, values); /* d (q - 32) */
    for (unsigned i = 0; i < 256; i++) {
        unsigned j = i / 16;
        j = number == OF_32_VALUES        ? i / 32
            : number == FIRST_SCALE_ALONE ? 0
            : number == SCALES_REVERSED   ? 15 - j
            : number == HALVES_IN_TURN    ? j / 2 + j % 2 * 8
                                          : j;
        values[i] *= number == UNSIGNED ? (float)(uint8_t)scale[j] : (float)scale[j];
    }
}

static void decode_q8_unsigned(struct block *block, int number, float *values)
{
    float d = float_from_half((uint16_t)(block->bytes[0] | block->bytes[1] << 8));
    for (unsigned i = 0; i < 32; i++) {
        uint8_t q = block->bytes[2 + i];
        values[i] = d * ((float)q - (number ? 128 : 0));
    }
}

/* Formats whose four bits are looked up in a table: another table. */
enum { TWOS_COMPLEMENT, FROM_MINUS_8, SIGN_LOST, NO_SUBNORMALS, SUBNORMAL_QUARTER, FROM_0, SIGN_IN_LOW_BIT };

static void decode_table(struct block *block, int number, float *values)
{
    static const float magnitudes[8] = {0, 0.5F, 1, 1.5F, 2, 3, 4, 6};
    struct block unit = *block;
    uint32_t n = dtype_info(block->dtype)->block_elems;
    bool mxfp4 = block->dtype == DTYPE_MXFP4;
    memset(unit.bytes + dtype_info(block->dtype)->block_bytes - 16, mxfp4 ? 0x22 : 0x88, 16);
    block_decode(&unit, values); /* the scale itself: code 2 of e2m1 is 1, code 8 of IQ4_NL's table too */
    for (uint32_t i = 0; i < n; i++) {
        unsigned shift;
        const uint8_t *byte = nibble_at(block, i, &shift);
        unsigned q = *byte >> shift & 15;
        float sign = q & 8 ? -1 : 1, table = sign * magnitudes[q & 7];
        switch (number) {
        case TWOS_COMPLEMENT:
            table = (float)q - (q & 8 ? 16 : 0);
            break;
        case FROM_MINUS_8:
            table = (float)q - 8;
            break;
        case FROM_0:
            table = (float)q;
            break;
        case SIGN_LOST:
            table = magnitudes[q & 7];
            break;
        case SIGN_IN_LOW_BIT:
            table = (q & 1 ? -1 : 1) * magnitudes[q >> 1];
            break;
        default:
            table = (q & 7) != 1 ? table : number == NO_SUBNORMALS ? 0 : sign * 0.25F;
        }
        values[i] *= table;
    }
}

/* Q4_0: a nibble as a signed integer. */
static void decode_signed_nibbles(struct block *block, int number, float *values)
{
    (void)number;
    for (unsigned i = 0; i < 16; i++) {
        block->bytes[2 + i] ^= 0x88;
    }
    block_decode(block, values);
}

/* The bytes read as another format with blocks of the same size. */
static void decode_as(struct block *block, int number, float *values)
{
    block->dtype = (uint32_t)number;
    block_decode(block, values);
}

/* The bytes of the scale, or of a plain number, in the other order. */
static void decode_swapped_bytes(struct block *block, int number, float *values)
{
    const struct dtype_info *info = dtype_info(block->dtype);
    uint32_t n = info->block_elems == 1 ? info->block_bytes : 2;
    (void)number;
    for (uint32_t i = 0; i < n / 2; i++) {
        uint8_t byte = block->bytes[info->d_at + i];
        block->bytes[info->d_at + i] = block->bytes[info->d_at + n - 1 - i];
        block->bytes[info->d_at + n - 1 - i] = byte;
    }
    block_decode(block, values);
}

/* The scale d and the minimum's dmin, or m, exchanged. */
static void decode_exchanged_header(struct block *block, int number, float *values)
{
    (void)number;
    for (unsigned i = 0; i < 2; i++) {
        uint8_t byte = block->bytes[i];
        block->bytes[i] = block->bytes[2 + i];
        block->bytes[2 + i] = byte;
    }
    block_decode(block, values);
}

/* d is a bf16 where the format has an f16. */
static void decode_scale_as_bf16(struct block *block, int number, float *values)
{
    const struct dtype_info *info = dtype_info(block->dtype);
    uint16_t bits = (uint16_t)(block->bytes[info->d_at] | block->bytes[info->d_at + 1] << 8);
    float d = float_from_half(bits), as = float_from_bits((uint32_t)bits << 16);
    (void)number;
    block_decode(block, values);
    for (uint32_t i = 0; i < info->block_elems && info->m_times == 0; i++) {
        values[i] *= d != 0 ? as / d : 0;
    }
}

static const struct block_variant variants[] = {
    {"the two nibbles of each byte are exchanged", NIBBLES, decode_moved, EXCHANGED, 0, 0},
    {"a byte's two nibbles are taken for neighbouring elements", NIBBLES, decode_moved, LOW_THEN_HIGH, 0, 0},
    {"neighbouring elements' nibbles are taken for those of the block's two halves", SMALL_NIBBLES, decode_moved,
     PAIRS_AS_HALVES, 0, 0},
    {"all low nibbles are taken for the first half of the block", RUNS | BIT(Q6_K), decode_moved, HALVES_OF_BLOCK, 0,
     0},
    {"the quants' high bits are lost", BIT(Q5_0) | BIT(Q5_1) | BIT(Q5_K) | BIT(Q6_K), decode_high_bits, LOST, 0, 0},
    {"the quants' high bits are always set", BIT(Q5_0) | BIT(Q5_1) | BIT(Q5_K) | BIT(Q6_K), decode_high_bits,
     ALWAYS_SET, 0, 0},
    {"the quants' high bits are taken in reverse order within a byte", BIT(Q5_0) | BIT(Q5_1) | BIT(Q5_K) | BIT(Q6_K),
     decode_high_bits, REVERSED, 0, 0},
    {"the halves of the quants' high bits are exchanged", BIT(Q5_0) | BIT(Q5_1) | BIT(Q5_K) | BIT(Q6_K),
     decode_high_bits, HALVES_EXCHANGED, 0, 0},
    {"the high bits of the scales and minimums of runs 4 to 7 are lost", RUNS, decode_runs, HIGH_BITS_LOST, 0, 0},
    {"the high bits of the scales of runs 4 to 7 are lost", RUNS, decode_runs, HIGH_BITS_OF_SCALES_LOST, 0, 0},
    {"the high bits of the minimums of runs 4 to 7 are lost", RUNS, decode_runs, HIGH_BITS_OF_MINIMUMS_LOST, 0, 0},
    {"runs 4 to 7: the high bits of scale and minimum are exchanged", RUNS, decode_runs, HIGH_BITS_EXCHANGED, 0, 0},
    {"runs 4 to 7 have the scales and minimums of runs 0 to 3", RUNS, decode_runs, LIKE_FIRST_FOUR, 0, 0},
    {"scales and minimums of the runs are exchanged", RUNS, decode_runs, SCALES_AND_MINIMUMS_EXCHANGED, 0, 0},
    {"runs 4 to 7: the low bits of scale and minimum are exchanged", RUNS, decode_runs, LAST_FOUR_EXCHANGED, 0, 0},
    {"the runs' scales are taken as signed numbers", RUNS, decode_runs, SIGNED_SCALES, 0, 0},
    {"the scales of runs 0 to 3 are not masked to 6 bits", RUNS, decode_runs, UNMASKED, 0, 0},
    {"all runs have the first one's scale and minimum", RUNS, decode_runs, FIRST_ALONE, 0, 0},
    {"the runs' scales are taken in reverse order", RUNS, decode_runs, ORDER_REVERSED, 0, 0},
    {"neighbouring runs have each other's scale and minimum", RUNS, decode_runs, NEIGHBOURS_EXCHANGED, 0, 0},
    {"runs 4 to 7: the two high bits are taken for the two low ones", RUNS, decode_runs, HIGH_BITS_LOW, 0, 0},
    {"the scales are taken as unsigned numbers", BIT(Q6_K), decode_q6_scales, UNSIGNED, 0, 0},
    {"a scale is taken for 32 values instead of 16", BIT(Q6_K), decode_q6_scales, OF_32_VALUES, 0, 0},
    {"all values have the first scale of their block", BIT(Q6_K), decode_q6_scales, FIRST_SCALE_ALONE, 0, 0},
    {"the scales are taken in reverse order", BIT(Q6_K), decode_q6_scales, SCALES_REVERSED, 0, 0},
    {"the scales of the two halves of a block are taken in turn", BIT(Q6_K), decode_q6_scales, HALVES_IN_TURN, 0, 0},
    {"quants are taken as unsigned numbers", BIT(Q8_0), decode_q8_unsigned, 0, 0, 0},
    {"quants are taken as unsigned numbers less 128", BIT(Q8_0), decode_q8_unsigned, 1, 0, 0},
    {"quants are taken as signed 4-bit numbers", BIT(MXFP4) | BIT(IQ4_NL), decode_table, TWOS_COMPLEMENT, 0, 0},
    {"quants are taken as numbers from -8 on", BIT(MXFP4) | BIT(IQ4_NL), decode_table, FROM_MINUS_8, 0, 0},
    {"quants are taken as numbers from 0 on", BIT(MXFP4) | BIT(IQ4_NL), decode_table, FROM_0, 0, 0},
    {"the sign of e2m1 is lost", BIT(MXFP4), decode_table, SIGN_LOST, 0, 0},
    {"e2m1's subnormal 0.5 is flushed to 0", BIT(MXFP4), decode_table, NO_SUBNORMALS, 0, 0},
    {"e2m1's subnormal 0.5 is taken for 0.25", BIT(MXFP4), decode_table, SUBNORMAL_QUARTER, 0, 0},
    {"e2m1's sign is read from its lowest bit", BIT(MXFP4), decode_table, SIGN_IN_LOW_BIT, 0, 0},
    {"quants are taken as signed 4-bit numbers", BIT(Q4_0), decode_signed_nibbles, 0, 0, 0},
    {"blocks are read as IQ4_NL", BIT(Q4_0), decode_as, DTYPE_IQ4_NL, 0, 0},
    {"blocks are read as Q4_0", BIT(IQ4_NL), decode_as, DTYPE_Q4_0, 0, 0},
    {"numbers are read as bf16", BIT(F16), decode_as, DTYPE_BF16, 0, 0},
    {"numbers are read as f16", BIT(BF16), decode_as, DTYPE_F16, 0, 0},
    {"the bytes of each number are in the other order", FLOATS, decode_swapped_bytes, 0, 0, 0},
    {"the two bytes of the scale are exchanged", HALF_SCALE, decode_swapped_bytes, 0, 0, 0},
    {"scale and minimum of the block are exchanged", BIT(Q4_1) | BIT(Q5_1) | RUNS, decode_exchanged_header, 0, 0, 0},
    {"the scale is read as bf16", BIT(Q4_0) | BIT(Q5_0) | BIT(Q8_0) | BIT(Q6_K) | BIT(IQ4_NL), decode_scale_as_bf16, 0,
     0, 0},
    {"all blocks of a row have the first one's scale, but their own minimum", WITH_MORE, NULL, SCALE_ALONE,
     SOURCE_FIRST_OF_ROW, 0},
    {"blocks have the scale of the next block, but their own minimum", WITH_MORE, NULL, SCALE_ALONE, SOURCE_NEXT, 0},
    {"blocks have the scale of the block before, but their own minimum", WITH_MORE, NULL, SCALE_ALONE, SOURCE_PREVIOUS,
     0},
    {"all blocks of a row have the first one's scale", ALL_BLOCKS, NULL, 0, SOURCE_FIRST_OF_ROW, 0},
    {"blocks have the scale of the next block", ALL_BLOCKS, NULL, 0, SOURCE_NEXT, 0},
    {"blocks have the scale of the block before", ALL_BLOCKS, NULL, 0, SOURCE_PREVIOUS, 0},
    {"all rows have the scales of the first row", ALL_BLOCKS, NULL, 0, SOURCE_FIRST_ROW, 0},
    {"the scales are read as if their matrix were transposed", ALL_BLOCKS, NULL, 0, SOURCE_TRANSPOSED, 0},
    {"blocks are read as if their matrix were transposed", ALL_BLOCKS, NULL, 0, 0, SOURCE_TRANSPOSED},
    {"blocks are read one too far", ALL_BLOCKS, NULL, 0, 0, SOURCE_NEXT},
    {"blocks are read one too early", ALL_BLOCKS, NULL, 0, 0, SOURCE_PREVIOUS},
};

const struct block_variant *block_variants(uint32_t *n)
{
    *n = sizeof(variants) / sizeof(*variants);
    return variants;
}
