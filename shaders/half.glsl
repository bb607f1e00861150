#ifndef HALF_GLSL
#define HALF_GLSL
/* Converts a half to a float from its bits. unpackHalf2x16 may flush subnormal halves, and small scales are subnormal.
 * NATIVE_HALF 1: this device's unpackHalf2x16 keeps them. */
layout(constant_id = 8) const uint NATIVE_HALF = 0;
float half_value(uint h)
{
    if (NATIVE_HALF != 0)
        return unpackHalf2x16(h).x;
    uint magnitude = h & 0x7fff;
    float value = magnitude < 0x0400   ? float(magnitude) * 5.9604644775390625e-8 /* 2^-24 */
                  : magnitude < 0x7c00 ? uintBitsToFloat((magnitude << 13) + (112u << 23))
                                       : uintBitsToFloat((magnitude << 13) | 0x7f800000);
    return (h & 0x8000) != 0 ? -value : value;
}
#endif
