/* matmul_coop.glsl for VK_NV_cooperative_matrix. */
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_shader_subgroup_arithmetic : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#extension GL_NV_cooperative_matrix : require
/* Without this, the matrices' loads from shared memory are not ordered behind ordinary stores to it. */
#pragma use_vulkan_memory_model
#include "matmul_coop.glsl"
