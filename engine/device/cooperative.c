#include "engine/device/cooperative.h"

#include <stdlib.h>

/* What a workgroup of matmul_coop.glsl needs: bytes of shared memory, and subgroups. */
#define SHARED_BYTES 45088
#define SUBGROUPS 8

/* Whether the extension multiplies 16 x 16 x 16 halves with f32 sums, a subgroup each. The loader does not export
 * functions of extensions, so the function is looked up. */
static bool has_size_khr(VkInstance instance, VkPhysicalDevice physical)
{
    PFN_vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR get =
        (PFN_vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR)vkGetInstanceProcAddr(
            instance, "vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR");
    uint32_t n = 0;
    if (!get || get(physical, &n, NULL) != VK_SUCCESS || n == 0) {
        return false;
    }
    VkCooperativeMatrixPropertiesKHR *sizes = xcalloc(n, sizeof(*sizes));
    for (uint32_t i = 0; i < n; i++) {
        sizes[i].sType = VK_STRUCTURE_TYPE_COOPERATIVE_MATRIX_PROPERTIES_KHR;
    }
    VkResult result = get(physical, &n, sizes);
    bool found = false;
    for (uint32_t i = 0; i < n && result == VK_SUCCESS; i++) {
        const VkCooperativeMatrixPropertiesKHR *size = &sizes[i];
        found = found ||
                (size->MSize == 16 && size->NSize == 16 && size->KSize == 16 && size->scope == VK_SCOPE_SUBGROUP_KHR &&
                 size->AType == VK_COMPONENT_TYPE_FLOAT16_KHR && size->BType == VK_COMPONENT_TYPE_FLOAT16_KHR &&
                 size->CType == VK_COMPONENT_TYPE_FLOAT32_KHR && size->ResultType == VK_COMPONENT_TYPE_FLOAT32_KHR);
    }
    free(sizes);
    return found;
}

static bool has_size_nv(VkInstance instance, VkPhysicalDevice physical)
{
    PFN_vkGetPhysicalDeviceCooperativeMatrixPropertiesNV get =
        (PFN_vkGetPhysicalDeviceCooperativeMatrixPropertiesNV)vkGetInstanceProcAddr(
            instance, "vkGetPhysicalDeviceCooperativeMatrixPropertiesNV");
    uint32_t n = 0;
    if (!get || get(physical, &n, NULL) != VK_SUCCESS || n == 0) {
        return false;
    }
    VkCooperativeMatrixPropertiesNV *sizes = xcalloc(n, sizeof(*sizes));
    for (uint32_t i = 0; i < n; i++) {
        sizes[i].sType = VK_STRUCTURE_TYPE_COOPERATIVE_MATRIX_PROPERTIES_NV;
    }
    VkResult result = get(physical, &n, sizes);
    bool found = false;
    for (uint32_t i = 0; i < n && result == VK_SUCCESS; i++) {
        const VkCooperativeMatrixPropertiesNV *size = &sizes[i];
        found = found ||
                (size->MSize == 16 && size->NSize == 16 && size->KSize == 16 && size->scope == VK_SCOPE_SUBGROUP_NV &&
                 size->AType == VK_COMPONENT_TYPE_FLOAT16_NV && size->BType == VK_COMPONENT_TYPE_FLOAT16_NV &&
                 size->CType == VK_COMPONENT_TYPE_FLOAT32_NV && size->DType == VK_COMPONENT_TYPE_FLOAT32_NV);
    }
    free(sizes);
    return found;
}

/* Asks the device to fill a struct of features. */
static void get_features(VkPhysicalDevice physical, void *features)
{
    VkPhysicalDeviceFeatures2 all = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2, .pNext = features};
    vkGetPhysicalDeviceFeatures2(physical, &all);
}

