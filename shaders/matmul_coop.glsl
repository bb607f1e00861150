/* y = W x + bias for many rows of x, with cooperative matrices: products of halves, summed in f32. Each value of x is split into
 * two halves, x = (high + low) / scale, which hold about 22 bits together. A weight that is not a half is split as well. The
 * error of the split is smaller than the rounding of f32 sums, so the result is declared and judged as f32. `scale` brings the
 * largest value of a chunk of x to the top of a half's range; op.scale does so for the matrix.
 *
 * The hardware truncates when it adds; it does not round. So it sums only one chunk, and the chunks are added in ordinary f32.
 * The 256 lanes form eight subgroups of 32: two along the rows, four across the block. cooperative.glsl explains the matrices. */
#include "matmul_tile.glsl"
#include "cooperative.glsl"

const uint CHUNK = 64;
const uint STRIDE = CHUNK / 4 + 2; /* uvec2s of a row of a tile, with 16 spare bytes that avoid bank conflicts */
const uint LANES = 256, SUBGROUPS = LANES / 32; /* full ones of 32 lanes, as engine/device/cooperative.c requires */
const uint ACROSS = BLOCK / 16;  /* subgroups across the block */
const uint TALL = ROWS / 2 / 16; /* matrices of a subgroup, one below the other; each has 16 rows */
const bool SPLIT = DTYPE != DTYPE_F16;      /* a weight is split into two halves */
const uint X_OWN = ROWS * CHUNK / 4 / LANES;  /* vec4s of x that a lane loads */
const uint PARTS = CHUNK / 4 / QUADS;       /* of a row of weights; a lane loads W_OWN parts */
const uint W_OWN = BLOCK * PARTS / LANES;

shared uvec2 x_high[ROWS * STRIDE], x_low[ROWS * STRIDE], w_high[BLOCK * STRIDE], w_low[BLOCK * STRIDE];
shared uvec4 largest[SUBGROUPS / 4]; /* [subgroup] bits of the largest magnitude in the chunk */
shared float staged[SUBGROUPS * 256];

/* v rounded to the precision of a half, by its bits: on an H200, v - unpackHalf2x16(packHalf2x16(v)) came out wrong. It is
 * rounded to nearest, so that the product of two low halves, which is left out, is at most 2^-22 of the whole. */
vec4 high_part(vec4 v)
{
    return uintBitsToFloat((floatBitsToUint(v) + 0x1000u) & 0xffffe000u);
}

uvec2 pack4(vec4 v)
{
    return uvec2(packHalf2x16(v.xy), packHalf2x16(v.zw));
}

/* The bits of the largest finite magnitude. Magnitudes are ordered as their bits are. */
uint largest_finite(vec4 v)
{
    uvec4 a = floatBitsToUint(v) & 0x7fffffffu;
    a = mix(a, uvec4(0), greaterThan(a, uvec4(0x7f7fffffu)));
    return max(max(a.x, a.y), max(a.z, a.w));
}

/* The power of two that brings the value with these bits into [2^13, 2^14). */
float scale_for(uint most)
{
    int exponent = int(most >> 23) - 127;
    return most == 0 ? 1.0 : uintBitsToFloat(uint(clamp(13 - exponent, -120, 120) + 127) << 23);
}

/* 1 / scale for a power of two. It is exact; a division need not be. */
float inverse_power(float scale)
{
    return uintBitsToFloat((254u << 23) - floatBitsToUint(scale));
}

/* Stores the subgroup's largest magnitude. chunk_scale reads it behind the next barrier. */
void share_largest(vec4 x[X_OWN])
{
    uint most = 0;
    for (uint i = 0; i < X_OWN; i++)
        most = max(most, largest_finite(x[i]));
    most = subgroupMax(most);
    if (subgroupElect())
        largest[gl_SubgroupID / 4][gl_SubgroupID % 4] = most;
}

float chunk_scale()
{
    uvec4 most = max(largest[0], largest[1]);
    return scale_for(max(max(most.x, most.y), max(most.z, most.w)));
}

/* Prefetch the next chunk; don't touch it until this one is multiplied, because that would wait for the loads. Past a row's end
 * we load k = 0; clear_inputs and share_weights zero it. */
void load_inputs(uint row, uint k, out vec4 x[X_OWN])
{
    k += gl_LocalInvocationID.x % (CHUNK / 4) * 4;
    for (uint i = 0; i < X_OWN; i++) {
        uint from = min(row + (gl_LocalInvocationID.x + i * LANES) / (CHUNK / 4), dispatch.n_rows - 1);
        x[i] = x4[(from * op.n_in + (k < op.n_in ? k : 0)) / 4];
    }
}

