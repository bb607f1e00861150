#include "engine/device.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "model/stop.h"

/* How long a wait lasts before it looks whether it is still wanted. */
#define WAIT_SLICE_NS (20ull * 1000 * 1000)

/* One submit is a batch of a few dozen rows at most; on a slow CPU driver that is tens of seconds for a large model. */
#define DEFAULT_CORES 64
#define POLL_NS 3000000
#define SUBMIT_TIMEOUT_NS (300ull * 1000 * 1000 * 1000)

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
    size_t name = strcspn(call, "("); /* the function's name is enough */
    return error_set(err, STATUS_DEVICE, NULL, NULL, ERROR_NO_OFFSET, "Vulkan: %.*s: %s (VkResult %d)", (int)name, call,
                     result_name(result), (int)result);
}

static uint32_t compute_family(VkPhysicalDevice physical)
{
    VkQueueFamilyProperties families[32];
    uint32_t n = 32;
    vkGetPhysicalDeviceQueueFamilyProperties(physical, &n, families);
    for (uint32_t i = 0; i < n; i++) {
        if (families[i].queueFlags & VK_QUEUE_COMPUTE_BIT)
            return i;
    }
    ASSERT(!"a usable device has a compute queue");
    return 0;
}

bool device_has_extension(VkPhysicalDevice physical, const char *name)
{
    uint32_t n = 0;
    if (vkEnumerateDeviceExtensionProperties(physical, NULL, &n, NULL) != VK_SUCCESS || n == 0)
        return false;
    VkExtensionProperties *extensions = xcalloc(n, sizeof(*extensions));
    VkResult result = vkEnumerateDeviceExtensionProperties(physical, NULL, &n, extensions);
    bool found = false;
    for (uint32_t i = 0; i < n && result == VK_SUCCESS; i++)
        found = found || strcmp(extensions[i].extensionName, name) == 0;
    free(extensions);
    return found;
}

/* NVIDIA says how many multiprocessors there are. */
static uint32_t count_cores(VkPhysicalDevice physical)
{
    VkPhysicalDeviceShaderSMBuiltinsPropertiesNV cores = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_SM_BUILTINS_PROPERTIES_NV};
    VkPhysicalDeviceProperties2 properties = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2, .pNext = &cores};
    if (!device_has_extension(physical, VK_NV_SHADER_SM_BUILTINS_EXTENSION_NAME))
        return DEFAULT_CORES;
    vkGetPhysicalDeviceProperties2(physical, &properties);
    return cores.shaderSMCount ? cores.shaderSMCount : DEFAULT_CORES;
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
    device->is_cpu = properties.deviceType == VK_PHYSICAL_DEVICE_TYPE_CPU;
    cooperative_find(device);
    device->statistics = device->statistics && statistics_find(device);
}

static enum status choose(struct device *device, const char *wanted, struct error *err)
{
    VkPhysicalDevice *physical = NULL;
    struct device_info *infos = NULL;
    uint32_t n_devices = 0, choice = 0;
    TRY(instance_devices(&device->instance, &physical, &infos, &n_devices, err));
    enum status status = device_choose(infos, n_devices, wanted, &choice, err);
    if (status == STATUS_OK) {
        device->physical = physical[choice];
        device->info = infos[choice];
    }
    free(physical);
    free(infos);
    return status;
}

static enum status create_device(struct device *device, struct error *err)
{
    float priority = 1;
    device->queue_family = compute_family(device->physical);
    VkDeviceQueueCreateInfo queue = {
        .sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO,
        .queueFamilyIndex = device->queue_family,
        .queueCount = 1,
        .pQueuePriorities = &priority,
    };
    struct cooperative_features cooperative;
    cooperative_enable(device, &cooperative);
    VkPhysicalDevicePipelineExecutablePropertiesFeaturesKHR executables = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PIPELINE_EXECUTABLE_PROPERTIES_FEATURES_KHR,
        .pipelineExecutableInfo = VK_TRUE};
    if (device->statistics)
        cooperative.extensions[cooperative.n_extensions++] = VK_KHR_PIPELINE_EXECUTABLE_PROPERTIES_EXTENSION_NAME;
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
        .queueCreateInfoCount = 1,
        .pQueueCreateInfos = &queue,
        .enabledExtensionCount = cooperative.n_extensions,
        .ppEnabledExtensionNames = cooperative.extensions,
    };
    VK_TRY(err, vkCreateDevice(device->physical, &info, NULL, &device->handle));
    vkGetDeviceQueue(device->handle, device->queue_family, 0, &device->queue);

    VkCommandPoolCreateInfo pool = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
        .queueFamilyIndex = device->queue_family,
    };
    VK_TRY(err, vkCreateCommandPool(device->handle, &pool, NULL, &device->commands));
    VkSemaphoreTypeCreateInfo type = {.sType = VK_STRUCTURE_TYPE_SEMAPHORE_TYPE_CREATE_INFO,
                                      .semaphoreType = VK_SEMAPHORE_TYPE_TIMELINE};
    VkSemaphoreCreateInfo semaphore = {.sType = VK_STRUCTURE_TYPE_SEMAPHORE_CREATE_INFO, .pNext = &type};
    VK_TRY(err, vkCreateSemaphore(device->handle, &semaphore, NULL, &device->timeline));
    return STATUS_OK;
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
    if (status == STATUS_OK)
        status = device_check(device, err);
    if (status != STATUS_OK)
        device_close(device);
    return status;
}

