/* y = cap * tanh((W x + bias) / cap); also stores W x + bias. One workgroup per row of the matrix. */
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_shader_subgroup_arithmetic : require
#define EPILOGUE EPILOGUE_SOFTCAP
#include "matmul_reduce_main.glsl"
