/* y = act(gate) * up. A lane an element. */
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "math.glsl"

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

/* Source: torch, gelu(approximate="tanh"). */
float gelu_tanh(float g)
{
    float z = 0.7978845608 * (g + 0.044715 * g * g * g); /* sqrt(2/pi) */
    return 0.5 * g * (1.0 + tanh_exact(z));
}

void main()
{
    uint at = group_index() * gl_WorkGroupSize.x + gl_LocalInvocationID.x;
    if (at >= dispatch.n_rows * op.width)
        return;
    float g = gate[at];
    float activated = op.activation == ACTIVATION_GELU_TANH ? gelu_tanh(g) : divide(g, 1.0 + exp_exact(-g));
    store(at, op.width, activated * up[at]);
}
