/* y = x / sqrt(mean(x^2) + eps) * (offset + w), over each of `groups` runs of `dim` values. One workgroup per run. */
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_shader_subgroup_arithmetic : require
#extension GL_EXT_control_flow_attributes : require
#include "common.glsl"
#include "math.glsl"
#include "reduce.glsl"
const uint OWN = 4; /* vec4s of a lane, if BY_FOUR */
#define ROW_SUM
#include "rows.glsl"

layout(constant_id = 17) const uint BY_FOUR = 0; /* 1: sum in the order of matvec.comp */

layout(push_constant) uniform Push
{
    dispatch_params dispatch;
    rms_norm_params op;
};
layout(set = 0, binding = 3) readonly buffer Input
{
    float x[];
};
layout(set = 0, binding = 4) readonly buffer Weights
{
    uint words[];
};
#include "weights.glsl"

void main()
{
    uint group = group_index();
    if (group >= dispatch.n_rows * op.groups)
        return;
    uint lane = gl_LocalInvocationID.x, first = group * op.dim, width = op.groups * op.dim;
#ifdef VARIANT_COPY
    for (uint i = lane; i < op.dim; i += gl_WorkGroupSize.x)
        store(first + i, width, x[first + i]);
#else
    float sum = 0.0;
    float mean = 0.0;
#ifdef VARIANT_MEAN_SUBTRACTED
    for (uint i = lane; i < op.dim; i += gl_WorkGroupSize.x)
        mean += x[first + i];
    mean = divide(reduce_sum(mean), float(op.dim));
#endif
    if (BY_FOUR != 0 && !HAS_VARIANT) {
        vec4 own[OWN];
        for (uint k = 0; k < OWN; k++) {
            uint i = first + min((lane + k * gl_WorkGroupSize.x) * 4, op.dim - 4);
            own[k] = vec4(x[i], x[i + 1], x[i + 2], x[i + 3]);
        }
        sum = row_sum(own, op.dim / 4);
    } else {
        for (uint i = lane; i < op.dim; i += gl_WorkGroupSize.x)
#ifdef VARIANT_HALF_SUM
            if (i % 32 < 16)
#endif
                sum = fma(x[first + i] - mean, x[first + i] - mean, sum);
        sum = reduce_sum(sum);
    }
    float scale = inverse_sqrt(divide(sum, float(op.dim)) + op.eps);
    for (uint i = lane; i < op.dim; i += gl_WorkGroupSize.x)
        store(first + i, width, normalised(x[first + i] - mean, scale, op.offset + decode_element(0, i)));
#endif
}
