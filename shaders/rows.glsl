/* The arithmetic that an op's own shader and the fused ones share, so that a run step by step gives the bits of a fused one.
 * `precise`: nothing is contracted with what follows, which differs between the two. */

float normalised(float x, float scale, float factor)
{
    precise float y = x * scale * factor;
    return y;
}

vec2 rotated(float first, float second, vec2 cos_sin)
{
    precise vec2 y = vec2(first * cos_sin.x - second * cos_sin.y, second * cos_sin.x + first * cos_sin.y);
    return y;
}

/* sum + a · b, in one order and with one rounding a product. */
float fma4(vec4 a, vec4 b, float sum)
{
    precise float y = fma(a.w, b.w, fma(a.z, b.z, fma(a.y, b.y, fma(a.x, b.x, sum))));
    return y;
}

vec4 normalised4(vec4 x, float scale, vec4 factor)
{
    precise vec4 y = x * scale * factor;
    return y;
}

/* Sum of squares of a row of 4 n values, of which lane i has vec4s i, i + lanes, …: x[OWN]. Each run of a subgroup's
 * lanes is summed by itself, then the runs in their order, so that the bits do not depend on how many lanes there are.
 * For shaders that include reduce.glsl and say ROW_SUM. */
#ifdef ROW_SUM
const uint MOST_RUNS = 256;
shared float run_sum[MOST_RUNS];

float row_sum(vec4 x[OWN], uint n)
{
    barrier(); /* an earlier result has been read */
    [[unroll]] for (uint k = 0; k < OWN; k++) {
        uint i = gl_LocalInvocationID.x + k * gl_WorkGroupSize.x;
        float square = i < n ? fma4(x[k], x[k], 0.0) : 0.0;
        float sum = subgroupAdd(square);
        if (subgroupElect() && i < n)
            run_sum[i / gl_SubgroupSize] = sum;
    }
    barrier();
    precise float sum = 0.0;
    for (uint i = 0; i < (n + gl_SubgroupSize - 1) / gl_SubgroupSize; i++)
        sum += run_sum[i];
    return sum;
}
#endif
