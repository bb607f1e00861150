/* An open Vulkan device with its queues. Nothing here is called before an engine is opened: reading and auditing traces
 * needs no driver. */
#ifndef LOCKSTEP_ENGINE_DEVICE_DEVICE_H
#define LOCKSTEP_ENGINE_DEVICE_DEVICE_H

#include "engine/device/device_info.h"
#include "engine/device/instance.h"

/* A queue runs its submits in order. A timeline semaphore counts the finished ones. */
struct queue {
    uint32_t family;
    VkQueue handle; /* both queues share one handle if the device has no queue for copies alone */
    VkCommandPool commands;
    VkSemaphore timeline;
    uint64_t submitted; /* number of the last submit; the timeline reaches it when all work is done */
};

struct device {
    struct instance instance;
    struct device_info info;
    VkPhysicalDevice physical;
    VkPhysicalDeviceLimits limits;
    VkPhysicalDeviceMemoryProperties memory;
    uint8_t uuid[VK_UUID_SIZE]; /* of the driver's pipeline cache */
    uint32_t driver_version;
    VkDevice handle;
    struct queue compute;
    struct queue copies;           /* copies to the host; runs beside `compute` */
    uint64_t allocated;            /* bytes of device memory in use */
    uint64_t most_allocated;       /* peak of `allocated` */
    uint64_t timeout_ns;           /* of one submit */
    unsigned cooperative;          /* COOPERATIVE_ bits: kinds of cooperative matrices */
    uint32_t cores;                /* multiprocessors; 64 if the driver does not tell */
    bool native_half;              /* its conversion of halves keeps subnormal numbers */
    bool statistics;               /* the driver keeps statistics of programs */
    bool lost;                     /* lost or timed out: every later call fails */
    bool interrupted;              /* a wait was interrupted: earlier submits may still run */
    VkCommandBuffer left_commands; /* of the interrupted submit; freed when it is done */
};

/* Opens the device that `wanted` names (see device_list_choose). *device must be zeroed, except that the caller may set
 * `statistics` to ask for them; it is cleared if the driver has none. *device must not move until device_close. On
 * failure nothing stays open. */
enum status device_open(struct device *device, const char *wanted, bool validation, struct error *err);
void device_close(struct device *device);

/* STATUS_DEVICE if the validation layers printed a message since the last check. */
enum status device_check_validation(struct device *device, struct error *err);

#endif
