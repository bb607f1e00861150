/* The Vulkan instance, with or without validation layers. */
#ifndef LOCKSTEP_ENGINE_DEVICE_INSTANCE_H
#define LOCKSTEP_ENGINE_DEVICE_INSTANCE_H

#include <stdint.h>

#include "engine/device/vulkan.h"

/* Messages of the validation layers since the last check. */
struct messages {
    uint32_t count;
    char first[768]; /* text of the first message */
};

struct instance {
    VkInstance handle;
    VkDebugUtilsMessengerEXT messenger; /* only with validation */
    bool validates;              /* validation is on, and `handle` is owned; otherwise `handle` is the process's */
    uint32_t validation_version; /* Vulkan version that the validation layer knows; 0 without validation */
    struct messages messages;
};

/* Opens an instance. *instance must not move until instance_close, because the layers keep a pointer to it.
 * An instance without validation is shared: the first call creates it, and it lives until the process ends. This keeps
 * the driver loaded; NVIDIA's driver can be loaded only about thirty times in one process.
 * STATUS_ABSENT: no driver or no validation layer is installed. */
enum status instance_open(struct instance *instance, bool validation, struct error *err);
void instance_close(struct instance *instance);

#endif