void clear_inputs(uint k, inout vec4 x[X_OWN])
{
    if (k + gl_LocalInvocationID.x % (CHUNK / 4) * 4 < op.n_in)
        return;
    for (uint i = 0; i < X_OWN; i++)
        x[i] = vec4(0.0);
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

/* A lane's prefetched weights: raw words, or decoded values for formats that cannot be decoded later. */
struct fetched {
    uvec4 raw[W_OWN];
    vec4 a[W_OWN], b[W_OWN];
};

void fetch_weights(uint o, uint k, out fetched w)
{
    for (uint i = 0; i < W_OWN; i++) {
        uint at = gl_LocalInvocationID.x + i * LANES;
        if (!IS_LATE) {
            weight_quads(o + at / PARTS, k, at % PARTS, w.a[i], w.b[i]);
            continue;
        }
        uint first = k + first_of_part(at % PARTS), row = weight_row(o + at / PARTS);
        first = first < op.n_in ? first : 0;
        w.raw[i] = IS_16_BITS && WIDE != 0 ? wide_words[(row + first * 2) >> 4] : load_unit(row, unit_of(first));
    }
}

void share_quad(uint to, vec4 w)
{
    w *= op.scale;
    vec4 high = high_part(w);
    w_high[to] = pack4(high);
    w_low[to] = pack4(w - high);
}

void share_weights(uint k, fetched w)
{
    for (uint i = 0; i < W_OWN; i++) {
        uint at = gl_LocalInvocationID.x + i * LANES, to = at / PARTS * STRIDE, first = first_of_part(at % PARTS);
        bool inside = k + first < op.n_in;
        if (!SPLIT) {
            uvec4 raw = inside ? w.raw[i] : uvec4(0);
            w_high[to + first / 4] = raw.xy;
            w_high[to + first / 4 + 1] = raw.zw;
            continue;
        }
        vec4 a = w.a[i], b = w.b[i];
        if (IS_LATE)
            decode_loaded(w.raw[i], unit_of(k + first), a, b);
        share_quad(to + first / 4, inside ? a : vec4(0.0));
        if (QUADS == 2)
            share_quad(to + (first + UNIT_STEP) / 4, inside ? b : vec4(0.0));
    }
}

SUMS chunk[TALL]; /* global: as an inout parameter, an array of KHR matrices came back unchanged on an H200 (driver 580) */

/* chunk[] += the products of this subgroup's part of the block. */
void multiply(uint x_first, uint w_first)
{
    for (uint k = 0; k < CHUNK / 4; k += 4) {
        HALVES_A x[TALL], low[TALL];
        HALVES_B w;
        for (uint r = 0; r < TALL; r++) {
            LOAD_ROWS(x[r], x_high, (x_first + r * 16) * STRIDE + k, STRIDE);
            LOAD_ROWS(low[r], x_low, (x_first + r * 16) * STRIDE + k, STRIDE);
        }
        LOAD_COLUMNS(w, w_high, w_first * STRIDE + k, STRIDE);
        for (uint r = 0; r < TALL; r++) {
            chunk[r] = MULTIPLY_ADD(low[r], w, chunk[r]);
            chunk[r] = MULTIPLY_ADD(x[r], w, chunk[r]);
        }
        if (!SPLIT)
            continue;
        LOAD_COLUMNS(w, w_low, w_first * STRIDE + k, STRIDE);
        for (uint r = 0; r < TALL; r++)
            chunk[r] = MULTIPLY_ADD(x[r], w, chunk[r]);
    }
}

void main()
{
    uint row = first_row(), o = first_output();
    if (row >= dispatch.n_rows)
        return;
    uint x_first = gl_SubgroupID / ACROSS * (ROWS / 2), w_first = gl_SubgroupID % ACROSS * 16;
    SUMS sum[TALL];
    for (uint r = 0; r < TALL; r++)
        sum[r] = ALL_SUMS(0.0);
    vec4 x[X_OWN];
    fetched w;
    load_inputs(row, 0, x);
    fetch_weights(o, 0, w);
    for (uint k = 0; k < op.n_in; k += CHUNK) {
        clear_inputs(k, x);
        share_largest(x);
        barrier(); /* the tiles of the previous chunk have been read */
        float scale = chunk_scale();
        share_inputs(x, scale);
        share_weights(k, w);
        barrier();
        if (k + CHUNK < op.n_in) {
            load_inputs(row, k + CHUNK, x);
            fetch_weights(o, k + CHUNK, w);
        }
        for (uint r = 0; r < TALL; r++)
            chunk[r] = ALL_SUMS(0.0);
        multiply(x_first, w_first);
        for (uint r = 0; r < TALL; r++)
            sum[r] = ADD(sum[r], TIMES(chunk[r], inverse_power(scale)));
    }
    for (uint r = 0; r < TALL; r++) {
        barrier(); /* `staged` has been read */
        STORE_ROWS(sum[r], staged, gl_SubgroupID * 256, 16);
        barrier();
        for (uint i = gl_SubgroupInvocationID; i < 256; i += gl_SubgroupSize)
            store_output(row + x_first + r * 16 + i / 16, o + w_first + i % 16,
                         staged[gl_SubgroupID * 256 + i] * inverse_power(op.scale));
    }
}
