/* expert_matmul.comp for a GPU: one workgroup per output of a row and expert. Its lanes read consecutive words. */
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_shader_subgroup_arithmetic : require
#include "common.glsl"
#include "expert_matmul.glsl"
#include "reduce.glsl"

void main()
{
    uint slot = group_index() / op.n_out, o = group_index() % op.n_out, row;
    if (slot >= dispatch.n_rows * op.k || !slice_row(slot, o, row))
        return; /* all lanes of the workgroup return, or none */
    float sum = reduce_sum(dot_row(row, input_start(slot), gl_LocalInvocationID.x, gl_WorkGroupSize.x));
    if (gl_LocalInvocationID.x == 0)
        store_sum(slot, o, row, sum);
}
