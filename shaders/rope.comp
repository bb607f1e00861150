/* Rotates the pairs (i, i + dim/2) of each head by position * frequency. The table holds cos and sin, computed on the host in
 * double precision, because Vulkan allows a device's own an error of 2^-11. One lane per pair. */
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "rows.glsl"

layout(push_constant) uniform Push
{
    dispatch_params dispatch;
    rope_params op;
};
layout(set = 0, binding = 3) readonly buffer Input
{
    float x[];
};
layout(set = 0, binding = 4) readonly buffer Table
{
    vec2 cos_sin[]; /* [position, dim/2] */
};

void main()
{
    uint at = group_index() * gl_WorkGroupSize.x + gl_LocalInvocationID.x;
    uint half_dim = op.dim / 2, width = op.heads * op.dim;
    uint row = at / (op.heads * half_dim);
    if (row >= dispatch.n_rows)
        return;
    uint pair = at % half_dim;
    uint first = at / half_dim * op.dim + pair, second = first + half_dim;
#ifdef VARIANT_ROPE_NEIGHBOURS
    first += pair;
    second = first + 1;
#endif
    vec2 turn = cos_sin[(batch.first_position + row) * half_dim + pair];
    vec2 turned = rotated(x[first], x[second], turn);
    store(first, width, turned.x);
    store(second, width, turned.y);
}
