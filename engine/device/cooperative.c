/* Which matrices of halves a device multiplies, in the words of which extension, and what a device is created with so
 * that it does. See matmul_coop.glsl for what is asked of it. */
#include <stdlib.h>

#include "engine/device/device.h"

/* Of a workgroup of matmul_coop.glsl: the shared memory that it declares, and its subgroups. */
#define SHARED_BYTES 45088
#define SUBGROUPS 8

static PFN_vkVoidFunction instance_function(const struct device *device, const char *name)
{
    return vkGetInstanceProcAddr(device->instance.handle, name); /* an extension's: the loader does not export it */
}

/* 16 x 16 x 16 halves into f32, of a subgroup. */
static bool has_size_khr(const struct device *device)
{
    PFN_vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR get =
        (PFN_vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR)instance_function(
            device, "vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR");
    uint32_t n = 0;
    if (!get || get(device->physical, &n, NULL) != VK_SUCCESS || n == 0) {
        return false;
    }
    VkCooperativeMatrixPropertiesKHR *sizes = xcalloc(n, sizeof(*sizes));
    for (uint32_t i = 0; i < n; i++) {
        sizes[i].sType = VK_STRUCTURE_TYPE_COOPERATIVE_MATRIX_PROPERTIES_KHR;
    }
    VkResult result = get(device->physical, &n, sizes);
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

static bool has_size_nv(const struct device *device)
{
    PFN_vkGetPhysicalDeviceCooperativeMatrixPropertiesNV get =
        (PFN_vkGetPhysicalDeviceCooperativeMatrixPropertiesNV)instance_function(
            device, "vkGetPhysicalDeviceCooperativeMatrixPropertiesNV");
    uint32_t n = 0;
    if (!get || get(device->physical, &n, NULL) != VK_SUCCESS || n == 0) {
        return false;
    }
    VkCooperativeMatrixPropertiesNV *sizes = xcalloc(n, sizeof(*sizes));
    for (uint32_t i = 0; i < n; i++) {
        sizes[i].sType = VK_STRUCTURE_TYPE_COOPERATIVE_MATRIX_PROPERTIES_NV;
    }
    VkResult result = get(device->physical, &n, sizes);
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

/* Fills a struct of features. */
static void ask(const struct device *device, void *features)
{
    VkPhysicalDeviceFeatures2 all = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2, .pNext = features};
    vkGetPhysicalDeviceFeatures2(device->physical, &all);
}

static bool has_khr(const struct device *device)
{
    VkPhysicalDeviceCooperativeMatrixFeaturesKHR matrix = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_FEATURES_KHR};
    /* Validation layers older than the extension take its structs and its SPIR-V for mistakes. */
    uint32_t validation = device->instance.validation_version;
    if ((validation && validation < VK_MAKE_API_VERSION(0, 1, 3, 255)) ||
        !device_has_extension(device->physical, VK_KHR_COOPERATIVE_MATRIX_EXTENSION_NAME)) {
        return false;
    }
    ask(device, &matrix);
    return matrix.cooperativeMatrix && has_size_khr(device);
}

static bool has_nv(const struct device *device)
{
    VkPhysicalDeviceCooperativeMatrixFeaturesNV matrix = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_FEATURES_NV};
    if (!device_has_extension(device->physical, VK_NV_COOPERATIVE_MATRIX_EXTENSION_NAME)) {
        return false;
    }
    ask(device, &matrix);
    return matrix.cooperativeMatrix && has_size_nv(device);
}

/* Whether whole subgroups of 32 can be asked for. */
static bool can_require_subgroup(const struct device *device)
{
    if (!device_has_extension(device->physical, VK_EXT_SUBGROUP_SIZE_CONTROL_EXTENSION_NAME)) {
        return false;
    }
    VkPhysicalDeviceSubgroupSizeControlFeatures features = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_FEATURES};
    VkPhysicalDeviceSubgroupSizeControlProperties sizes = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_PROPERTIES};
    VkPhysicalDeviceProperties2 properties = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2, .pNext = &sizes};
    ask(device, &features);
    vkGetPhysicalDeviceProperties2(device->physical, &properties);
    return features.subgroupSizeControl && features.computeFullSubgroups &&
           sizes.requiredSubgroupSizeStages & VK_SHADER_STAGE_COMPUTE_BIT &&
           sizes.minSubgroupSize <= COOPERATIVE_SUBGROUP && sizes.maxSubgroupSize >= COOPERATIVE_SUBGROUP &&
           sizes.maxComputeWorkgroupSubgroups >= SUBGROUPS;
}

void cooperative_find(struct device *device)
{
    VkPhysicalDeviceVulkan12Features features = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES};
    ask(device, &features);
    if (!features.shaderFloat16 || !features.vulkanMemoryModel || !features.vulkanMemoryModelDeviceScope ||
        device->limits.maxComputeSharedMemorySize < SHARED_BYTES || !can_require_subgroup(device)) {
        return;
    }
    device->cooperative = (has_khr(device) ? COOPERATIVE_KHR : 0) | (has_nv(device) ? COOPERATIVE_NV : 0);
}

/* Adds an extension with its features to the chain. */
static void enable(struct cooperative_features *all, const char *extension, void *features, void **next)
{
    *next = all->chain;
    all->chain = features;
    all->extensions[all->n_extensions++] = extension;
}

void cooperative_enable(const struct device *device, struct cooperative_features *all)
{
    *all = (struct cooperative_features){
        .khr = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_FEATURES_KHR,
                .cooperativeMatrix = VK_TRUE},
        .nv = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_FEATURES_NV, .cooperativeMatrix = VK_TRUE},
        .subgroup = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_FEATURES,
                     .subgroupSizeControl = VK_TRUE,
                     .computeFullSubgroups = VK_TRUE},
    };
    if (device->cooperative & COOPERATIVE_KHR) {
        enable(all, VK_KHR_COOPERATIVE_MATRIX_EXTENSION_NAME, &all->khr, &all->khr.pNext);
    }
    if (device->cooperative & COOPERATIVE_NV) {
        enable(all, VK_NV_COOPERATIVE_MATRIX_EXTENSION_NAME, &all->nv, &all->nv.pNext);
    }
    if (device->cooperative) {
        enable(all, VK_EXT_SUBGROUP_SIZE_CONTROL_EXTENSION_NAME, &all->subgroup, &all->subgroup.pNext);
    }
}
