/* y = W x + bias, for a processor that likes few lanes with long loops (Mesa's llvmpipe): ROWS rows of W a lane, so that all
 * lanes read x at the same address. matmul_reduce.comp is the GPU's. */
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_shader_subgroup_arithmetic : require
#include "matmul_lane_main.glsl"
