/* y = W x + bias, for a GPU: a workgroup a row of W, whose lanes read consecutive words and add up what they found; TILE
 * rows of x for each weight decoded. */
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "matmul.glsl"
#include "reduce.glsl"

void main()
{
    uint group = group_index();
    uint first_row = group / dispatch.count * TILE;
    uint o = group % dispatch.count;
    if (first_row >= dispatch.n_rows)
        return;
    float sum[TILE];
    dot_rows(o, first_row, gl_LocalInvocationID.x, gl_WorkGroupSize.x, sum);
    for (uint t = 0; t < TILE && first_row + t < dispatch.n_rows; t++) {
        float total = reduce_sum(sum[t]);
        if (gl_LocalInvocationID.x == 0)
            store_output(first_row + t, o, total);
    }
}
