/* y = act(gate x) * (up x), a row a lane. */
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_shader_subgroup_arithmetic : require
#define EPILOGUE EPILOGUE_GLU
#include "matmul_lane_main.glsl"
