/* y = W x + bias for CPU drivers (Mesa's llvmpipe), which run few lanes with long loops best. A lane computes ROWS rows of W, so
 * that all lanes read x at the same address. matmul_reduce.comp is for GPUs. */
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_shader_subgroup_arithmetic : require
#include "matmul_lane_main.glsl"
