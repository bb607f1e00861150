/* y = W x + bias, for a processor that likes few lanes with long loops (Mesa's llvmpipe): a lane a row of W, so that all
 * lanes read x at the same address, and TILE rows of x for each weight decoded. matmul_reduce.comp is the GPU's. */
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "matmul.glsl"

void main()
{
    uint tiles = (dispatch.count + gl_WorkGroupSize.x - 1) / gl_WorkGroupSize.x;
    uint group = group_index();
    uint first_row = group / tiles * TILE;
    uint o = group % tiles * gl_WorkGroupSize.x + gl_LocalInvocationID.x;
    if (first_row >= dispatch.n_rows || o >= dispatch.count)
        return;
    float sum[TILE];
    dot_rows(o, first_row, 0, 1, sum);
    for (uint t = 0; t < TILE && first_row + t < dispatch.n_rows; t++)
        store_output(first_row + t, o, sum[t]);
}
