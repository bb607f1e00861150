/* y = indices of the k largest x, in descending order of x; among equals the lower index first. One lane per row. */
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"

layout(push_constant) uniform Push
{
    dispatch_params dispatch;
    topk_params op;
};
layout(set = 0, binding = 3) readonly buffer Input
{
    float x[];
};
#include "topk.glsl"

void main()
{
    uint row = group_index() * gl_WorkGroupSize.x + gl_LocalInvocationID.x;
    if (row >= dispatch.n_rows)
        return;
    float value = 0.0;
    uint place = 0;
    for (uint j = 0; j < op.k; j++) {
        place = next_place(row, op.n, j > 0, value, place);
        place = min(place, op.n - 1); /* in a row of NaN, any index will do */
        value = x[row * op.n + place];
        store(row * op.k + j, op.k, float(place));
    }
}
