/* y = (up + 1) gate sigmoid(alpha gate), gate <= limit, |up| <= limit; gate and up alternate in x. One lane per element. */
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "math.glsl"

layout(push_constant) uniform Push
{
    dispatch_params dispatch;
    swiglu_params op;
};
layout(set = 0, binding = 3) readonly buffer Input
{
    float x[];
};

void main()
{
    uint at = group_index() * gl_WorkGroupSize.x + gl_LocalInvocationID.x;
    if (at >= dispatch.n_rows * op.width)
        return;
#ifdef VARIANT_GATE_UP_HALVES
    uint first = at / op.run * 2 * op.run + at % op.run;
    float gate = x[first], up = x[first + op.run];
#else
    float gate = x[2 * at], up = x[2 * at + 1];
#endif
#ifdef VARIANT_PLAIN_SWIGLU
    store(at, op.width, up * divide(gate, 1.0 + exp_exact(-gate)));
    return;
#endif
    /* Not min and clamp: they can drop a NaN, which must be kept. */
    gate = gate > op.limit ? op.limit : gate;
    up = up > op.limit ? op.limit : up < -op.limit ? -op.limit : up;
    float glu = divide(gate, 1.0 + exp_exact(-op.alpha * gate));
    store(at, op.width, (up + 1.0) * glu);
}
