/* What the shaders of experts' products share: the bindings, the dot product of a row, and the store of its result. A slot is
 * an index into [n_rows, k]: a row and one of its experts. */
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

/* The sum over units first_unit, first_unit + step, … of row o of the slice, and over the elements behind the last unit. */
float dot_row(uint o, uint first_x, uint first_unit, uint step)
{
    float sum = 0.0;
    uint row, unit0 = first_row_unit(o, op.n_in, row), n_units = row_units(op.n_in);
    for (uint unit = first_unit; unit < n_units; unit += step) {
        vec4 a, b;
        decode_unit(row, unit0 + unit, a, b);
        uint i = first_x + unit_first(unit), j = i + UNIT_STEP;
        sum += dot(a, vec4(x[i], x[i + 1], x[i + 2], x[i + 3])) + dot(b, vec4(x[j], x[j + 1], x[j + 2], x[j + 3]));
    }
    for (uint i = n_units * 8 + first_unit; i < op.n_in; i += step)
        sum += decode_at(o, i, dispatch.count, op.n_in) * x[first_x + i];
    return sum;
}

/* The slice's row for output o of a slot's expert. false: another slice holds it. */
bool slice_row(uint slot, uint o, out uint row)
{
    uint e = min(uint(expert[slot]), op.n_experts - 1);
    row = e * op.n_out + o - dispatch.first;
    return row < dispatch.count; /* unsigned, so a row before the slice also fails */
}

uint input_start(uint slot)
{
    return (op.shared_x != 0 ? slot / op.k : slot) * op.n_in;
}

void store_sum(uint slot, uint o, uint row, float sum)
{
    store(slot * op.n_out + o, op.k * op.n_out, op.has_bias != 0 ? sum + bias(dispatch.first + row) : sum);
}
