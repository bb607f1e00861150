/* What both matmul shaders share: the bindings, and the dot products of a row of W with TILE rows of x. */
layout(constant_id = 3) const uint BIAS_DTYPE = DTYPE_F32;
layout(constant_id = 4) const uint TILE = 1; /* rows of x for each weight decoded */

layout(push_constant) uniform Push
{
    dispatch_params dispatch;
    matmul_params op;
};
layout(set = 0, binding = 3) readonly buffer Input
{
    float x[];
};
layout(set = 0, binding = 4) readonly buffer Weights
{
    uint words[];
};
layout(set = 0, binding = 5) readonly buffer Bias
{
    uint bias_words[];
};
#include "weights.glsl"

/* sum[t] = what the units first_unit, first_unit + step, … of row o of the slice add to W[o] x[first_row + t]. Rows past
 * the batch's last repeat it; their sums are not stored. */
void dot_rows(uint o, uint first_row, uint first_unit, uint step, out float sum[TILE])
{
    uint x_row[TILE];
    for (uint t = 0; t < TILE; t++) {
        sum[t] = 0.0;
        x_row[t] = min(first_row + t, dispatch.n_rows - 1) * op.n_in;
    }
#if VARIANT == VARIANT_TRANSPOSE_B
    for (uint i = first_unit; i < op.n_in; i += step) {
        float w = decode_element(i * row_bytes(op.n_in), o);
        for (uint t = 0; t < TILE; t++)
            sum[t] += w * x[x_row[t] + i];
    }
#else
    uint row = o * row_bytes(op.n_in);
    uint n_units = op.n_in / 8;
    for (uint unit = first_unit; unit < n_units; unit += step) {
        vec4 a, b;
        decode_unit(row, unit, a, b);
        for (uint t = 0; t < TILE; t++) {
            uint i = x_row[t] + unit_first(unit), j = i + UNIT_STEP;
            sum[t] += dot(a, vec4(x[i], x[i + 1], x[i + 2], x[i + 3]));
            sum[t] += dot(b, vec4(x[j], x[j + 1], x[j + 2], x[j + 3]));
        }
    }
    /* The rest of a row whose length is no multiple of 8. */
    for (uint i = n_units * 8 + first_unit; i < op.n_in; i += step) {
        float w = decode_element(row, i);
        for (uint t = 0; t < TILE; t++)
            sum[t] += w * x[x_row[t] + i];
    }
#endif
}

float bias(uint o)
{
    if (BIAS_DTYPE == DTYPE_F32)
        return uintBitsToFloat(bias_words[o]);
    uint h = (bias_words[o >> 1] >> ((o & 1) * 16)) & 0xffff;
    return BIAS_DTYPE == DTYPE_F16 ? half_value(h) : uintBitsToFloat(h << 16);
}

/* o: row of the slice. */
void store_output(uint row, uint o, float sum)
{
    o += dispatch.first;
    store(row * op.n_out + o, op.n_out, op.has_bias != 0 ? sum + bias(o) : sum);
}