void device_close(struct device *device)
{
    if (device->handle) {
        /* Its result is of no use: lost or not, what follows is freeing. */
        (void)vkDeviceWaitIdle(device->handle);
        vkDestroySemaphore(device->handle, device->timeline, NULL);
        vkDestroyCommandPool(device->handle, device->commands, NULL);
        vkDestroyDevice(device->handle, NULL);
    }
    instance_close(&device->instance);
    *device = (struct device){0};
}

enum status device_commands_begin(struct device *device, bool one_time, VkCommandBuffer *commands, struct error *err)
{
    VkCommandBufferAllocateInfo allocate = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
        .commandPool = device->commands,
        .level = VK_COMMAND_BUFFER_LEVEL_PRIMARY,
        .commandBufferCount = 1,
    };
    VK_TRY(err, vkAllocateCommandBuffers(device->handle, &allocate, commands));
    VkCommandBufferBeginInfo begin = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO,
        .flags = one_time ? VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT : 0,
    };
    VK_TRY(err, vkBeginCommandBuffer(*commands, &begin));
    return STATUS_OK;
}

void device_commands_free(struct device *device, VkCommandBuffer commands)
{
    if (!commands)
        return;
    if (device->working && !device->left) {
        device->left = commands; /* a recorded shape's is freed only after device_settle: this is a call's own */
        return;
    }
    vkFreeCommandBuffers(device->handle, device->commands, 1, &commands);
}

/* Until all that was submitted is done. */
/* A GPU is done so soon that falling asleep would cost a good part of a token: 3 ms of looking first. */
static VkResult poll(const struct device *device)
{
    uint64_t value = 0;
    struct timespec start, now;
    if (device->is_cpu || clock_gettime(CLOCK_MONOTONIC, &start) != 0)
        return VK_TIMEOUT;
    do {
        VkResult result = vkGetSemaphoreCounterValue(device->handle, device->timeline, &value);
        if (result != VK_SUCCESS || value >= device->submitted)
            return result;
        if (clock_gettime(CLOCK_MONOTONIC, &now) != 0)
            return VK_TIMEOUT;
    } while ((now.tv_sec - start.tv_sec) * 1000000000LL + (now.tv_nsec - start.tv_nsec) < POLL_NS &&
             device->timeout_ns > POLL_NS);
    return VK_TIMEOUT;
}

static enum status wait_for_all(struct device *device, bool stoppable, struct error *err)
{
    VkSemaphoreWaitInfo wait = {
        .sType = VK_STRUCTURE_TYPE_SEMAPHORE_WAIT_INFO,
        .semaphoreCount = 1,
        .pSemaphores = &device->timeline,
        .pValues = &device->submitted,
    };
    VkResult result = poll(device);
    for (uint64_t waited = 0; result == VK_TIMEOUT && waited < device->timeout_ns; waited += WAIT_SLICE_NS) {
        uint64_t rest = device->timeout_ns - waited;
        result = vkWaitSemaphores(device->handle, &wait, rest < WAIT_SLICE_NS ? rest : WAIT_SLICE_NS);
        if (result == VK_TIMEOUT && stoppable && stop_asked())
            return stop_check(err);
    }
    VK_TRY(err, result);
    return STATUS_OK;
}

static enum status submit_and_wait(struct device *device, VkCommandBuffer commands, bool stoppable, struct error *err)
{
    uint64_t value = device->submitted + 1;
    VkTimelineSemaphoreSubmitInfo timeline = {
        .sType = VK_STRUCTURE_TYPE_TIMELINE_SEMAPHORE_SUBMIT_INFO,
        .signalSemaphoreValueCount = 1,
        .pSignalSemaphoreValues = &value,
    };
    VkSubmitInfo submit = {
        .sType = VK_STRUCTURE_TYPE_SUBMIT_INFO,
        .pNext = &timeline,
        .commandBufferCount = 1,
        .pCommandBuffers = &commands,
        .signalSemaphoreCount = 1,
        .pSignalSemaphores = &device->timeline,
    };
    VK_TRY(err, vkQueueSubmit(device->queue, 1, &submit, VK_NULL_HANDLE));
    device->submitted = value;
    return wait_for_all(device, stoppable, err);
}

enum status device_settle(struct device *device, struct error *err)
{
    if (!device->working)
        return STATUS_OK;
    enum status status = wait_for_all(device, true, err);
    if (status == STATUS_INTERRUPTED)
        return status;
    device->working = false;
    device->lost = device->lost || status != STATUS_OK;
    device_commands_free(device, device->left);
    device->left = VK_NULL_HANDLE;
    return status;
}

static enum status run(struct device *device, VkCommandBuffer commands, bool stoppable, struct error *err)
{
    if (device->lost)
        return error_set(err, STATUS_DEVICE, NULL, NULL, ERROR_NO_OFFSET,
                         "the device was lost, or timed out, in an earlier call");
    TRY(device_settle(device, err));
    enum status status = submit_and_wait(device, commands, stoppable, err);
    device->working = status == STATUS_INTERRUPTED;
    device->lost = status == STATUS_DEVICE;
    return status;
}

enum status device_run(struct device *device, VkCommandBuffer commands, struct error *err)
{
    return run(device, commands, false, err);
}

enum status device_run_stoppable(struct device *device, VkCommandBuffer commands, struct error *err)
{
    return run(device, commands, true, err);
}

enum status device_check(struct device *device, struct error *err)
{
    struct messages *messages = &device->instance.messages;
    if (messages->count == 0)
        return STATUS_OK;
    enum status status = error_set(err, STATUS_DEVICE, NULL, NULL, ERROR_NO_OFFSET, "Vulkan validation: %s (%u in all)",
                                   messages->first, messages->count);
    *messages = (struct messages){0};
    return status;
}
