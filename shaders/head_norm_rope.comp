/* The norm over each head, then rope, in one dispatch. One workgroup per row and head. */
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_shader_subgroup_arithmetic : require
#include "common.glsl"
#include "math.glsl"
#include "reduce.glsl"
#include "rows.glsl"

layout(constant_id = 5) const uint HEAD_DIM = 64;

layout(push_constant) uniform Push
{
    dispatch_params dispatch;
    head_norm_params op;
};
layout(set = 0, binding = 3) readonly buffer Input
{
    float x[];
};
layout(set = 0, binding = 4) readonly buffer Weights
{
    uint words[];
};
layout(set = 0, binding = 5) readonly buffer Table
{
    vec2 cos_sin[]; /* [position, dim/2] */
};
layout(set = 0, binding = 6) writeonly buffer Normalised
{
    float norm_y[];
};
#include "weights.glsl"

shared float head[HEAD_DIM];

void main()
{
    uint group = group_index(), lane = gl_LocalInvocationID.x, first = group * HEAD_DIM;
    uint row = group / op.heads, width = op.heads * HEAD_DIM, pairs = HEAD_DIM / 2;
    if (row >= dispatch.n_rows)
        return;
    float sum = 0.0;
    for (uint i = lane; i < HEAD_DIM; i += gl_WorkGroupSize.x)
        sum = fma(x[first + i], x[first + i], sum);
    float scale = inverse_sqrt(divide(reduce_sum(sum), float(op.dim)) + op.eps);
    for (uint i = lane; i < HEAD_DIM; i += gl_WorkGroupSize.x) {
        head[i] = normalised(x[first + i], scale, op.offset + decode_element(0, i));
        norm_y[first + i] = head[i];
    }
    barrier();
    for (uint i = lane; i < pairs; i += gl_WorkGroupSize.x) {
        vec2 turned = rotated(head[i], head[i + pairs], cos_sin[(batch.first_position + row) * pairs + i]);
        store(first + i, width, turned.x);
        store(first + i + pairs, width, turned.y);
    }
}