static bool has_khr(const struct instance *instance, VkPhysicalDevice physical)
{
    VkPhysicalDeviceCooperativeMatrixFeaturesKHR matrix = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_FEATURES_KHR};
    /* Validation layers older than the extension report its structs and its SPIR-V as errors. */
    uint32_t validation = instance->validation_version;
    if ((validation && validation < VK_MAKE_API_VERSION(0, 1, 3, 255)) ||
        !vulkan_has_extension(physical, VK_KHR_COOPERATIVE_MATRIX_EXTENSION_NAME)) {
        return false;
    }
    get_features(physical, &matrix);
    return matrix.cooperativeMatrix && has_size_khr(instance->handle, physical);
}

static bool has_nv(const struct instance *instance, VkPhysicalDevice physical)
{
    VkPhysicalDeviceCooperativeMatrixFeaturesNV matrix = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_FEATURES_NV};
    if (!vulkan_has_extension(physical, VK_NV_COOPERATIVE_MATRIX_EXTENSION_NAME)) {
        return false;
    }
    get_features(physical, &matrix);
    return matrix.cooperativeMatrix && has_size_nv(instance->handle, physical);
}

/* Whether a program can require full subgroups of 32 lanes. */
static bool can_require_subgroup(VkPhysicalDevice physical)
{
    if (!vulkan_has_extension(physical, VK_EXT_SUBGROUP_SIZE_CONTROL_EXTENSION_NAME)) {
        return false;
    }
    VkPhysicalDeviceSubgroupSizeControlFeatures features = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_FEATURES};
    VkPhysicalDeviceSubgroupSizeControlProperties sizes = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_PROPERTIES};
    VkPhysicalDeviceProperties2 properties = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2, .pNext = &sizes};
    get_features(physical, &features);
    vkGetPhysicalDeviceProperties2(physical, &properties);
    return features.subgroupSizeControl && features.computeFullSubgroups &&
           sizes.requiredSubgroupSizeStages & VK_SHADER_STAGE_COMPUTE_BIT &&
           sizes.minSubgroupSize <= COOPERATIVE_SUBGROUP && sizes.maxSubgroupSize >= COOPERATIVE_SUBGROUP &&
           sizes.maxComputeWorkgroupSubgroups >= SUBGROUPS;
}

unsigned cooperative_find(const struct instance *instance, VkPhysicalDevice physical,
                          const VkPhysicalDeviceLimits *limits)
{
    VkPhysicalDeviceVulkan12Features features = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES};
    get_features(physical, &features);
    if (!features.shaderFloat16 || !features.vulkanMemoryModel || !features.vulkanMemoryModelDeviceScope ||
        limits->maxComputeSharedMemorySize < SHARED_BYTES || !can_require_subgroup(physical)) {
        return 0;
    }
    return (has_khr(instance, physical) ? COOPERATIVE_KHR : 0) | (has_nv(instance, physical) ? COOPERATIVE_NV : 0);
}

/* Adds an extension and its features to the chain. next: the pNext of `features`. */
static void enable(struct cooperative_features *all, const char *extension, void *features, void **next)
{
    *next = all->chain;
    all->chain = features;
    all->extensions[all->n_extensions++] = extension;
}

void cooperative_enable(unsigned bits, struct cooperative_features *all)
{
    *all = (struct cooperative_features){
        .khr = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_FEATURES_KHR,
                .cooperativeMatrix = VK_TRUE},
        .nv = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_FEATURES_NV, .cooperativeMatrix = VK_TRUE},
        .subgroup = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_FEATURES,
                     .subgroupSizeControl = VK_TRUE,
                     .computeFullSubgroups = VK_TRUE},
    };
    if (bits & COOPERATIVE_KHR) {
        enable(all, VK_KHR_COOPERATIVE_MATRIX_EXTENSION_NAME, &all->khr, &all->khr.pNext);
    }
    if (bits & COOPERATIVE_NV) {
        enable(all, VK_NV_COOPERATIVE_MATRIX_EXTENSION_NAME, &all->nv, &all->nv.pNext);
    }
    if (bits) {
        enable(all, VK_EXT_SUBGROUP_SIZE_CONTROL_EXTENSION_NAME, &all->subgroup, &all->subgroup.pNext);
    }
}
