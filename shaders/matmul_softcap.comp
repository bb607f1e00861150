/* y = cap * tanh((W x + bias) / cap), and what goes into it, a row a lane. */
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_shader_subgroup_arithmetic : require
#define EPILOGUE EPILOGUE_SOFTCAP
#include "matmul_lane_main.glsl"
