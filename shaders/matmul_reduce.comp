/* y = W x + bias, for a GPU: a workgroup ROWS rows of W, whose lanes read consecutive words and add up what they found. */
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_shader_subgroup_arithmetic : require
#include "matmul_reduce_main.glsl"
