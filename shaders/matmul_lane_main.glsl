/* The main function of matmul.comp and its fused kin: a lane computes OUTPUTS outputs. */
#include "common.glsl"
#include "matmul.glsl"

void main()
{
    uint outputs_a_group = gl_WorkGroupSize.x * OUTPUTS;
    uint n_tiles = (dispatch.count + outputs_a_group - 1) / outputs_a_group;
    uint group = group_index();
    uint first_row = group / n_tiles * TILE;
    uint first_o = group % n_tiles * outputs_a_group + gl_LocalInvocationID.x;
    if (first_row >= dispatch.n_rows || first_o >= dispatch.count)
        return;
    uint o[OUTPUTS], row[ROWS]; /* outputs past the slice's last one repeat it and are not stored */
    for (uint r = 0; r < OUTPUTS; r++)
        o[r] = min(first_o + r * gl_WorkGroupSize.x, dispatch.count - 1);
    find_rows(o, row);
    float sum[ROWS][TILE];
    dot_rows(row, first_row, 0, 1, sum);
    for (uint r = 0; r < OUTPUTS && first_o + r * gl_WorkGroupSize.x < dispatch.count; r++) {
        for (uint t = 0; t < TILE && first_row + t < dispatch.n_rows; t++)
            store_output(first_row + t, o[r], sum[r][t], sum[r + ROWS - OUTPUTS][t]);
    }
}
