#include "engine/device/device.h"

#include <string.h>

#include "engine/device/cooperative.h"
#include "engine/device/device_list.h"

#define DEFAULT_CORES 64 /* if the driver does not tell */

/* 300 s. A submit runs a batch of a few dozen rows at most, which takes a slow CPU driver tens of seconds for a large
 * model. */
#define SUBMIT_TIMEOUT_NS (300ull * 1000 * 1000 * 1000)

#define MAX_FAMILIES 32

static uint32_t compute_family(const VkQueueFamilyProperties *families, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        if (families[i].queueFlags & VK_QUEUE_COMPUTE_BIT) {
            return i;
        }
    }
    ASSERT(!"a usable device has a compute queue");
    return 0;
}

/* A queue family for copies alone; `compute` if there is none. Video queues can copy too, and are not wanted. */
static uint32_t copy_family(const VkQueueFamilyProperties *families, uint32_t n, uint32_t compute)
{
    const VkQueueFlags besides = VK_QUEUE_SPARSE_BINDING_BIT | VK_QUEUE_PROTECTED_BIT;
    for (uint32_t i = 0; i < n; i++) {
        if ((families[i].queueFlags & ~besides) == VK_QUEUE_TRANSFER_BIT) {
            return i;
        }
    }
    return compute;
}

static void choose_families(struct device *device)
{
    VkQueueFamilyProperties families[MAX_FAMILIES];
    uint32_t n = MAX_FAMILIES;
    vkGetPhysicalDeviceQueueFamilyProperties(device->physical, &n, families);
    device->compute.family = compute_family(families, n);
    device->copies.family = copy_family(families, n, device->compute.family);
}

/* Only NVIDIA's extension tells the number of multiprocessors. */
static uint32_t count_cores(VkPhysicalDevice physical)
{
    VkPhysicalDeviceShaderSMBuiltinsPropertiesNV cores = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_SM_BUILTINS_PROPERTIES_NV};
    VkPhysicalDeviceProperties2 properties = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2, .pNext = &cores};
    if (!vulkan_has_extension(physical, VK_NV_SHADER_SM_BUILTINS_EXTENSION_NAME)) {
        return DEFAULT_CORES;
    }
    vkGetPhysicalDeviceProperties2(physical, &properties);
    return cores.shaderSMCount ? cores.shaderSMCount : DEFAULT_CORES;
}

/* Whether the driver can report statistics of the programs that it compiles. */
static bool has_statistics(VkPhysicalDevice physical)
{
    VkPhysicalDevicePipelineExecutablePropertiesFeaturesKHR executables = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PIPELINE_EXECUTABLE_PROPERTIES_FEATURES_KHR};
    VkPhysicalDeviceFeatures2 features = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2, .pNext = &executables};
    if (!vulkan_has_extension(physical, VK_KHR_PIPELINE_EXECUTABLE_PROPERTIES_EXTENSION_NAME)) {
        return false;
    }
    vkGetPhysicalDeviceFeatures2(physical, &features);
    return executables.pipelineExecutableInfo;
}

static void read_properties(struct device *device)
{
    VkPhysicalDeviceFloatControlsProperties floats = {.sType =
                                                          VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FLOAT_CONTROLS_PROPERTIES};
    VkPhysicalDeviceProperties2 properties2 = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2,
                                               .pNext = &floats};
    vkGetPhysicalDeviceProperties2(device->physical, &properties2);
    VkPhysicalDeviceProperties properties = properties2.properties;
    vkGetPhysicalDeviceMemoryProperties(device->physical, &device->memory);
    device->limits = properties.limits;
    device->driver_version = properties.driverVersion;
    memcpy(device->uuid, properties.pipelineCacheUUID, VK_UUID_SIZE);
    device->native_half = floats.shaderDenormPreserveFloat16;
    device->cores = count_cores(device->physical);
    device->cooperative = cooperative_find(&device->instance, device->physical, &device->limits);
    device->statistics = device->statistics && has_statistics(device->physical);
}

static enum status choose(struct device *device, const char *wanted, struct error *err)
{
    struct device_list list;
    uint32_t choice = 0;
    TRY(device_list_open(&list, device->instance.handle, err));
    enum status status = device_list_choose(list.infos, list.n, wanted, &choice, err);
    if (status == STATUS_OK) {
        device->physical = list.physical[choice];
        device->info = list.infos[choice];
    }
    device_list_free(&list);
    return status;
}

