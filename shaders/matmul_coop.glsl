/* y = W x + bias for many rows of x on cooperative matrices: products of halves, summed in f32. A value of x is two halves,
 * x = (high + low) / scale with some 22 bits between them, and so is a weight that is not a half already: what is left out
 * is less than what f32 sums round away, so this is declared as f32 and judged as such. `scale` brings the largest
 * value of a chunk of x to the top of what a half can be; op.scale does the same for the matrix.
 *
 * These units add with truncation, not rounding. So a sum runs in them over one chunk only, and the chunks are added in f32
 * proper. 256 lanes in eight subgroups of 32, each an eighth of the block. cooperative.glsl says what a matrix is. */
#include "matmul_tile.glsl"
#include "cooperative.glsl"

const uint CHUNK = 64;
const uint STRIDE = CHUNK / 4 + 2; /* uvec2s of a row of a tile: 16 bytes more than it needs, against bank conflicts */
const uint LANES = 256;
const uint ACROSS = LANES / 64;        /* subgroups side by side: each 32 rows times 64 / ACROSS outputs */
const uint COLUMNS = BLOCK / 16 / ACROSS; /* matrices of a subgroup, of each of its two rows of them */
const bool SPLIT = DTYPE != DTYPE_F16;      /* weights take two halves */
const uint X_OWN = BLOCK * CHUNK / 4 / LANES; /* quads that a lane loads */
const uint PARTS = CHUNK / 4 / QUADS;       /* of a row of weights */
const uint W_OWN = BLOCK * PARTS / LANES;

shared uvec2 x_high[BLOCK * STRIDE], x_low[BLOCK * STRIDE], w_high[BLOCK * STRIDE];
shared uvec2 w_low[BLOCK * STRIDE];
shared float largest[LANES];
shared float staged[LANES / 32 * 256];

/* v rounded to what a half holds, by its bits: what unpackHalf2x16(packHalf2x16(v)) leaves over came out wrong on an H200. To
 * nearest, so that the product of two rests, which is left out, is 2^-22 of the whole at most. */
vec4 high_part(vec4 v)
{
    return uintBitsToFloat((floatBitsToUint(v) + 0x1000u) & 0xffffe000u);
}

uvec2 pack4(vec4 v)
{
    return uvec2(packHalf2x16(v.xy), packHalf2x16(v.zw));
}

float largest_finite(vec4 v)
{
    vec4 a = mix(abs(v), vec4(0.0), greaterThan(floatBitsToUint(v) & 0x7fffffffu, uvec4(0x7f7fffffu)));
    return max(max(a.x, a.y), max(a.z, a.w));
}

/* The power of two that brings `most` between 2^13 and 2^14. */
float scale_for(float most)
{
    int exponent = int(floatBitsToUint(most) >> 23) - 127;
    return most == 0.0 ? 1.0 : uintBitsToFloat(uint(clamp(13 - exponent, -120, 120) + 127) << 23);
}

/* 1 / scale, exactly: division may err. */
float inverse_power(float scale)
{
    return uintBitsToFloat((254u << 23) - floatBitsToUint(scale));
}

float chunk_scale(vec4 x[X_OWN])
{
    float most = 0.0;
    for (uint i = 0; i < X_OWN; i++)
        most = max(most, largest_finite(x[i]));
    most = subgroupMax(most);
    if (subgroupElect())
        largest[gl_SubgroupID] = most;
    barrier(); /* and the tiles of the chunk before have been read */
    most = largest[0];
    for (uint i = 1; i < gl_NumSubgroups; i++)
        most = max(most, largest[i]);
    return scale_for(most);
}

void load_inputs(uint row, uint k, out vec4 x[X_OWN])
{
    for (uint i = 0; i < X_OWN; i++) {
        uint at = gl_LocalInvocationID.x + i * LANES;
        x[i] = input_quad(row + at / (CHUNK / 4), k + at % (CHUNK / 4) * 4);
    }
}

void share_inputs(vec4 x[X_OWN], float scale)
{
    for (uint i = 0; i < X_OWN; i++) {
        uint at = gl_LocalInvocationID.x + i * LANES, to = at / (CHUNK / 4) * STRIDE + at % (CHUNK / 4);
        vec4 scaled = x[i] * scale;
        vec4 high = high_part(scaled);
        x_high[to] = pack4(high);
        x_low[to] = pack4(scaled - high);
    }
}

/* What a lane fetches of a chunk of weights, ahead of its use: halves as they lie, or decoded. */
struct fetched {
    uvec4 raw[W_OWN];
    vec4 a[W_OWN], b[W_OWN];
};

uvec4 fetch_halves(uint o, uint k)
{
    if (k >= op.n_in)
        return uvec4(0);
    uint at = (min(o, dispatch.count - 1) * op.n_in + k) * 2;
    return WIDE != 0 ? wide_words[at >> 4] : uvec4(load32(at), load32(at + 4), load32(at + 8), load32(at + 12));
}

