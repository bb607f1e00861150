/* y = act(gate x) * (up x). One workgroup per row of the matrices. */
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_shader_subgroup_arithmetic : require
#define EPILOGUE EPILOGUE_GLU
#include "matmul_reduce_main.glsl"
