#include "engine/device/vulkan.h"

#include <stdlib.h>
#include <string.h>

static const char *result_name(VkResult result)
{
    switch (result) {
    case VK_TIMEOUT:
        return "timed out";
    case VK_ERROR_OUT_OF_HOST_MEMORY:
        return "out of host memory";
    case VK_ERROR_OUT_OF_DEVICE_MEMORY:
        return "out of device memory";
    case VK_ERROR_DEVICE_LOST:
        return "the device was lost";
    case VK_ERROR_FEATURE_NOT_PRESENT:
        return "a feature is not present";
    case VK_ERROR_EXTENSION_NOT_PRESENT:
        return "an extension is not present";
    case VK_ERROR_MEMORY_MAP_FAILED:
        return "mapping memory failed";
    default:
        return "failed";
    }
}

enum status vulkan_failed(struct error *err, VkResult result, const char *call)
{
    size_t name = strcspn(call, "("); /* shows the name of the function alone */
    return error_set(err, STATUS_DEVICE, NULL, NULL, ERROR_NO_OFFSET, "Vulkan: %.*s: %s (VkResult %d)", (int)name, call,
                     result_name(result), (int)result);
}

bool vulkan_has_extension(VkPhysicalDevice physical, const char *name)
{
    uint32_t n = 0;
    if (vkEnumerateDeviceExtensionProperties(physical, NULL, &n, NULL) != VK_SUCCESS || n == 0) {
        return false;
    }
    VkExtensionProperties *extensions = xcalloc(n, sizeof(*extensions));
    VkResult result = vkEnumerateDeviceExtensionProperties(physical, NULL, &n, extensions);
    bool found = false;
    for (uint32_t i = 0; i < n && result == VK_SUCCESS; i++) {
        found = found || strcmp(extensions[i].extensionName, name) == 0;
    }
    free(extensions);
    return found;
}
