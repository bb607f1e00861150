/* What the tiled matrix products share. They are for many rows of x at once (prefill) on a GPU. A workgroup computes a tile of
 * ROWS rows of x times BLOCK outputs. Both operands go through shared memory, CHUNK elements of each row at a time, so that each
 * weight is decoded once for ROWS rows of x and each x is loaded once for BLOCK outputs. The matrix has LAYOUT_ROWS. */
#include "common.glsl"

const uint ROWS = 64, BLOCK = 64;

layout(push_constant) uniform Push
{
    dispatch_params dispatch;
    matmul_tile_params op;
};
#include "matrix.glsl"
#include "bias.glsl"

/* The first row of x, and the first output of the slice, of this workgroup's tile. */
uint first_row()
{
    return group_index() / ((dispatch.count + BLOCK - 1) / BLOCK) * ROWS;
}

uint first_output()
{
    return group_index() % ((dispatch.count + BLOCK - 1) / BLOCK) * BLOCK;
}

/* vec4s of weights that one call of weight_quads returns. A unit of most formats lies within one chunk. The two halves of a
 * K-quant's unit lie further apart, so one of them is dropped. */
const uint QUADS = UNIT_STEP <= 16 ? 2 : 1;

/* First element of part n of a row, within its chunk. The second vec4 of a part starts UNIT_STEP elements later. */
uint first_of_part(uint n)
{
    return QUADS == 2 ? unit_first(n) : n * 4;
}

/* The first byte of the matrix row of output o, or of the last row if there is no such output. */
uint weight_row(uint o)
{
    return min(o, dispatch.count - 1) * row_bytes(op.n_in);
}

/* The weights of part n of the chunk that starts at element k. */
void weight_quads(uint o, uint k, uint n, out vec4 a, out vec4 b)
{
    uint first = k + first_of_part(n);
    a = b = vec4(0.0);
    if (first >= op.n_in)
        return;
    decode_unit(weight_row(o), unit_of(first), a, b);
    if (QUADS == 1 && first % UNIT_SPAN >= UNIT_STEP)
        a = b;
}

void store_output(uint row, uint o, float sum)
{
    if (row >= dispatch.n_rows || o >= dispatch.count)
        return;
    o += dispatch.first;
    if (op.has_bias != 0)
        sum += bias(o);
    store(row * op.n_out + o, op.n_out, sum);
}
