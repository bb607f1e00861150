/* What the matmul shaders share: the bindings, what becomes of a result, and the dot products of ROWS rows of W with TILE rows of x, so that each
 * weight is decoded once for TILE products and each x loaded once for ROWS. A sum's order depends on neither. */
#define EPILOGUE_NONE 0
#define EPILOGUE_GLU 1
#define EPILOGUE_SOFTCAP 2
#ifndef EPILOGUE
#define EPILOGUE EPILOGUE_NONE
#endif

layout(constant_id = 4) const uint TILE = 1;
layout(constant_id = 6) const uint ROWS = 1;
layout(constant_id = 9) const uint BY_BLOCK = 0; /* 1: a lane takes whole blocks of 32, where the dtype has such */

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

/* Adds what the blocks of 32 first_block, first_block + step, … give. The block's scale is decoded once. */
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

/* The words of a unit of 16 bytes, in one load. */
const bool HAS_WIDE_UNITS = WIDE != 0 && (DTYPE == DTYPE_F16 || DTYPE == DTYPE_BF16);

/* Units that a lane has in flight: their loads are issued before the first is used. */
const uint AHEAD = 4;

void add_unit(vec4 a, vec4 b, uint x_row[TILE], uint unit, uint r, inout float sum[ROWS][TILE])
{
    for (uint t = 0; t < TILE; t++) {
        uint i = (x_row[t] + unit_first(unit)) / 4;
        sum[r][t] += dot(a, x4[i]) + dot(b, x4[i + UNIT_STEP / 4]);
    }
}

/* The units of a row of halves. Returns the first unit that is left. */
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

/* Byte from the matrix that row r of a lane or group lies in to the one that is bound. */
uint base(uint r)
{
#if EPILOGUE == EPILOGUE_GLU
    return r < ROWS / 2 ? 0 : op.second;
#else
    return 0;
#endif
}

/* Element by element, as a fault reads weights and x (model/variants.h), or the right way. o: row of the slice. */
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

/* sum[r][t] = what the units first_unit, first_unit + step, … of row o[r] of the slice add to W[o[r]] x[first_row + t].
 * Rows past the batch's last repeat it; their sums are not stored. */
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
    /* Units want rows of x that start at a multiple of 4; and the matrix as it lies. */
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
    /* Element by element what the units left. */
    for (uint i = n_units * 8 + first_unit; i < op.n_in; i += step) {
        for (uint r = 0; r < ROWS; r++) {
            float w = weight_at(o[r], i);
            for (uint t = 0; t < TILE; t++)
                sum[r][t] += w * input_at(x_row[t], i);
        }
    }
}

#include "bias.glsl"

/* What becomes of the sums of one output: o, row of the slice, of x's row. */
#if EPILOGUE == EPILOGUE_GLU
layout(set = 0, binding = 6) writeonly buffer GateOutput
{
    float gate_y[];
};
layout(set = 0, binding = 7) writeonly buffer UpOutput
{
    float up_y[];
};
const uint OUTPUTS = ROWS / 2; /* of a lane or group: it has the rows of gate, then those of up */
#else
const uint OUTPUTS = ROWS;
#endif
#if EPILOGUE == EPILOGUE_SOFTCAP
layout(set = 0, binding = 6) writeonly buffer CappedOutput
{
    float capped_y[];
};
#endif

/* The matrix row of each sum, of outputs o[] of the slice. */
void find_rows(uint o[OUTPUTS], out uint row[ROWS])
{
    for (uint r = 0; r < ROWS; r++)
        row[r] = o[r % OUTPUTS];
}

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
