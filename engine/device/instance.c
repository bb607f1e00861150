/* The Vulkan instance: validation, the list of devices, and the choice among them. */
#include <ctype.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/device/device.h"

#define VALIDATION_LAYER "VK_LAYER_KHRONOS_validation"

static VKAPI_ATTR VkBool32 VKAPI_CALL on_message(VkDebugUtilsMessageSeverityFlagBitsEXT severity,
                                                 VkDebugUtilsMessageTypeFlagsEXT types,
                                                 const VkDebugUtilsMessengerCallbackDataEXT *data, void *context)
{
    struct messages *messages = context;
    (void)severity, (void)types;
    if (messages->count++ == 0) {
        snprintf(messages->first, sizeof(messages->first), "%s", data->pMessage);
    }
    return VK_FALSE;
}

static const char *const validation_extensions[] = {VK_EXT_DEBUG_UTILS_EXTENSION_NAME,
                                                    VK_EXT_VALIDATION_FEATURES_EXTENSION_NAME};
static const char *const validation_layers[] = {VALIDATION_LAYER};
static const VkValidationFeatureEnableEXT validation_enables[] = {
    VK_VALIDATION_FEATURE_ENABLE_SYNCHRONIZATION_VALIDATION_EXT};

static enum status create_messenger(struct instance *instance, const VkDebugUtilsMessengerCreateInfoEXT *info,
                                    struct error *err)
{
    PFN_vkCreateDebugUtilsMessengerEXT create =
        (PFN_vkCreateDebugUtilsMessengerEXT)vkGetInstanceProcAddr(instance->handle, "vkCreateDebugUtilsMessengerEXT");
    ASSERT(create);
    VK_TRY(err, create(instance->handle, info, NULL, &instance->messenger));
    return STATUS_OK;
}

static enum status instance_status(VkResult result, struct error *err)
{
    if (result == VK_ERROR_LAYER_NOT_PRESENT) {
        return error_set(err, STATUS_ABSENT, NULL, NULL, ERROR_NO_OFFSET,
                         "the Vulkan layer " VALIDATION_LAYER " is not installed (package vulkan-validationlayers)");
    }
    if (result == VK_ERROR_INCOMPATIBLE_DRIVER) {
        return error_set(err, STATUS_ABSENT, NULL, NULL, ERROR_NO_OFFSET, "no Vulkan driver was found");
    }
    return result == VK_SUCCESS ? STATUS_OK : vulkan_failed(err, result, "vkCreateInstance");
}

static const VkApplicationInfo application = {
    .sType = VK_STRUCTURE_TYPE_APPLICATION_INFO,
    .pApplicationName = "lockstep",
    .apiVersion = VK_API_VERSION_1_2,
};

/* The process's instance, made when it is first asked for. */
static enum status plain_instance(VkInstance *handle, struct error *err)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static VkInstance plain;
    VkInstanceCreateInfo info = {.sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO, .pApplicationInfo = &application};
    VkInstance made;
    VkResult result = VK_SUCCESS;
    pthread_mutex_lock(&lock);
    if (!plain && (result = vkCreateInstance(&info, NULL, &made)) == VK_SUCCESS) {
        plain = made;
    }
    *handle = plain;
    pthread_mutex_unlock(&lock);
    return instance_status(result, err);
}

static enum status validation_version(uint32_t *version, struct error *err)
{
    uint32_t n = 0;
    VK_TRY(err, vkEnumerateInstanceLayerProperties(&n, NULL));
    VkLayerProperties *layers = xcalloc(n + 1, sizeof(*layers));
    VkResult result = vkEnumerateInstanceLayerProperties(&n, layers);
    for (uint32_t i = 0; i < n && result == VK_SUCCESS; i++) {
        if (strcmp(layers[i].layerName, VALIDATION_LAYER) == 0) {
            *version = layers[i].specVersion;
        }
    }
    free(layers);
    return result == VK_SUCCESS ? STATUS_OK : vulkan_failed(err, result, "vkEnumerateInstanceLayerProperties");
}

static enum status validating_instance(struct instance *instance, struct error *err)
{
    VkDebugUtilsMessengerCreateInfoEXT messenger = {
        .sType = VK_STRUCTURE_TYPE_DEBUG_UTILS_MESSENGER_CREATE_INFO_EXT,
        .messageSeverity =
            VK_DEBUG_UTILS_MESSAGE_SEVERITY_WARNING_BIT_EXT | VK_DEBUG_UTILS_MESSAGE_SEVERITY_ERROR_BIT_EXT,
        .messageType = VK_DEBUG_UTILS_MESSAGE_TYPE_VALIDATION_BIT_EXT | VK_DEBUG_UTILS_MESSAGE_TYPE_PERFORMANCE_BIT_EXT,
        .pfnUserCallback = on_message,
        .pUserData = &instance->messages,
    };
    VkValidationFeaturesEXT features = {
        .sType = VK_STRUCTURE_TYPE_VALIDATION_FEATURES_EXT,
        .pNext = &messenger, /* covers the creation and destruction of the instance itself */
        .enabledValidationFeatureCount = 1,
        .pEnabledValidationFeatures = validation_enables,
    };
    VkInstanceCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO,
        .pNext = &features,
        .pApplicationInfo = &application,
        .enabledLayerCount = 1,
        .ppEnabledLayerNames = validation_layers,
        .enabledExtensionCount = 2,
        .ppEnabledExtensionNames = validation_extensions,
    };
    TRY(instance_status(vkCreateInstance(&info, NULL, &instance->handle), err));
    instance->validates = true;
    TRY(validation_version(&instance->validation_version, err));
    return create_messenger(instance, &messenger, err);
}