void fetch_weights(uint o, uint k, out fetched w)
{
    for (uint i = 0; i < W_OWN; i++) {
        uint at = gl_LocalInvocationID.x + i * LANES;
        if (SPLIT)
            weight_quads(o + at / PARTS, k, at % PARTS, w.a[i], w.b[i]);
        else
            w.raw[i] = fetch_halves(o + at / PARTS, k + at % PARTS * 8);
    }
}

void share_quad(uint to, vec4 w)
{
    w *= op.scale;
    vec4 high = high_part(w);
    w_high[to] = pack4(high);
    w_low[to] = pack4(w - high);
}

void share_weights(fetched w)
{
    for (uint i = 0; i < W_OWN; i++) {
        uint at = gl_LocalInvocationID.x + i * LANES, to = at / PARTS * STRIDE;
        if (!SPLIT) {
            w_high[to + at % PARTS * 2] = w.raw[i].xy;
            w_high[to + at % PARTS * 2 + 1] = w.raw[i].zw;
            continue;
        }
        uint at_a = first_of_part(at % PARTS);
        share_quad(to + at_a / 4, w.a[i]);
        if (QUADS == 2)
            share_quad(to + (at_a + UNIT_STEP) / 4, w.b[i]);
    }
}

SUMS chunk[2][COLUMNS]; /* not a parameter: an array of KHR's matrices came back as it went in, on an H200 (driver 580) */

/* chunk[][] += the eighth of the block that this subgroup has. */
void multiply(uint x_first, uint w_first)
{
    for (uint k = 0; k < CHUNK / 4; k += 4) {
        HALVES_A x[2], low[2];
        HALVES_B w[COLUMNS];
        for (uint i = 0; i < 2; i++) {
            LOAD_ROWS(x[i], x_high, (x_first + i * 16) * STRIDE + k, STRIDE);
            LOAD_ROWS(low[i], x_low, (x_first + i * 16) * STRIDE + k, STRIDE);
        }
        for (uint c = 0; c < COLUMNS; c++)
            LOAD_COLUMNS(w[c], w_high, (w_first + c * 16) * STRIDE + k, STRIDE);
        for (uint r = 0; r < 2; r++) {
            for (uint c = 0; c < COLUMNS; c++) {
                chunk[r][c] = MULTIPLY_ADD(low[r], w[c], chunk[r][c]);
                chunk[r][c] = MULTIPLY_ADD(x[r], w[c], chunk[r][c]);
            }
        }
        if (!SPLIT)
            continue;
        for (uint c = 0; c < COLUMNS; c++) {
            LOAD_COLUMNS(w[c], w_low, (w_first + c * 16) * STRIDE + k, STRIDE);
            for (uint r = 0; r < 2; r++)
                chunk[r][c] = MULTIPLY_ADD(x[r], w[c], chunk[r][c]);
        }
    }
}

void main()
{
    uint row = first_row(), o = first_output();
    if (row >= dispatch.n_rows)
        return;
    uint x_first = gl_SubgroupID / ACROSS * 32, w_first = gl_SubgroupID % ACROSS * (BLOCK / ACROSS);
    SUMS sum[2][COLUMNS];
    for (uint r = 0; r < 2; r++) {
        for (uint c = 0; c < COLUMNS; c++)
            sum[r][c] = ALL_SUMS(0.0);
    }
    vec4 x[X_OWN];
    fetched w;
    load_inputs(row, 0, x);
    fetch_weights(o, 0, w);
    for (uint k = 0; k < op.n_in; k += CHUNK) {
        float scale = chunk_scale(x);
        share_inputs(x, scale);
        share_weights(w);
        barrier();
        if (k + CHUNK < op.n_in) {
            load_inputs(row, k + CHUNK, x);
            fetch_weights(o, k + CHUNK, w);
        }
        for (uint r = 0; r < 2; r++) {
            for (uint c = 0; c < COLUMNS; c++)
                chunk[r][c] = ALL_SUMS(0.0);
        }
        multiply(x_first, w_first);
        for (uint r = 0; r < 2; r++) {
            for (uint c = 0; c < COLUMNS; c++)
                sum[r][c] = ADD(sum[r][c], TIMES(chunk[r][c], inverse_power(scale)));
        }
    }
    for (uint r = 0; r < 2; r++) {
        for (uint c = 0; c < COLUMNS; c++) {
            barrier(); /* what was staged before has been stored */
            STORE_ROWS(sum[r][c], staged, gl_SubgroupID * 256, 16);
            barrier();
            for (uint i = gl_SubgroupInvocationID; i < 256; i += gl_SubgroupSize)
                store_output(row + x_first + r * 16 + i / 16, o + w_first + c * 16 + i % 16,
                             staged[gl_SubgroupID * 256 + i] * inverse_power(op.scale));
        }
    }
}
