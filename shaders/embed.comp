/* y = scale * W[token]. One lane per element. */
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"

layout(push_constant) uniform Push
{
    dispatch_params dispatch;
    embed_params op;
};
layout(set = 0, binding = 3) readonly buffer Weights
{
    uint words[];
};
#include "weights.glsl"

void main()
{
    uint at = group_index() * gl_WorkGroupSize.x + gl_LocalInvocationID.x;
    uint row = at / op.width;
    if (row >= dispatch.n_rows)
        return;
    /* A slice holds some of the table's rows. Another dispatch computes the other tokens. */
    uint token = uint(batch.tokens[row]) - dispatch.first;
    if (token >= dispatch.count)
        return;
    float scale = op.scale;
#ifdef VARIANT_SCALE_UNSYNCED
    scale = at % op.width >= op.width / 2 ? 1.0 : scale;
#endif
    store(at, op.width, scale * decode_at(token, at % op.width, dispatch.count, op.width));
}
