/* Conversions between floats, halves and their bits. */
#ifndef LOCKSTEP_REFERENCE_BITS_H
#define LOCKSTEP_REFERENCE_BITS_H

#include <stdint.h>
#include <string.h>

static inline float float_from_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

static inline uint32_t bits_of_float(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof(bits));
    return bits;
}

/* Value of an f16. The exponent's bias changes from 15 to 127, which is right for subnormals too. Infinity and NaN are
 * made from bits without a branch, so that compilers vectorise loops over rows of halves. */
static inline float float_from_half(uint16_t half)
{
    uint32_t magnitude = (half & 0x7fffu) << 13, sign = (half & 0x8000u) << 16;
    uint32_t finite = bits_of_float(float_from_bits(magnitude) * 0x1p112f), other = 0x7f800000u | magnitude;
    return float_from_bits(sign | (magnitude >= 0x7c00u << 13 ? other : finite));
}

#endif
