/* One value a row, F32, F16 or BF16, from `uint bias_words[]` by BIAS_DTYPE: biases, and the sinks of attention. */
#include "half.glsl"
float bias(uint o)
{
    if (BIAS_DTYPE == DTYPE_F32)
        return uintBitsToFloat(bias_words[o]);
    uint h = (bias_words[o >> 1] >> ((o & 1) * 16)) & 0xffff;
    return BIAS_DTYPE == DTYPE_F16 ? half_value(h) : uintBitsToFloat(h << 16);
}
