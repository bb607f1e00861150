/* y = W x + bias, for a processor that likes few lanes with long loops (Mesa's llvmpipe): ROWS rows of W a lane, so that all
 * lanes read x at the same address. matmul_reduce.comp is the GPU's. */
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "matmul.glsl"

void main()
{
    uint rows_a_group = gl_WorkGroupSize.x * ROWS;
    uint n_tiles = (dispatch.count + rows_a_group - 1) / rows_a_group;
    uint group = group_index();
    uint first_row = group / n_tiles * TILE;
    uint first_o = group % n_tiles * rows_a_group + gl_LocalInvocationID.x;
    if (first_row >= dispatch.n_rows || first_o >= dispatch.count)
        return;
    uint o[ROWS]; /* rows past the slice's last repeat it, and are not stored */
    for (uint r = 0; r < ROWS; r++)
        o[r] = min(first_o + r * gl_WorkGroupSize.x, dispatch.count - 1);
    float sum[ROWS][TILE];
    dot_rows(o, first_row, 0, 1, sum);
    for (uint r = 0; r < ROWS && first_o + r * gl_WorkGroupSize.x < dispatch.count; r++) {
        for (uint t = 0; t < TILE && first_row + t < dispatch.n_rows; t++)
            store_output(first_row + t, o[r], sum[r][t]);
    }
}
