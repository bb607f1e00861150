/* The arithmetic that an op's own shader and the fused ones share, so that single steps give the same bits as fused ones.
 * `precise` keeps the compiler from contracting an operation with the code behind it, which differs between the shaders. */

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

/* sum + a · b, always in the same order, with one rounding per product. */
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

/* Sum of squares of a row of 4 n values. Lane i holds vec4s i, i + lanes, … in x[OWN]. Each subgroup sums its vec4s, then the
 * partial sums are added in order, so that the bits do not depend on the number of lanes. For shaders that define ROW_SUM. */
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
