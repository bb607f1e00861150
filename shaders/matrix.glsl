/* What a product with a matrix binds: rows of x, the matrix by words or by four of them, the bias. */
layout(constant_id = 3) const uint BIAS_DTYPE = DTYPE_F32;
layout(constant_id = 10) const uint WIDE = 0; /* 1: rows of the matrix start at multiples of 16 bytes */

layout(set = 0, binding = 3) readonly buffer Input
{
    vec4 x4[]; /* 16-byte loads: four times as fast as single words on llvmpipe */
};
layout(set = 0, binding = 4) readonly buffer Weights
{
    uint words[];
};
layout(set = 0, binding = 4) readonly buffer WideWeights
{
    uvec4 wide_words[]; /* the same */
};
layout(set = 0, binding = 5) readonly buffer Bias
{
    uint bias_words[];
};
#include "weights.glsl"
