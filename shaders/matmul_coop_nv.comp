/* matmul_coop.glsl with VK_NV_cooperative_matrix. */
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_shader_subgroup_arithmetic : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#extension GL_NV_cooperative_matrix : require
/* Or what ordinary stores put into shared memory is not ordered with what the matrices load from it. */
#pragma use_vulkan_memory_model
#include "matmul_coop.glsl"
