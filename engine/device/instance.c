#include "engine/device/instance.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

/* The shared instance of the process. The first call creates it. */
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
        .pNext = &messenger, /* also reports messages of vkCreateInstance and vkDestroyInstance */
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
    /* A close returns no status. The layers complain here only about objects that we forgot to destroy. */
    if (instance->messages.count) {
        fprintf(stderr, "lockstep: Vulkan validation: %s\n", instance->messages.first);
    }
    ASSERT(instance->messages.count == 0);
    *instance = (struct instance){0};
}
