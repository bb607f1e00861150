/* y = act(gate) * up. One lane per element. */
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "math.glsl"
#include "activation.glsl"

layout(push_constant) uniform Push
{
    dispatch_params dispatch;
    glu_params op;
};
layout(set = 0, binding = 3) readonly buffer Gate
{
    float gate[];
};
layout(set = 0, binding = 4) readonly buffer Up
{
    float up[];
};

void main()
{
    uint at = group_index() * gl_WorkGroupSize.x + gl_LocalInvocationID.x;
    if (at >= dispatch.n_rows * op.width)
        return;
    store(at, op.width, activated(op.activation, gate[at]) * up[at]);
}
