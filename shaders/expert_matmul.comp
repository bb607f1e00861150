/* y[j] = W[e_j] x + bias[e_j] for each chosen expert e_j. One lane per output. A workgroup belongs to one row and one of its k
 * experts, so that all lanes read the same x. A slice holds some of the rows of [experts, n_out]; another dispatch computes
 * the others. */
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "expert_matmul.glsl"

void main()
{
    uint tiles = (op.n_out + gl_WorkGroupSize.x - 1) / gl_WorkGroupSize.x;
    uint slot = group_index() / tiles; /* index into [n_rows, k] */
    uint o = group_index() % tiles * gl_WorkGroupSize.x + gl_LocalInvocationID.x, row;
    if (slot >= dispatch.n_rows * op.k || o >= op.n_out || !slice_row(slot, o, row))
        return;
    store_sum(slot, o, row, dot_row(row, input_start(slot), 0, 1));
}
