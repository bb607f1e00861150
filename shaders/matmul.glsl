/* What the matmul shaders share: the bindings, the dot products of ROWS rows of W with TILE rows of x, and the store of the
 * results. Each weight is decoded once for TILE products, and each x is loaded once for ROWS products. The order of a sum
 * depends on neither. */
#define EPILOGUE_NONE 0
#define EPILOGUE_GLU 1
#define EPILOGUE_SOFTCAP 2
#ifndef EPILOGUE
#define EPILOGUE EPILOGUE_NONE
#endif

layout(constant_id = 4) const uint TILE = 1;
layout(constant_id = 6) const uint ROWS = 1;
layout(constant_id = 9) const uint BY_BLOCK = 0; /* 1: a lane takes whole blocks of 32, if the dtype has them */

layout(push_constant) uniform Push
{
    dispatch_params dispatch;
#if EPILOGUE == EPILOGUE_GLU
    matmul_glu_params op;
#elif EPILOGUE == EPILOGUE_SOFTCAP
    matmul_softcap_params op;
#else
    matmul_params op;
#endif
};
#include "matrix.glsl"
#if EPILOGUE != EPILOGUE_NONE
#include "math.glsl"
#include "activation.glsl"
#endif

float x_at(uint i)
{
    return x4[i >> 2][i & 3];
}

/* Adds the products of blocks first_block, first_block + step, … of 32 weights. A block's scale is decoded once. */
void add_blocks(uint row[ROWS], uint x_row[TILE], uint first_block, uint step, inout float sum[ROWS][TILE])
{
    for (uint block = first_block; block < op.n_in / 32; block += step) {
        for (uint t = 0; t < TILE; t++) {
            uint i = x_row[t] / 4 + block * 8;
            vec4 x[8] = {x4[i], x4[i + 1], x4[i + 2], x4[i + 3], x4[i + 4], x4[i + 5], x4[i + 6], x4[i + 7]};
            for (uint r = 0; r < ROWS; r++) {
                vec4 w[8];
                decode_block(row[r], block, w);
                for (uint k = 0; k < 8; k++)
                    sum[r][t] += dot(w[k], x[k]);
            }
        }
    }
}

/* Whether a unit is 16 bytes that one load can read. */
const bool HAS_WIDE_UNITS = WIDE != 0 && (DTYPE == DTYPE_F16 || DTYPE == DTYPE_BF16);

/* Units that a lane loads before it uses the first of them. */
const uint AHEAD = 4;

void add_unit(vec4 a, vec4 b, uint x_row[TILE], uint unit, uint r, inout float sum[ROWS][TILE])
{
    for (uint t = 0; t < TILE; t++) {
        uint i = (x_row[t] + unit_first(unit)) / 4;
        sum[r][t] += dot(a, x4[i]) + dot(b, x4[i + UNIT_STEP / 4]);
    }
}

/* Adds the products of 16-bit units, `step` apart. Returns the first unit that is left. */
uint add_wide_units(uint row[ROWS], uint x_row[TILE], uint unit, uint step, uint n_units, inout float sum[ROWS][TILE])
{
    for (; unit + (AHEAD - 1) * step < n_units; unit += AHEAD * step) {
        uvec4 w[AHEAD][ROWS];
        for (uint k = 0; k < AHEAD; k++) {
            for (uint r = 0; r < ROWS; r++)
                w[k][r] = wide_words[(row[r] >> 4) + unit + k * step];
        }
        for (uint k = 0; k < AHEAD; k++) {
            for (uint r = 0; r < ROWS; r++) {
                vec4 a, b;
                decode_loaded(w[k][r], 0, a, b);
                add_unit(a, b, x_row, unit + k * step, r, sum);
            }
        }
    }
    for (; unit < n_units; unit += step) {
        for (uint r = 0; r < ROWS; r++) {
            vec4 a, b;
            decode_loaded(wide_words[(row[r] >> 4) + unit], 0, a, b);
            add_unit(a, b, x_row, unit, r, sum);
        }
    }
    return unit;
}

/* Bytes from the bound matrix to the matrix that row r belongs to: gate comes first, then up. */
uint base(uint r)
{
#if EPILOGUE == EPILOGUE_GLU
    return r < ROWS / 2 ? 0 : op.second;
#else
    return 0;
#endif
}

