/* y = cap * tanh((W x + bias) / cap); also stores W x + bias. One lane per row of the matrix. */
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_shader_subgroup_arithmetic : require
#define EPILOGUE EPILOGUE_SOFTCAP
#include "matmul_lane_main.glsl"
