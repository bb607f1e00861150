/* y = W x + bias, for a GPU: a workgroup ROWS rows of W, whose lanes read consecutive words and add up what they found. */
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "matmul.glsl"
#include "reduce.glsl"

void main()
{
    uint n_tiles = (dispatch.count + ROWS - 1) / ROWS;
    uint group = group_index();
    uint first_row = group / n_tiles * TILE;
    uint first_o = group % n_tiles * ROWS;
    if (first_row >= dispatch.n_rows)
        return;
    uint o[ROWS]; /* rows past the slice's last repeat it, and are not stored */
    for (uint r = 0; r < ROWS; r++)
        o[r] = min(first_o + r, dispatch.count - 1);
    float sum[ROWS][TILE];
    dot_rows(o, first_row, gl_LocalInvocationID.x, gl_WorkGroupSize.x, sum);
    for (uint r = 0; r < ROWS && first_o + r < dispatch.count; r++) {
        for (uint t = 0; t < TILE && first_row + t < dispatch.n_rows; t++) {
            float total = reduce_sum(sum[r][t]);
            if (gl_LocalInvocationID.x == 0)
                store_output(first_row + t, o[r], total);
        }
    }
}