/* A weight as a fault reads it (model/variants.h), or the right one. o: row of the slice. */
float weight_at(uint o, uint i)
{
#ifdef VARIANT_TRANSPOSE_B
    return decode_at(i, o, op.n_in, op.n_in);
#elif defined(VARIANT_COLUMNS_MIXED)
    float other = (o ^ 1) < dispatch.count ? decode_at(o ^ 1, i, dispatch.count, op.n_in) : 0.0;
    return decode_at(o, i, dispatch.count, op.n_in) + other;
#else
    return decode_at(o, i, dispatch.count, op.n_in);
#endif
}

float input_at(uint first, uint i)
{
#ifdef VARIANT_READ_AS_F16
    return half_float((floatBitsToUint(x_at(first + i / 2)) >> (i % 2 * 16)) & 0xffff);
#else
    return x_at(first + i);
#endif
}

#if defined(VARIANT_TRANSPOSE_B) || defined(VARIANT_COLUMNS_MIXED) || defined(VARIANT_READ_AS_F16)
const bool BY_ELEMENT = true;
#else
const bool BY_ELEMENT = false;
#endif

/* sum[r][t] = the part of W[o[r]] x[first_row + t] that units first_unit, first_unit + step, … contribute. o: rows of the slice.
 * Rows of x past the last one repeat it; their sums are not stored. */
void dot_rows(uint o[ROWS], uint first_row, uint first_unit, uint step, out float sum[ROWS][TILE])
{
    uint row[ROWS], unit0[ROWS], x_row[TILE];
    for (uint t = 0; t < TILE; t++)
        x_row[t] = min(first_row + t, dispatch.n_rows - 1) * op.n_in;
    for (uint r = 0; r < ROWS; r++) {
        unit0[r] = first_row_unit(o[r], op.n_in, row[r]);
        row[r] += base(r);
        for (uint t = 0; t < TILE; t++)
            sum[r][t] = 0.0;
    }
    if (BY_BLOCK != 0 && HAS_BLOCKS && !BY_ELEMENT) {
        add_blocks(row, x_row, first_unit, step, sum);
        return;
    }
    /* Units need rows of x that start at a multiple of 4 values, and weights that no fault changes. */
    uint n_units = BY_ELEMENT || op.n_in % 4 != 0 ? 0 : row_units(op.n_in);
    uint unit = first_unit;
    if (HAS_WIDE_UNITS)
        unit = add_wide_units(row, x_row, unit, step, n_units, sum);
    for (; unit < n_units; unit += step) {
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
    /* The elements behind the last unit, one by one. */
    for (uint i = n_units * 8 + first_unit; i < op.n_in; i += step) {
        for (uint r = 0; r < ROWS; r++) {
            float w = weight_at(o[r], i);
            for (uint t = 0; t < TILE; t++)
                sum[r][t] += w * input_at(x_row[t], i);
        }
    }
}

#include "bias.glsl"

#if EPILOGUE == EPILOGUE_GLU
layout(set = 0, binding = 6) writeonly buffer GateOutput
{
    float gate_y[];
};
layout(set = 0, binding = 7) writeonly buffer UpOutput
{
    float up_y[];
};
const uint OUTPUTS = ROWS / 2; /* of a lane or workgroup: its first rows are gate's, the others are up's */
#else
const uint OUTPUTS = ROWS;
#endif
#if EPILOGUE == EPILOGUE_SOFTCAP
layout(set = 0, binding = 6) writeonly buffer CappedOutput
{
    float capped_y[];
};
#endif

/* The matrix rows of outputs o[] of the slice. */
void find_rows(uint o[OUTPUTS], out uint row[ROWS])
{
    for (uint r = 0; r < ROWS; r++)
        row[r] = o[r % OUTPUTS];
}

/* Stores output o of the slice for a row of x. second: the product with up. */
void store_output(uint row, uint o, float sum, float second)
{
    o += dispatch.first;
    uint at = row * op.n_out + o;
    if (op.has_bias != 0)
        sum += bias(o);
#if EPILOGUE == EPILOGUE_GLU
    gate_y[at] = sum;
    up_y[at] = second;
    store(at, op.n_out, activated(op.activation, sum) * second);
#else
    store(at, op.n_out, sum);
#endif
#if EPILOGUE == EPILOGUE_SOFTCAP
    capped_y[at] = op.cap == 0.0 ? sum : op.cap * tanh_exact(divide(sum, op.cap));
#endif
}
