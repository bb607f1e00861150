/* Command buffers, submits and waits. A lost device, a timeout and an interrupted wait are remembered in struct device,
 * and checked by every later call. */
#ifndef LOCKSTEP_ENGINE_DEVICE_SUBMIT_H
#define LOCKSTEP_ENGINE_DEVICE_SUBMIT_H

#include "engine/device/device.h"

/* Allocates a command buffer for the compute queue and begins recording. Free it with commands_free; closing the device
 * frees it as well. */
enum status commands_begin(struct device *device, bool one_time, VkCommandBuffer *commands, struct error *err);

/* commands: NULL is allowed. After an interrupted wait the buffer is kept until its submit is done. */
void commands_free(struct device *device, VkCommandBuffer commands);

/* The same for the copy queue. The command buffer may be submitted again while an earlier submit of it runs. */
enum status copy_commands_begin(struct device *device, VkCommandBuffer *commands, struct error *err);
void copy_commands_free(struct device *device, VkCommandBuffer commands);

/* Submits a command buffer after all copies, and waits until it is done. Lost or timed out: STATUS_DEVICE, now and in
 * every later call. */
enum status submit_and_wait(struct device *device, VkCommandBuffer commands, struct error *err);

/* The same, but returns STATUS_INTERRUPTED early if stop_asked(). The device then still works: nothing that the submit
 * uses may be touched before submit_settle. */
enum status submit_and_wait_stoppable(struct device *device, VkCommandBuffer commands, struct error *err);

/* Submits n command buffers to the compute queue without waiting. They start when copy number `after_copy` is done.
 * device->compute.submitted is the number of this submit. */
enum status submit_compute(struct device *device, const VkCommandBuffer *commands, uint32_t n, uint64_t after_copy,
                           struct error *err);

/* Submits a copy without waiting. It starts when everything submitted to the compute queue so far is done.
 * device->copies.submitted is its number. */
enum status submit_copy(struct device *device, VkCommandBuffer commands, struct error *err);

/* Waits until submit `number` of a queue is done. STATUS_INTERRUPTED if stop_asked(). */
enum status submit_wait(struct device *device, const struct queue *queue, uint64_t number, struct error *err);

/* After an interrupted wait: waits until the device is idle. Otherwise does nothing. STATUS_INTERRUPTED if
 * stop_asked() again. */
enum status submit_settle(struct device *device, struct error *err);

/* Waits until both queues are idle. */
enum status submit_wait_all(struct device *device, struct error *err);

#endif
