/* The same for a GPU: a workgroup an output of one row and slot, whose lanes read consecutive words of the expert's row. */
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_shader_subgroup_arithmetic : require
#include "common.glsl"
#include "expert_matmul.glsl"
#include "reduce.glsl"

void main()
{
    uint slot = group_index() / op.n_out, o = group_index() % op.n_out, row; /* slot: of [n_rows, k] */
    if (slot >= dispatch.n_rows * op.k || !slice_row(slot, o, row))
        return; /* all lanes or none */
    float sum = reduce_sum(dot_row(row, input_start(slot), gl_LocalInvocationID.x, gl_WorkGroupSize.x));
    if (gl_LocalInvocationID.x == 0)
        store_sum(slot, o, row, sum);
}