static enum status queue_open(VkDevice device, struct queue *queue, struct error *err)
{
    vkGetDeviceQueue(device, queue->family, 0, &queue->handle);
    VkCommandPoolCreateInfo pool = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
        .queueFamilyIndex = queue->family,
    };
    VK_TRY(err, vkCreateCommandPool(device, &pool, NULL, &queue->commands));
    VkSemaphoreTypeCreateInfo type = {.sType = VK_STRUCTURE_TYPE_SEMAPHORE_TYPE_CREATE_INFO,
                                      .semaphoreType = VK_SEMAPHORE_TYPE_TIMELINE};
    VkSemaphoreCreateInfo semaphore = {.sType = VK_STRUCTURE_TYPE_SEMAPHORE_CREATE_INFO, .pNext = &type};
    VK_TRY(err, vkCreateSemaphore(device, &semaphore, NULL, &queue->timeline));
    return STATUS_OK;
}

static void queue_close(VkDevice device, const struct queue *queue)
{
    vkDestroySemaphore(device, queue->timeline, NULL);
    vkDestroyCommandPool(device, queue->commands, NULL);
}

static enum status create_device(struct device *device, struct error *err)
{
    float priority = 1;
    choose_families(device);
    VkDeviceQueueCreateInfo queues[2];
    for (int i = 0; i < 2; i++) {
        queues[i] = (VkDeviceQueueCreateInfo){
            .sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO,
            .queueFamilyIndex = i ? device->copies.family : device->compute.family,
            .queueCount = 1,
            .pQueuePriorities = &priority,
        };
    }
    struct cooperative_features cooperative;
    cooperative_enable(device->cooperative, &cooperative);
    VkPhysicalDevicePipelineExecutablePropertiesFeaturesKHR executables = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PIPELINE_EXECUTABLE_PROPERTIES_FEATURES_KHR,
        .pipelineExecutableInfo = VK_TRUE};
    if (device->statistics) {
        cooperative.extensions[cooperative.n_extensions++] = VK_KHR_PIPELINE_EXECUTABLE_PROPERTIES_EXTENSION_NAME;
    }
    VkPhysicalDeviceVulkan12Features features = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES,
                                                 .pNext = cooperative.chain,
                                                 .shaderFloat16 = device->cooperative != 0,
                                                 .vulkanMemoryModel = device->cooperative != 0,
                                                 .vulkanMemoryModelDeviceScope = device->cooperative != 0,
                                                 .timelineSemaphore = VK_TRUE};
    executables.pNext = &features;
    VkDeviceCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO,
        .pNext = device->statistics ? (const void *)&executables : &features,
        .queueCreateInfoCount = device->copies.family == device->compute.family ? 1 : 2,
        .pQueueCreateInfos = queues,
        .enabledExtensionCount = cooperative.n_extensions,
        .ppEnabledExtensionNames = cooperative.extensions,
    };
    VK_TRY(err, vkCreateDevice(device->physical, &info, NULL, &device->handle));
    TRY(queue_open(device->handle, &device->compute, err));
    return queue_open(device->handle, &device->copies, err);
}

enum status device_open(struct device *device, const char *wanted, bool validation, struct error *err)
{
    TRY(instance_open(&device->instance, validation, err));
    device->timeout_ns = SUBMIT_TIMEOUT_NS;
    enum status status = choose(device, wanted, err);
    if (status == STATUS_OK) {
        read_properties(device);
        status = create_device(device, err);
    }
    if (status == STATUS_OK) {
        status = device_check_validation(device, err);
    }
    if (status != STATUS_OK) {
        device_close(device);
    }
    return status;
}

void device_close(struct device *device)
{
    if (device->handle) {
        /* The result does not matter: even a lost device is freed. */
        (void)vkDeviceWaitIdle(device->handle);
        queue_close(device->handle, &device->compute);
        queue_close(device->handle, &device->copies);
        vkDestroyDevice(device->handle, NULL);
    }
    instance_close(&device->instance);
    *device = (struct device){0};
}

enum status device_check_validation(struct device *device, struct error *err)
{
    struct messages *messages = &device->instance.messages;
    if (messages->count == 0) {
        return STATUS_OK;
    }
    enum status status = error_set(err, STATUS_DEVICE, NULL, NULL, ERROR_NO_OFFSET, "Vulkan validation: %s (%u in all)",
                                   messages->first, messages->count);
    *messages = (struct messages){0};
    return status;
}
