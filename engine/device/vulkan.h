/* Helpers for every call of Vulkan: failed calls become a struct error. */
#ifndef LOCKSTEP_ENGINE_DEVICE_VULKAN_H
#define LOCKSTEP_ENGINE_DEVICE_VULKAN_H

#include <stdbool.h>
#include <vulkan/vulkan.h>

#include "model/error.h"

/* The most storage buffers that one shader binds. Vulkan guarantees only 4; the engine needs a device with 16. */
#define VULKAN_MAX_BINDINGS 16

/* Fills *err for a failed call; returns STATUS_DEVICE. call: the source text of the call; its function name is shown.
 */
enum status vulkan_failed(struct error *err, VkResult result, const char *call);

bool vulkan_has_extension(VkPhysicalDevice physical, const char *name);

/* Calls Vulkan; where the call fails, fills *err and returns from the function. */
#define VK_TRY(err, call)                                    \
    do {                                                     \
        VkResult vk_try_result = (call);                     \
        if (vk_try_result != VK_SUCCESS) {                   \
            return vulkan_failed(err, vk_try_result, #call); \
        }                                                    \
    } while (0)

#endif
