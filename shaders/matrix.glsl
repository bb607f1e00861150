/* The bindings of a matrix product: rows of x, the matrix as words or as uvec4s, the bias. */
layout(constant_id = 3) const uint BIAS_DTYPE = DTYPE_F32;
layout(constant_id = 10) const uint WIDE = 0; /* 1: every row of the matrix starts at a multiple of 16 bytes */

layout(set = 0, binding = 3) readonly buffer Input
{
    vec4 x4[]; /* on llvmpipe, 16-byte loads are four times as fast as loads of words */
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
