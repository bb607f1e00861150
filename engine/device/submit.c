/* Command buffers, submits and waits. */
#include <time.h>

#include "engine/device/device.h"
#include "model/stop.h"

/* How long a wait lasts before it looks whether it is still wanted. */
#define WAIT_SLICE_NS (20ull * 1000 * 1000)
#define POLL_NS 3000000

static enum status begin_commands(struct device *device, const struct queue *queue, VkCommandBufferUsageFlags usage,
                                  VkCommandBuffer *commands, struct error *err)
{
    VkCommandBufferAllocateInfo allocate = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
        .commandPool = queue->commands,
        .level = VK_COMMAND_BUFFER_LEVEL_PRIMARY,
        .commandBufferCount = 1,
    };
    VK_TRY(err, vkAllocateCommandBuffers(device->handle, &allocate, commands));
    VkCommandBufferBeginInfo begin = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO, .flags = usage};
    VK_TRY(err, vkBeginCommandBuffer(*commands, &begin));
    return STATUS_OK;
}

enum status device_commands_begin(struct device *device, bool one_time, VkCommandBuffer *commands, struct error *err)
{
    return begin_commands(device, &device->compute, one_time ? VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT : 0,
                          commands, err);
}

/* Nobody need wait for a copy before it is submitted again: what it waits for waits for the one before. */
enum status device_copy_begin(struct device *device, VkCommandBuffer *commands, struct error *err)
{
    return begin_commands(device, &device->copies, VK_COMMAND_BUFFER_USAGE_SIMULTANEOUS_USE_BIT, commands, err);
}

void device_commands_free(struct device *device, VkCommandBuffer commands)
{
    if (!commands) {
        return;
    }
    if (device->working && !device->left) {
        device->left = commands; /* a recorded shape's is freed only after device_settle: this is a call's own */
        return;
    }
    vkFreeCommandBuffers(device->handle, device->compute.commands, 1, &commands);
}

void device_copy_free(struct device *device, VkCommandBuffer commands)
{
    if (commands) {
        vkFreeCommandBuffers(device->handle, device->copies.commands, 1, &commands);
    }
}

/* A GPU is done so soon that falling asleep would cost a good part of a token: 3 ms of looking first. */
static VkResult poll(const struct device *device, const struct queue *queue, uint64_t number)
{
    uint64_t value = 0;
    struct timespec start, now;
    if (device->info.is_cpu || clock_gettime(CLOCK_MONOTONIC, &start) != 0) {
        return VK_TIMEOUT;
    }
    do {
        VkResult result = vkGetSemaphoreCounterValue(device->handle, queue->timeline, &value);
        if (result != VK_SUCCESS || value >= number) {
            return result;
        }
        if (clock_gettime(CLOCK_MONOTONIC, &now) != 0) {
            return VK_TIMEOUT;
        }
    } while ((now.tv_sec - start.tv_sec) * 1000000000LL + (now.tv_nsec - start.tv_nsec) < POLL_NS &&
             device->timeout_ns > POLL_NS);
    return VK_TIMEOUT;
}

static enum status wait(const struct device *device, const struct queue *queue, uint64_t number, bool stoppable,
                        struct error *err)
{
    VkSemaphoreWaitInfo info = {
        .sType = VK_STRUCTURE_TYPE_SEMAPHORE_WAIT_INFO,
        .semaphoreCount = 1,
        .pSemaphores = &queue->timeline,
        .pValues = &number,
    };
    VkResult result = poll(device, queue, number);
    for (uint64_t waited = 0; result == VK_TIMEOUT && waited < device->timeout_ns; waited += WAIT_SLICE_NS) {
        uint64_t rest = device->timeout_ns - waited;
        result = vkWaitSemaphores(device->handle, &info, rest < WAIT_SLICE_NS ? rest : WAIT_SLICE_NS);
        if (result == VK_TIMEOUT && stoppable && stop_asked()) {
            return stop_check(err);
        }
    }
    VK_TRY(err, result);
    return STATUS_OK;
}

