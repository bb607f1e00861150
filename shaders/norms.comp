/* A norm, the residual's add, and the norm behind it, in one dispatch. One workgroup per row; each lane keeps its own elements.
 * A lane loads its first OWN elements of everything before it waits for the first sum. It loads further elements again when
 * they are needed. */
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_shader_subgroup_arithmetic : require
#include "common.glsl"
#include "math.glsl"
#include "reduce.glsl"
#include "rows.glsl"

const uint OWN = 4;

layout(push_constant) uniform Push
{
    dispatch_params dispatch;
    norms_params op;
};
layout(set = 0, binding = 3) readonly buffer Branch
{
    float x[];
};
layout(set = 0, binding = 4) readonly buffer Residual
{
    float residual[];
};
layout(set = 0, binding = 5) readonly buffer FirstWeights
{
    uint first_words[]; /* F32; norms of other dtypes are not fused */
};
layout(set = 0, binding = 6) readonly buffer LastWeights
{
    uint last_words[];
};
layout(set = 0, binding = 7) writeonly buffer First
{
    float first_y[];
};
layout(set = 0, binding = 8) buffer Sum
{
    float sum_y[];
};

float row_scale(float sum, float eps)
{
    return inverse_sqrt(divide(sum, float(op.width)) + eps);
}

/* Adds the branch, normalised first if there is such a norm, to the residual. Stores both stages. Returns the sum. */
float add_branch(uint at, float branch, float other, uint weight, float scale)
{
    if (op.has_first != 0) {
        branch = normalised(branch, scale, op.first_offset + uintBitsToFloat(weight));
        first_y[at] = branch;
    }
    float total = other + branch;
    sum_y[at] = total;
    return total;
}

void store_last(uint at, float total, uint weight, float scale)
{
    store(at, op.width, normalised(total, scale, op.last_offset + uintBitsToFloat(weight)));
}

void main()
{
    uint row = group_index(), lane = gl_LocalInvocationID.x, first = row * op.width;
    if (row >= dispatch.n_rows)
        return;
    float own[OWN], own_residual[OWN];
    uint own_first[OWN], own_last[OWN];
    for (uint k = 0; k < OWN; k++) {
        uint i = min(lane + k * gl_WorkGroupSize.x, op.width - 1);
        own[k] = x[first + i];
        own_residual[k] = residual[first + i];
        own_first[k] = first_words[i];
        own_last[k] = last_words[i];
    }
    uint rest = lane + OWN * gl_WorkGroupSize.x;
    float scale = 1.0, sum = 0.0;
    if (op.has_first != 0) {
        for (uint k = 0; k < OWN; k++) {
            if (lane + k * gl_WorkGroupSize.x < op.width)
                sum = fma(own[k], own[k], sum);
        }
        for (uint i = rest; i < op.width; i += gl_WorkGroupSize.x)
            sum = fma(x[first + i], x[first + i], sum);
        scale = row_scale(reduce_sum(sum), op.first_eps);
        sum = 0.0;
    }
    for (uint k = 0; k < OWN; k++) {
        uint i = lane + k * gl_WorkGroupSize.x;
        if (i < op.width) {
            own[k] = add_branch(first + i, own[k], own_residual[k], own_first[k], scale);
            sum = fma(own[k], own[k], sum);
        }
    }
    for (uint i = rest; i < op.width; i += gl_WorkGroupSize.x) {
        float total = add_branch(first + i, x[first + i], residual[first + i], first_words[i], scale);
        sum = fma(total, total, sum);
    }
    if (op.has_last == 0)
        return;
    scale = row_scale(reduce_sum(sum), op.last_eps);
    for (uint k = 0; k < OWN; k++) {
        uint i = lane + k * gl_WorkGroupSize.x;
        if (i < op.width)
            store_last(first + i, own[k], own_last[k], scale);
    }
    for (uint i = rest; i < op.width; i += gl_WorkGroupSize.x)
        store_last(first + i, sum_y[first + i], last_words[i], scale);
}
