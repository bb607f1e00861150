#include "engine/device/submit.h"

#include <time.h>

#include "model/stop.h"

#define WAIT_SLICE_NS (20ull * 1000 * 1000) /* a wait checks stop_asked() every 20 ms */
#define POLL_NS 3000000                     /* a wait polls for 3 ms before it sleeps */

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

enum status commands_begin(struct device *device, bool one_time, VkCommandBuffer *commands, struct error *err)
{
    return begin_commands(device, &device->compute, one_time ? VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT : 0,
                          commands, err);
}

/* SIMULTANEOUS_USE allows a copy to be submitted again before the last submit of it is done. They cannot overlap: the
 * second one waits for a compute submit that itself waits for the first one. */
enum status copy_commands_begin(struct device *device, VkCommandBuffer *commands, struct error *err)
{
    return begin_commands(device, &device->copies, VK_COMMAND_BUFFER_USAGE_SIMULTANEOUS_USE_BIT, commands, err);
}

void commands_free(struct device *device, VkCommandBuffer commands)
{
    if (!commands) {
        return;
    }
    if (device->interrupted && !device->left_commands) {
        /* These are the commands of the call that was interrupted: recorded shapes are freed only after submit_settle.
         */
        device->left_commands = commands;
        return;
    }
    vkFreeCommandBuffers(device->handle, device->compute.commands, 1, &commands);
}

void copy_commands_free(struct device *device, VkCommandBuffer commands)
{
    if (commands) {
        vkFreeCommandBuffers(device->handle, device->copies.commands, 1, &commands);
    }
}

/* Polls the timeline for up to POLL_NS. A GPU finishes a token in about a millisecond, and waking up from a sleep would
 * add a good part of that. A CPU driver needs the core itself. VK_TIMEOUT: not done yet. */
static VkResult poll_queue(const struct device *device, const struct queue *queue, uint64_t number)
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

static enum status wait_for_queue(const struct device *device, const struct queue *queue, uint64_t number,
                                  bool stoppable, struct error *err)
{
    VkSemaphoreWaitInfo info = {
        .sType = VK_STRUCTURE_TYPE_SEMAPHORE_WAIT_INFO,
        .semaphoreCount = 1,
        .pSemaphores = &queue->timeline,
        .pValues = &number,
    };
    VkResult result = poll_queue(device, queue, number);
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

/* Submits to `queue`. The work starts when submit number `after` of `other` is done; 0: at once. */
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

/* Remembers an interrupted or lost device for later calls. */
static enum status remember_status(struct device *device, enum status status)
{
    device->interrupted = device->interrupted || status == STATUS_INTERRUPTED;
    device->lost = device->lost || status == STATUS_DEVICE;
    return status;
}

static enum status check_lost(const struct device *device, struct error *err)
{
    return device->lost ? error_set(err, STATUS_DEVICE, NULL, NULL, ERROR_NO_OFFSET,
                                    "the device was lost, or timed out, in an earlier call")
                        : STATUS_OK;
}

enum status submit_compute(struct device *device, const VkCommandBuffer *commands, uint32_t n, uint64_t after_copy,
                           struct error *err)
{
    uint64_t done = 0;
    TRY(check_lost(device, err));
    /* Spare the device the wait for a copy that is already done. */
    if (after_copy) {
        VkResult result = vkGetSemaphoreCounterValue(device->handle, device->copies.timeline, &done);
        if (result != VK_SUCCESS) {
            return remember_status(device, vulkan_failed(err, result, "vkGetSemaphoreCounterValue"));
        }
    }
    return remember_status(
        device, submit(&device->compute, commands, n, &device->copies, done >= after_copy ? 0 : after_copy, err));
}

enum status submit_copy(struct device *device, VkCommandBuffer commands, struct error *err)
{
    TRY(check_lost(device, err));
    return remember_status(device,
                           submit(&device->copies, &commands, 1, &device->compute, device->compute.submitted, err));
}

enum status submit_wait(struct device *device, const struct queue *queue, uint64_t number, struct error *err)
{
    TRY(check_lost(device, err));
    return remember_status(device, wait_for_queue(device, queue, number, true, err));
}

enum status submit_wait_all(struct device *device, struct error *err)
{
    TRY(check_lost(device, err));
    enum status status = wait_for_queue(device, &device->compute, device->compute.submitted, true, err);
    if (status == STATUS_OK) {
        status = wait_for_queue(device, &device->copies, device->copies.submitted, true, err);
    }
    if (status == STATUS_INTERRUPTED) {
        return status;
    }
    device->interrupted = false;
    device->lost = device->lost || status != STATUS_OK;
    commands_free(device, device->left_commands);
    device->left_commands = VK_NULL_HANDLE;
    return status;
}

enum status submit_settle(struct device *device, struct error *err)
{
    return device->interrupted ? submit_wait_all(device, err) : STATUS_OK;
}

static enum status run_commands(struct device *device, VkCommandBuffer commands, bool stoppable, struct error *err)
{
    TRY(check_lost(device, err));
    TRY(submit_settle(device, err));
    TRY(submit_compute(device, &commands, 1, device->copies.submitted, err));
    return remember_status(device, wait_for_queue(device, &device->compute, device->compute.submitted, stoppable, err));
}

enum status submit_and_wait(struct device *device, VkCommandBuffer commands, struct error *err)
{
    return run_commands(device, commands, false, err);
}

enum status submit_and_wait_stoppable(struct device *device, VkCommandBuffer commands, struct error *err)
{
    return run_commands(device, commands, true, err);
}
