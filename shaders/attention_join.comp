/* Joins the parts of one row's attention, where the matrix product that reads the result does not do so itself. One lane per
 * four elements. */
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#include "common.glsl"
#include "math.glsl"

layout(push_constant) uniform Push
{
    dispatch_params dispatch;
    attention_join_params op;
};
layout(set = 0, binding = 3) readonly buffer Parts
{
    vec4 x4[];
};
#include "join.glsl"

void main()
{
    uint i = group_index() * gl_WorkGroupSize.x + gl_LocalInvocationID.x, width = op.heads * HEAD_DIM;
    if (i * 4 >= width)
        return;
    vec4 joined = joined_parts(i * 4 / HEAD_DIM, i % (HEAD_DIM / 4));
    for (uint k = 0; k < 4; k++)
        store(i * 4 + k, width, joined[k]);
}
