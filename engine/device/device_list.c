#include "engine/device/device_list.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *type_name(VkPhysicalDeviceType type)
{
    switch (type) {
    case VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU:
        return "discrete GPU";
    case VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU:
        return "integrated GPU";
    case VK_PHYSICAL_DEVICE_TYPE_VIRTUAL_GPU:
        return "virtual GPU";
    case VK_PHYSICAL_DEVICE_TYPE_CPU:
        return "CPU";
    default:
        return "other";
    }
}

/* The default choice takes the highest rank. A CPU has the lowest: it is taken if there is nothing else. */
static int type_rank(const char *type)
{
    static const char *const ranks[] = {"CPU", "other", "virtual GPU", "integrated GPU", "discrete GPU"};
    for (int i = 0; i < 5; i++) {
        if (strcmp(type, ranks[i]) == 0) {
            return i;
        }
    }
    return 0;
}

static bool has_compute_queue(VkPhysicalDevice physical)
{
    VkQueueFamilyProperties families[32];
    uint32_t n = 32;
    vkGetPhysicalDeviceQueueFamilyProperties(physical, &n, families);
    for (uint32_t i = 0; i < n; i++) {
        if (families[i].queueFlags & VK_QUEUE_COMPUTE_BIT) {
            return true;
        }
    }
    return false;
}

static void describe(VkPhysicalDevice physical, uint32_t index, struct device_info *info)
{
    VkPhysicalDeviceSubgroupProperties subgroup = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_PROPERTIES};
    VkPhysicalDeviceDriverProperties driver = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_DRIVER_PROPERTIES,
                                               .pNext = &subgroup};
    VkPhysicalDeviceProperties2 properties = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2,
                                              .pNext = &driver};
    VkPhysicalDeviceTimelineSemaphoreFeatures timeline = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_TIMELINE_SEMAPHORE_FEATURES};
    VkPhysicalDeviceFeatures2 features = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2, .pNext = &timeline};
    vkGetPhysicalDeviceProperties2(physical, &properties);
    const VkPhysicalDeviceProperties *core = &properties.properties;
    bool modern = core->apiVersion >= VK_API_VERSION_1_2;
    if (modern) {
        vkGetPhysicalDeviceFeatures2(physical, &features);
    }

    *info = (struct device_info){.index = index,
                                 .type = type_name(core->deviceType),
                                 .subgroup = subgroup.subgroupSize,
                                 .is_cpu = core->deviceType == VK_PHYSICAL_DEVICE_TYPE_CPU};
    snprintf(info->name, sizeof(info->name), "%s", core->deviceName);
    snprintf(info->driver, sizeof(info->driver), "%.120s %.120s", driver.driverName, driver.driverInfo);
    snprintf(info->api, sizeof(info->api), "%u.%u.%u", VK_API_VERSION_MAJOR(core->apiVersion),
             VK_API_VERSION_MINOR(core->apiVersion), VK_API_VERSION_PATCH(core->apiVersion));
    VkPhysicalDeviceMemoryProperties memory;
    vkGetPhysicalDeviceMemoryProperties(physical, &memory);
    for (uint32_t i = 0; i < memory.memoryHeapCount; i++) {
        if (memory.memoryHeaps[i].flags & VK_MEMORY_HEAP_DEVICE_LOCAL_BIT &&
            memory.memoryHeaps[i].size > info->memory) {
            info->memory = memory.memoryHeaps[i].size;
        }
    }
    bool subgroups = subgroup.supportedStages & VK_SHADER_STAGE_COMPUTE_BIT &&
                     subgroup.supportedOperations & VK_SUBGROUP_FEATURE_ARITHMETIC_BIT;
    info->usable = modern && timeline.timelineSemaphore && has_compute_queue(physical) && subgroups &&
                   core->limits.maxPerStageDescriptorStorageBuffers >= VULKAN_MAX_BINDINGS;
}

static void mark_default(struct device_info *infos, uint32_t n)
{
    struct device_info *best = NULL;
    for (uint32_t i = 0; i < n; i++) {
        if (infos[i].usable && (!best || type_rank(infos[i].type) > type_rank(best->type))) {
            best = &infos[i];
        }
    }
    if (best) {
        best->chosen = true;
    }
}

enum status device_list_open(struct device_list *list, VkInstance instance, struct error *err)
{
    *list = (struct device_list){0};
    uint32_t n = 0;
    VkResult result = vkEnumeratePhysicalDevices(instance, &n, NULL);
    if (result == VK_ERROR_INITIALIZATION_FAILED || (result == VK_SUCCESS && n == 0)) {
        return error_set(err, STATUS_ABSENT, NULL, NULL, ERROR_NO_OFFSET, "no Vulkan device was found");
    }
    VK_TRY(err, result);
    list->physical = xcalloc(n, sizeof(VkPhysicalDevice));
    result = vkEnumeratePhysicalDevices(instance, &n, list->physical);
    if (result != VK_SUCCESS && result != VK_INCOMPLETE) {
        device_list_free(list);
        VK_TRY(err, result);
    }
    list->infos = xcalloc(n, sizeof(*list->infos));
    list->n = n;
    for (uint32_t i = 0; i < n; i++) {
        describe(list->physical[i], i, &list->infos[i]);
    }
    mark_default(list->infos, n);
    return STATUS_OK;
}

void device_list_free(struct device_list *list)
{
    free(list->physical);
    free(list->infos);
    *list = (struct device_list){0};
}

/* Whether `part` is in `text`, ignoring case. */
static bool contains(const char *text, const char *part)
{
    for (; *text; text++) {
        size_t i = 0;
        while (part[i] && tolower((unsigned char)text[i]) == tolower((unsigned char)part[i])) {
            i++;
        }
        if (!part[i]) {
            return true;
        }
    }
    return false;
}

enum status device_list_choose(const struct device_info *infos, uint32_t n, const char *wanted, uint32_t *choice,
                               struct error *err)
{
    bool is_index = wanted && *wanted && wanted[strspn(wanted, "0123456789")] == '\0';
    for (uint32_t i = 0; i < n; i++) {
        char index[16];
        snprintf(index, sizeof(index), "%u", i);
        if (!wanted ? infos[i].chosen : is_index ? strcmp(index, wanted) == 0 : contains(infos[i].name, wanted)) {
            if (!infos[i].usable) {
                return error_set(err, STATUS_ABSENT, NULL, NULL, ERROR_NO_OFFSET,
                                 "device %u (%s) lacks what the engine needs: Vulkan 1.2, timeline semaphores, "
                                 "%d storage buffers a shader",
                                 i, infos[i].name, VULKAN_MAX_BINDINGS);
            }
            *choice = i;
            return STATUS_OK;
        }
    }
    if (!wanted) {
        return error_set(err, STATUS_ABSENT, NULL, NULL, ERROR_NO_OFFSET,
                         "none of %u Vulkan devices has what the engine needs", n);
    }
    char numbers[32] = "0";
    if (n > 1) {
        snprintf(numbers, sizeof(numbers), "0 to %u", n - 1);
    }
    return error_set(err, STATUS_ABSENT, NULL, "--device", ERROR_NO_OFFSET,
                     "\"%s\", expected %s or a part of a name that lockstep devices lists (0 is %s)", wanted, numbers,
                     infos[0].name);
}
