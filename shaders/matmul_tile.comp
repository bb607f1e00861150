/* y = W x + bias for many rows of x, in f32. A workgroup has 256 lanes; each computes 4 rows x 4 outputs. */
#version 450
#extension GL_GOOGLE_include_directive : require
#include "matmul_tile.glsl"

const uint CHUNK = 32;
const uint STRIDE = CHUNK / 4 + 1; /* vec4s of a row of a tile; odd, so that rows start in different banks */
const uint SIDE = 16;              /* lanes along each side of the block */
const uint OWN = BLOCK / SIDE;     /* outputs of a lane, and as many rows */

shared vec4 x_tile[ROWS * STRIDE], w_tile[BLOCK * STRIDE];

/* Elements k … k + 3 of a row of x. Rows past the last one repeat it; elements past the end are 0. */
vec4 input_quad(uint row, uint k)
{
    return k < op.n_in ? x4[(min(row, dispatch.n_rows - 1) * op.n_in + k) / 4] : vec4(0.0);
}

void load_tiles(uint row, uint o, uint k)
{
    for (uint i = gl_LocalInvocationID.x; i < ROWS * CHUNK / 4; i += gl_WorkGroupSize.x)
        x_tile[i / (CHUNK / 4) * STRIDE + i % (CHUNK / 4)] = input_quad(row + i / (CHUNK / 4), k + i % (CHUNK / 4) * 4);
    const uint parts = CHUNK / 4 / QUADS; /* of a row */
    for (uint i = gl_LocalInvocationID.x; i < BLOCK * parts; i += gl_WorkGroupSize.x) {
        vec4 a, b;
        uint to = i / parts * STRIDE, at = first_of_part(i % parts);
        weight_quads(o + i / parts, k, i % parts, a, b);
        w_tile[to + at / 4] = a;
        if (QUADS == 2)
            w_tile[to + (at + UNIT_STEP) / 4] = b;
    }
}

void main()
{
    uint row = first_row(), o = first_output();
    if (row >= dispatch.n_rows)
        return;
    uint own_row = gl_LocalInvocationID.x / SIDE, own_o = gl_LocalInvocationID.x % SIDE;
    float sum[OWN][OWN];
    for (uint r = 0; r < OWN; r++) {
        for (uint c = 0; c < OWN; c++)
            sum[r][c] = 0.0;
    }
    for (uint k = 0; k < op.n_in; k += CHUNK) {
        load_tiles(row, o, k);
        barrier();
        for (uint i = 0; i < CHUNK / 4; i++) {
            vec4 w[OWN];
            for (uint c = 0; c < OWN; c++)
                w[c] = w_tile[(own_o + c * SIDE) * STRIDE + i];
            for (uint r = 0; r < OWN; r++) {
                vec4 x = x_tile[(own_row + r * SIDE) * STRIDE + i];
                for (uint c = 0; c < OWN; c++)
                    sum[r][c] += dot(x, w[c]);
            }
        }
        barrier();
    }
    for (uint r = 0; r < OWN; r++) {
        for (uint c = 0; c < OWN; c++)
            store_output(row + own_row + r * SIDE, o + own_o + c * SIDE, sum[r][c]);
    }
}
