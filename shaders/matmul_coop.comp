/* matmul_coop.glsl for VK_KHR_cooperative_matrix. */
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_shader_subgroup_arithmetic : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_EXT_spirv_intrinsics : require
/* Without this, the matrices' loads from shared memory are not ordered behind ordinary stores to it. */
#pragma use_vulkan_memory_model
#define COOPERATIVE_KHR
#include "matmul_coop.glsl"