/* To `queue`, behind what was submitted to `other` up to `after`; *submitted counts it. */
static enum status submit(struct queue *queue, const VkCommandBuffer *commands, uint32_t n, const struct queue *other,
                          uint64_t after, struct error *err)
{
    const VkPipelineStageFlags waits = VK_PIPELINE_STAGE_ALL_COMMANDS_BIT;
    uint64_t number = queue->submitted + 1;
    VkTimelineSemaphoreSubmitInfo timeline = {
        .sType = VK_STRUCTURE_TYPE_TIMELINE_SEMAPHORE_SUBMIT_INFO,
        .waitSemaphoreValueCount = after ? 1 : 0,
        .pWaitSemaphoreValues = &after,
        .signalSemaphoreValueCount = 1,
        .pSignalSemaphoreValues = &number,
    };
    VkSubmitInfo info = {
        .sType = VK_STRUCTURE_TYPE_SUBMIT_INFO,
        .pNext = &timeline,
        .waitSemaphoreCount = after ? 1 : 0,
        .pWaitSemaphores = &other->timeline,
        .pWaitDstStageMask = &waits,
        .commandBufferCount = n,
        .pCommandBuffers = commands,
        .signalSemaphoreCount = 1,
        .pSignalSemaphores = &queue->timeline,
    };
    VK_TRY(err, vkQueueSubmit(queue->handle, 1, &info, VK_NULL_HANDLE));
    queue->submitted = number;
    return STATUS_OK;
}

/* What a submit or a wait ended with holds for all that follows. */
static enum status ended(struct device *device, enum status status)
{
    device->working = device->working || status == STATUS_INTERRUPTED;
    device->lost = device->lost || status == STATUS_DEVICE;
    return status;
}

static enum status check_lost(const struct device *device, struct error *err)
{
    return device->lost ? error_set(err, STATUS_DEVICE, NULL, NULL, ERROR_NO_OFFSET,
                                    "the device was lost, or timed out, in an earlier call")
                        : STATUS_OK;
}

enum status device_submit(struct device *device, const VkCommandBuffer *commands, uint32_t n, uint64_t after_copy,
                          struct error *err)
{
    uint64_t done = 0;
    TRY(check_lost(device, err));
    /* A copy that is done need not be waited for on the device. */
    if (after_copy) {
        VkResult result = vkGetSemaphoreCounterValue(device->handle, device->copies.timeline, &done);
        if (result != VK_SUCCESS) {
            return ended(device, vulkan_failed(err, result, "vkGetSemaphoreCounterValue"));
        }
    }
    return ended(device,
                 submit(&device->compute, commands, n, &device->copies, done >= after_copy ? 0 : after_copy, err));
}

enum status device_submit_copy(struct device *device, VkCommandBuffer commands, struct error *err)
{
    TRY(check_lost(device, err));
    return ended(device, submit(&device->copies, &commands, 1, &device->compute, device->compute.submitted, err));
}

enum status device_wait(struct device *device, const struct queue *queue, uint64_t number, struct error *err)
{
    TRY(check_lost(device, err));
    return ended(device, wait(device, queue, number, true, err));
}

enum status device_idle(struct device *device, struct error *err)
{
    TRY(check_lost(device, err));
    enum status status = wait(device, &device->compute, device->compute.submitted, true, err);
    if (status == STATUS_OK) {
        status = wait(device, &device->copies, device->copies.submitted, true, err);
    }
    if (status == STATUS_INTERRUPTED) {
        return status;
    }
    device->working = false;
    device->lost = device->lost || status != STATUS_OK;
    device_commands_free(device, device->left);
    device->left = VK_NULL_HANDLE;
    return status;
}

enum status device_settle(struct device *device, struct error *err)
{
    return device->working ? device_idle(device, err) : STATUS_OK;
}

static enum status run(struct device *device, VkCommandBuffer commands, bool stoppable, struct error *err)
{
    TRY(check_lost(device, err));
    TRY(device_settle(device, err));
    TRY(device_submit(device, &commands, 1, device->copies.submitted, err));
    return ended(device, wait(device, &device->compute, device->compute.submitted, stoppable, err));
}

enum status device_run(struct device *device, VkCommandBuffer commands, struct error *err)
{
    return run(device, commands, false, err);
}

enum status device_run_stoppable(struct device *device, VkCommandBuffer commands, struct error *err)
{
    return run(device, commands, true, err);
}
