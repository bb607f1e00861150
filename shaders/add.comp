/* y = residual + branch. One lane per element. */
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"

layout(push_constant) uniform Push
{
    dispatch_params dispatch;
    add_params op;
};
layout(set = 0, binding = 3) readonly buffer Residual
{
    float residual[];
};
layout(set = 0, binding = 4) readonly buffer Branch
{
    float branch[];
};

void main()
{
    uint at = group_index() * gl_WorkGroupSize.x + gl_LocalInvocationID.x;
    if (at < dispatch.n_rows * op.width)
#ifdef VARIANT_DROP_RESIDUAL
        store(at, op.width, branch[at]);
#else
        store(at, op.width, residual[at] + branch[at]);
#endif
}
