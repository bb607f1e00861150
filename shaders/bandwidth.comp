/* Reads a whole buffer, to measure how fast the device reads. Each lane adds up what it reads. The sum is stored only if it has
 * one particular value, so that the reads are not optimised away. */
#version 450
#extension GL_GOOGLE_include_directive : require
#include "params.h"

layout(local_size_x = 64, local_size_x_id = 0) in;
layout(push_constant) uniform Push
{
    bandwidth_params op;
};
layout(set = 0, binding = 0) readonly buffer Source
{
    uvec4 source[];
};
layout(set = 0, binding = 1) writeonly buffer Output
{
    uint y[];
};

void main()
{
    uint stride = gl_NumWorkGroups.x * gl_WorkGroupSize.x;
    uvec4 a = uvec4(0), b = a, c = a, d = a;
    uint i = gl_GlobalInvocationID.x;
    for (; i + 3 * stride < op.n; i += 4 * stride) {
        a += source[i];
        b += source[i + stride];
        c += source[i + 2 * stride];
        d += source[i + 3 * stride];
    }
    for (; i < op.n; i += stride)
        a += source[i];
    a += b + c + d;
    if ((a.x ^ a.y ^ a.z ^ a.w) == 0x9e3779b9)
        y[0] = a.x;
}
