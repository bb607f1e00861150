/* The main function of matmul_reduce.comp and its fused kin: a workgroup computes OUTPUTS outputs. */
#include "common.glsl"
#include "matmul.glsl"
#include "reduce.glsl"

void main()
{
    uint n_tiles = (dispatch.count + OUTPUTS - 1) / OUTPUTS;
    uint group = group_index();
    uint first_row = group / n_tiles * TILE;
    uint first_o = group % n_tiles * OUTPUTS;
    if (first_row >= dispatch.n_rows)
        return;
    uint o[OUTPUTS], row[ROWS]; /* outputs past the slice's last one repeat it and are not stored */
    for (uint r = 0; r < OUTPUTS; r++)
        o[r] = min(first_o + r, dispatch.count - 1);
    find_rows(o, row);
    float sum[ROWS][TILE];
    dot_rows(row, first_row, gl_LocalInvocationID.x, gl_WorkGroupSize.x, sum);
    for (uint r = 0; r < ROWS; r++) {
        for (uint t = 0; t < TILE; t++)
            sum[r][t] = reduce_sum(sum[r][t]);
    }
    if (gl_LocalInvocationID.x != 0)
        return;
    for (uint r = 0; r < OUTPUTS && first_o + r < dispatch.count; r++) {
        for (uint t = 0; t < TILE && first_row + t < dispatch.n_rows; t++)
            store_output(first_row + t, o[r], sum[r][t], sum[r + ROWS - OUTPUTS][t]);
    }
}