enum status instance_open(struct instance *instance, bool validation, struct error *err)
{
    *instance = (struct instance){0};
    VkInstance plain;
    TRY(plain_instance(&plain, err));
    if (!validation) {
        instance->handle = plain;
        return STATUS_OK;
    }
    enum status status = validating_instance(instance, err);
    if (status != STATUS_OK) {
        instance_close(instance);
    }
    return status;
}

void instance_close(struct instance *instance)
{
    if (instance->messenger) {
        PFN_vkDestroyDebugUtilsMessengerEXT destroy = (PFN_vkDestroyDebugUtilsMessengerEXT)vkGetInstanceProcAddr(
            instance->handle, "vkDestroyDebugUtilsMessengerEXT");
        destroy(instance->handle, instance->messenger, NULL);
    }
    if (instance->validates) {
        vkDestroyInstance(instance->handle, NULL);
    }
    /* A close returns no status, and what is still alive here is our own mistake. */
    if (instance->messages.count) {
        fprintf(stderr, "lockstep: Vulkan validation: %s\n", instance->messages.first);
    }
    ASSERT(instance->messages.count == 0);
    *instance = (struct instance){0};
}

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

/* What the default choice prefers: the larger the better. A CPU is taken if there is nothing else. */
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
                   core->limits.maxPerStageDescriptorStorageBuffers >= DEVICE_MAX_BINDINGS;
}

static void mark_default(struct device_info *infos, uint32_t n_devices)
{
    struct device_info *best = NULL;
    for (uint32_t i = 0; i < n_devices; i++) {
        if (infos[i].usable && (!best || type_rank(infos[i].type) > type_rank(best->type))) {
            best = &infos[i];
        }
    }
    if (best) {
        best->chosen = true;
    }
}

enum status instance_devices(const struct instance *instance, VkPhysicalDevice **physical, struct device_info **infos,
                             uint32_t *n_devices, struct error *err)
{
    uint32_t n = 0;
    VkResult result = vkEnumeratePhysicalDevices(instance->handle, &n, NULL);
    if (result == VK_ERROR_INITIALIZATION_FAILED || (result == VK_SUCCESS && n == 0)) {
        return error_set(err, STATUS_ABSENT, NULL, NULL, ERROR_NO_OFFSET, "no Vulkan device was found");
    }
    VK_TRY(err, result);
    VkPhysicalDevice *handles = xcalloc(n, sizeof(VkPhysicalDevice));
    result = vkEnumeratePhysicalDevices(instance->handle, &n, handles);
    if (result != VK_SUCCESS && result != VK_INCOMPLETE) {
        free(handles);
        VK_TRY(err, result);
    }
    *physical = handles;
    *infos = xcalloc(n, sizeof(**infos));
    *n_devices = n;
    for (uint32_t i = 0; i < n; i++) {
        describe(handles[i], i, &(*infos)[i]);
    }
    mark_default(*infos, n);
    return STATUS_OK;
}

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

enum status device_choose(const struct device_info *infos, uint32_t n_devices, const char *wanted, uint32_t *choice,
                          struct error *err)
{
    bool is_index = wanted && *wanted && wanted[strspn(wanted, "0123456789")] == '\0';
    for (uint32_t i = 0; i < n_devices; i++) {
        char index[16];
        snprintf(index, sizeof(index), "%u", i);
        if (!wanted ? infos[i].chosen : is_index ? strcmp(index, wanted) == 0 : contains(infos[i].name, wanted)) {
            if (!infos[i].usable) {
                return error_set(err, STATUS_ABSENT, NULL, NULL, ERROR_NO_OFFSET,
                                 "device %u (%s) lacks what the engine needs: Vulkan 1.2, timeline semaphores, "
                                 "%d storage buffers a shader",
                                 i, infos[i].name, DEVICE_MAX_BINDINGS);
            }
            *choice = i;
            return STATUS_OK;
        }
    }
    if (!wanted) {
        return error_set(err, STATUS_ABSENT, NULL, NULL, ERROR_NO_OFFSET,
                         "none of %u Vulkan devices has what the engine needs", n_devices);
    }
    char numbers[32] = "0";
    if (n_devices > 1) {
        snprintf(numbers, sizeof(numbers), "0 to %u", n_devices - 1);
    }
    return error_set(err, STATUS_ABSENT, NULL, "--device", ERROR_NO_OFFSET,
                     "\"%s\", expected %s or a part of a name that lockstep devices lists (0 is %s)", wanted, numbers,
                     infos[0].name);
}

enum status engine_devices(struct device_info **devices, uint32_t *n_devices, struct error *err)
{
    struct instance instance;
    TRY(instance_open(&instance, false, err));
    VkPhysicalDevice *physical = NULL;
    enum status status = instance_devices(&instance, &physical, devices, n_devices, err);
    free(physical);
    instance_close(&instance);
    return status;
}
