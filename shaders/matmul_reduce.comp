/* y = W x + bias for a GPU. A workgroup computes ROWS rows of W. Its lanes read consecutive words, and their sums are added. */
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_shader_subgroup_arithmetic : require
#include "matmul_reduce_main.glsl"
