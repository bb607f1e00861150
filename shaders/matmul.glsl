/* What both matmul shaders share: the bindings, and the dot products of ROWS rows of W with TILE rows of x, so that each
 * weight is decoded once for TILE products and each x loaded once for ROWS. A sum's order depends on neither. */
layout(constant_id = 3) const uint BIAS_DTYPE = DTYPE_F32;
layout(constant_id = 4) const uint TILE = 1;
layout(constant_id = 6) const uint ROWS = 1;

layout(push_constant) uniform Push
{
    dispatch_params dispatch;
    matmul_params op;
};
layout(set = 0, binding = 3) readonly buffer Input
{
    vec4 x4[]; /* 16-byte loads: four times as fast as single words on llvmpipe */
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

float x_at(uint i)
{
    return x4[i >> 2][i & 3];
}

/* sum[r][t] = what the units first_unit, first_unit + step, … of row o[r] of the slice add to W[o[r]] x[first_row + t]. Rows
 * past the batch's last repeat it; their sums are not stored. */
void dot_rows(uint o[ROWS], uint first_row, uint first_unit, uint step, out float sum[ROWS][TILE])
{
    uint row[ROWS], unit0[ROWS], x_row[TILE];
    for (uint t = 0; t < TILE; t++)
        x_row[t] = min(first_row + t, dispatch.n_rows - 1) * op.n_in;
    for (uint r = 0; r < ROWS; r++) {
        unit0[r] = first_row_unit(o[r], op.n_in, row[r]);
        for (uint t = 0; t < TILE; t++)
            sum[r][t] = 0.0;
    }
    /* Units want rows of x that start at a multiple of 4; a transposed matrix has none. */
    uint n_units = VARIANT == VARIANT_TRANSPOSE_B || op.n_in % 4 != 0 ? 0 : row_units(op.n_in);
    for (uint unit = first_unit; unit < n_units; unit += step) {
        vec4 a[ROWS], b[ROWS];
        for (uint r = 0; r < ROWS; r++)
            decode_unit(row[r], unit0[r] + unit, a[r], b[r]);
        for (uint t = 0; t < TILE; t++) {
            uint i = (x_row[t] + unit_first(unit)) / 4;
            vec4 xa = x4[i], xb = x4[i + UNIT_STEP / 4];
            for (uint r = 0; r < ROWS; r++)
                sum[r][t] += dot(a[r], xa) + dot(b[r], xb);
        }
    }
    /* Element by element what the units left. */
    for (uint i = n_units * 8 + first_unit; i < op.n_in; i += step) {
        for (uint r = 0; r < ROWS; r++) {
#if VARIANT == VARIANT_TRANSPOSE_B
            float w = decode_at(i, o[r], op.n_in, op.n_in);
#else
            float w = decode_at(o[r], i, dispatch.count, op.n_in);
#endif
            for (uint t = 0; t < TILE; t++)
                sum[r][t] += w * x_at(x_row[t] + i);
        }
    }
}

#include "bias.glsl"

/* o: row of the slice. */
void store_output(uint row, uint o, float sum)
{
    o += dispatch.first;
    store(row * op.n_out + o, op.n_out, op.has_bias != 0 ? sum + bias(o) : sum);
}
