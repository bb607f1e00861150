/* y = cap * tanh(x / cap). A cap of 0 means none: x is copied. One lane per element. */
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "math.glsl"

layout(push_constant) uniform Push
{
    dispatch_params dispatch;
    softcap_params op;
};
layout(set = 0, binding = 3) readonly buffer Input
{
    float x[];
};

void main()
{
    uint at = group_index() * gl_WorkGroupSize.x + gl_LocalInvocationID.x;
    if (at < dispatch.n_rows * op.width)
        store(at, op.width, op.cap == 0.0 ? x[at] : op.cap * tanh_exact(divide(x[at], op.cap)));
}
