/* The physical devices of an instance: their descriptions, and the choice of one. */
#ifndef LOCKSTEP_ENGINE_DEVICE_DEVICE_LIST_H
#define LOCKSTEP_ENGINE_DEVICE_DEVICE_LIST_H

#include "engine/device/device_info.h"
#include "engine/device/vulkan.h"

/* A zeroed list is empty. */
struct device_list {
    VkPhysicalDevice *physical; /* [n] */
    struct device_info *infos;  /* [n]; one of the usable devices is marked as chosen */
    uint32_t n;
};

/* Lists all devices. No device: STATUS_ABSENT. */
enum status device_list_open(struct device_list *list, VkInstance instance, struct error *err);
void device_list_free(struct device_list *list);

/* Finds the device that engine_options.device names: an index, part of a name, or NULL for the default.
 * STATUS_ABSENT: no such device, or it lacks what the engine needs. */
enum status device_list_choose(const struct device_info *infos, uint32_t n, const char *wanted, uint32_t *choice,
                               struct error *err);

#endif
