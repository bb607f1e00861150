/* y = sum over the k chosen experts of w_j x_j, x [k, width]. One lane per element. */
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"

layout(push_constant) uniform Push
{
    dispatch_params dispatch;
    expert_sum_params op;
};
layout(set = 0, binding = 3) readonly buffer Input
{
    float x[];
};
layout(set = 0, binding = 4) readonly buffer Shares
{
    float share[];
};

void main()
{
    uint at = group_index() * gl_WorkGroupSize.x + gl_LocalInvocationID.x;
    if (at >= dispatch.n_rows * op.width)
        return;
    uint row = at / op.width, i = at % op.width;
    float sum = 0.0;
    uint first = 0;
#ifdef VARIANT_LAST_EXPERT
    first = op.k - 1;
#endif
    for (uint j = first; j < op.k; j++)
        sum += share[row * op.k + j] * x[(row * op.k + j) * op.width + i];
    store(at, op.width, sum);
}
