/* A Vulkan device, opened: instance, choice, queues, and the timelines that everything waits on. Nothing here is
 * called before the engine is asked for: the program links libvulkan, but reading and auditing traces needs no driver.
 */
#ifndef LOCKSTEP_ENGINE_DEVICE_H
#define LOCKSTEP_ENGINE_DEVICE_H

#include <vulkan/vulkan.h>

#include "engine/device/khr_cooperative_matrix.h"
#include "engine/engine.h"
#include "model/error.h"

/* Storage buffers that one shader binds at most; Vulkan promises only 4 on every device. */
#define DEVICE_MAX_BINDINGS 16

/* What the validation layers said first since it was last asked; empty: nothing. */
struct messages {
    uint32_t count;
    char first[768];
};

struct instance {
    VkInstance handle;
    VkDebugUtilsMessengerEXT messenger; /* with validation */
    bool validates;                     /* with validation: `handle` is its own; else it is the process's */
    uint32_t validation_version;        /* of Vulkan, that the validation layer knows; 0 without it */
    struct messages messages;
};

/* What runs in the order of its submits, as the timeline counts them. */
struct queue {
    uint32_t family;
    VkQueue handle; /* the copies' is the other one's own where the device has no queue for copies alone */
    VkCommandPool commands;
    VkSemaphore timeline;
    uint64_t submitted; /* the timeline reaches this when all work submitted is done */
};

struct device {
    struct instance instance;
    struct device_info info;
    VkPhysicalDevice physical;
    VkPhysicalDeviceLimits limits;
    VkPhysicalDeviceMemoryProperties memory;
    uint8_t uuid[VK_UUID_SIZE]; /* of its pipeline cache */
    uint32_t driver_version;
    VkDevice handle;
    struct queue compute, copies;       /* copies: to the host, beside what is computed */
    uint64_t allocated, most_allocated; /* bytes of device memory: now, and at one time */
    uint64_t timeout_ns;                /* how long one submit may take */
    unsigned cooperative; /* COOPERATIVE_ bits: multiplies matrices of halves, 16 x 16 x 16 into f32, a subgroup each */
    uint32_t cores;       /* that run workgroups side by side; a guess where the device does not say */
    bool native_half;     /* its conversion of halves keeps subnormal ones, as it says */
    bool statistics;      /* set by who opens it: the driver's statistics of programs are wanted; cleared without */
    bool lost;            /* lost or timed out: every later call fails */
    bool working;         /* on submits that nobody waits for any more */
    VkCommandBuffer left; /* of such a submit, to be freed once it is done */
};

/* The extensions that such matrices come in; some devices have both. */
#define COOPERATIVE_KHR 1u
#define COOPERATIVE_NV 2u
#define COOPERATIVE_SUBGROUP 32 /* lanes that programs with such matrices ask for, in whole subgroups */

/* What a device is created with for them. Must stay where it is until then. */
struct cooperative_features {
    void *chain;               /* for pNext; NULL: nothing */
    const char *extensions[4]; /* one more than are needed for them */
    uint32_t n_extensions;
    VkPhysicalDeviceCooperativeMatrixFeaturesKHR khr;
    VkPhysicalDeviceCooperativeMatrixFeaturesNV nv;
    VkPhysicalDeviceSubgroupSizeControlFeatures subgroup;
};

/* cooperative.c: fills device->cooperative; everything else of the device has been read. */
void cooperative_find(struct device *device);
void cooperative_enable(const struct device *device, struct cooperative_features *features);

/* statistics.c: whether the driver can be asked about the programs that it makes. */
bool statistics_find(const struct device *device);

bool device_has_extension(VkPhysicalDevice physical, const char *name);

/* Opens an instance, with or without the validation layers. *instance must stay where it is until instance_close. The
 * one without is the process's: the first call of either kind makes it, and it is kept until the process ends, so that
 * the driver stays loaded (NVIDIA's can be loaded thirty times, and then no more). STATUS_ABSENT: no driver, or no
 * layer. */
enum status instance_open(struct instance *instance, bool validation, struct error *err);
void instance_close(struct instance *instance);

/* The physical devices, described, with the default choice marked; both arrays are malloc'ed. */
enum status instance_devices(const struct instance *instance, VkPhysicalDevice **physical, struct device_info **infos,
                             uint32_t *n_devices, struct error *err);

/* Fills the choice for an engine_options.device. */
enum status device_choose(const struct device_info *infos, uint32_t n_devices, const char *wanted, uint32_t *choice,
                          struct error *err);

/* *device must be zeroed, but for `statistics`, and must stay where it is. On failure nothing stays open. */
enum status device_open(struct device *device, const char *wanted, bool validation, struct error *err);
void device_close(struct device *device);

/* submit.c. A command buffer in the recording state, for `compute`; freed by device_commands_free, or with the device.
 */
enum status device_commands_begin(struct device *device, bool one_time, VkCommandBuffer *commands, struct error *err);
void device_commands_free(struct device *device, VkCommandBuffer commands);

/* The same for `copies`, to be submitted again and again. */
enum status device_copy_begin(struct device *device, VkCommandBuffer *commands, struct error *err);
void device_copy_free(struct device *device, VkCommandBuffer commands);

/* Submits a recorded command buffer, behind all copies, and waits. Lost or timed out: STATUS_DEVICE, then and ever
 * after. */
enum status device_run(struct device *device, VkCommandBuffer commands, struct error *err);

/* The same, but the wait ends early with STATUS_INTERRUPTED if stop_asked(): then the device works on, and nothing that
 * it may use is touched before device_settle. */
enum status device_run_stoppable(struct device *device, VkCommandBuffer commands, struct error *err);

/* Without a wait: n recorded command buffers, which start when the first `after_copy` copies are done; a copy, which
 * starts when all is done that was submitted to `compute` so far. Their numbers are in submitted, from then on. */
enum status device_submit(struct device *device, const VkCommandBuffer *commands, uint32_t n, uint64_t after_copy,
                          struct error *err);
enum status device_submit_copy(struct device *device, VkCommandBuffer commands, struct error *err);

/* Waits until a queue is done with its first `number` submits; stoppable as device_run_stoppable is. */
enum status device_wait(struct device *device, const struct queue *queue, uint64_t number, struct error *err);

/* Waits until the device is done with what an earlier call left; STATUS_INTERRUPTED if stop_asked() again. */
enum status device_settle(struct device *device, struct error *err);

/* The same, and with copies: nothing that was submitted is at work any more. */
enum status device_idle(struct device *device, struct error *err);

/* STATUS_DEVICE if the validation layers said anything since the last check. */
enum status device_check(struct device *device, struct error *err);

/* The status and the text of a failed call. */
enum status vulkan_failed(struct error *err, VkResult result, const char *call);

/* Every VkResult goes through this: a call that fails ends the function with a filled struct error. */
#define VK_TRY(err, call)                                    \
    do {                                                     \
        VkResult vk_try_result = (call);                     \
        if (vk_try_result != VK_SUCCESS)                     \
            return vulkan_failed(err, vk_try_result, #call); \
    } while (0)

#endif
