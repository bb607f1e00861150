/* Reads a bias, or the sink of an attention head, from `uint bias_words[]` of BIAS_DTYPE: F32, F16 or BF16. */
#include "half.glsl"
float bias(uint o)
{
    if (BIAS_DTYPE == DTYPE_F32)
        return uintBitsToFloat(bias_words[o]);
    uint h = (bias_words[o >> 1] >> ((o & 1) * 16)) & 0xffff;
    return BIAS_DTYPE == DTYPE_F16 ? half_value(h) : uintBitsToFloat(h << 16);
}
