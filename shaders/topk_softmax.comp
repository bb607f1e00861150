/* y = softmax of the k largest x, in descending order. One lane per row. */
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "math.glsl"

layout(push_constant) uniform Push
{
    dispatch_params dispatch;
    topk_softmax_params op;
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
    /* Two passes over the same values: first the sum, then the shares. */
    float maximum = 0.0, total = 0.0;
    for (uint pass = 0; pass < 2; pass++) {
        float value = 0.0;
        uint place = 0;
        for (uint j = 0; j < op.k; j++) {
            place = min(next_place(row, op.n, j > 0, value, place), op.n - 1);
            value = x[row * op.n + place];
            if (j == 0)
                maximum = value;
            float e = exp_exact(value - maximum);
            if (pass == 0)
                total += e;
#ifdef VARIANT_SOFTMAX_FIRST
            else if (j == 0) {
                total = 0.0;
                for (uint i = 0; i < op.n; i++)
                    total += exp_exact(x[row * op.n + i] - maximum);
                store(row * op.k, op.k, divide(e, total));
            }
#endif
            else
                store(row * op.k + j, op.k, divide(e, total));
        }
    }
}
