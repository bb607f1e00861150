/* y[j] = W[e_j] x + bias[e_j] for each chosen expert e_j. A lane an output: its workgroup is of one row and slot, so that
 * all lanes read the same x. A slice holds some of the rows of [experts, n_out]; the others are another dispatch's. */
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"

layout(constant_id = 3) const uint BIAS_DTYPE = DTYPE_F32;

layout(push_constant) uniform Push
{
    dispatch_params dispatch;
    expert_matmul_params op;
};
layout(set = 0, binding = 3) readonly buffer Input
{
    float x[];
};
layout(set = 0, binding = 4) readonly buffer Experts
{
    float expert[]; /* [n_rows, k] */
};
layout(set = 0, binding = 5) readonly buffer Weights
{
    uint words[];
};
layout(set = 0, binding = 6) readonly buffer Bias
{
    uint bias_words[];
};
#include "weights.glsl"
#include "bias.glsl"

/* o: row of the slice. */
float dot_row(uint o, uint first_x)
{
    float sum = 0.0;
    uint row, unit0 = first_row_unit(o, op.n_in, row), n_units = row_units(op.n_in);
    for (uint unit = 0; unit < n_units; unit++) {
        vec4 a, b;
        decode_unit(row, unit0 + unit, a, b);
        uint i = first_x + unit_first(unit), j = i + UNIT_STEP;
        sum += dot(a, vec4(x[i], x[i + 1], x[i + 2], x[i + 3])) + dot(b, vec4(x[j], x[j + 1], x[j + 2], x[j + 3]));
    }
    for (uint i = n_units * 8; i < op.n_in; i++)
        sum += decode_at(o, i, dispatch.count, op.n_in) * x[first_x + i];
    return sum;
}

void main()
{
    uint tiles = (op.n_out + gl_WorkGroupSize.x - 1) / gl_WorkGroupSize.x;
    uint slot = group_index() / tiles; /* of [n_rows, k] */
    uint o = group_index() % tiles * gl_WorkGroupSize.x + gl_LocalInvocationID.x;
    if (slot >= dispatch.n_rows * op.k || o >= op.n_out)
        return;
    uint e = min(uint(expert[slot]), op.n_experts - 1), row = e * op.n_out + o;
    if (row - dispatch.first >= dispatch.count) /* unsigned: before the slice is past it, too */
        return;
    uint first_x = (op.shared_x != 0 ? slot / op.k : slot) * op.n_in;
    float sum = dot_row(row - dispatch.first, first_x);
    store(slot * op.n_out + o, op.k * op.n_out, op.has_bias != 0 ? sum + bias(row) : sum);
}
