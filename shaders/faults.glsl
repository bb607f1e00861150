/* What the faulty variants of several shaders share. model/variants.h describes each variant. */

/* x as f16, rounded to nearest even. packHalf2x16 may round either way. */
uint half_bits(float x)
{
    uint bits = floatBitsToUint(x), sign = (bits >> 16) & 0x8000u;
    bits &= 0x7fffffffu;
    if (bits > 0x7f800000u)
        return sign | 0x7e00u;
    if (bits >= 0x477ff000u) /* 65,520 */
        return sign | 0x7c00u;
    if (bits < 0x38800000u) /* below 2^-14, f16 counts in steps of 2^-24 */
        return sign | uint(roundEven(uintBitsToFloat(bits) * 16777216.0));
    bits += 0xfffu + ((bits >> 13) & 1u);
    return sign | ((bits - 0x38000000u) >> 13);
}

float half_float(uint h)
{
    uint magnitude = h & 0x7fffu;
    float value = magnitude < 0x0400u   ? float(magnitude) * 5.9604644775390625e-8
                  : magnitude < 0x7c00u ? uintBitsToFloat((magnitude << 13) + (112u << 23))
                                        : uintBitsToFloat((magnitude << 13) | 0x7f800000u);
    return (h & 0x8000u) != 0u ? -value : value;
}
