/* y[j] = W[e_j] x + bias[e_j] for each chosen expert e_j. A lane an output: its workgroup is of one row and slot, so that
 * all lanes read the same x. A slice holds some of the rows of [experts, n_out]; the others are another dispatch's. */
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "expert_matmul.glsl"

void main()
{
    uint tiles = (op.n_out + gl_WorkGroupSize.x - 1) / gl_WorkGroupSize.x;
    uint slot = group_index() / tiles; /* of [n_rows, k] */
    uint o = group_index() % tiles * gl_WorkGroupSize.x + gl_LocalInvocationID.x, row;
    if (slot >= dispatch.n_rows * op.k || o >= op.n_out || !slice_row(slot, o, row))
        return;
    store_sum(slot, o, row, dot_row(row, input_start(slot), 0, 1));
}
