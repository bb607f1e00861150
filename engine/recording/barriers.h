/* Barriers, and what every command buffer begins with. */
#ifndef LOCKSTEP_ENGINE_RECORDING_BARRIERS_H
#define LOCKSTEP_ENGINE_RECORDING_BARRIERS_H

#include "engine/placement/buffers.h"

/* Stages and accesses of a barrier's two sides: what must be finished, and what has to wait for it. */
#define BARRIER_SHADER VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT
#define BARRIER_TRANSFER VK_PIPELINE_STAGE_TRANSFER_BIT
#define BARRIER_SHADER_ACCESS (VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT)
#define BARRIER_TRANSFER_ACCESS (VK_ACCESS_TRANSFER_READ_BIT | VK_ACCESS_TRANSFER_WRITE_BIT)

/* Records a barrier over all memory. */
void barrier(VkCommandBuffer commands, VkPipelineStageFlags from, VkAccessFlags wrote, VkPipelineStageFlags to,
             VkAccessFlags touches);

/* Dispatches wait for dispatches. */
void barrier_dispatches(VkCommandBuffer commands);

/* Dispatches wait for transfers. */
void barrier_transfers(VkCommandBuffer commands);

/* Begins a command buffer: everything waits for what earlier submits wrote. */
void barrier_submits(VkCommandBuffer commands);

/* The same, and copies the next batch to the device. The batch is visible behind the next barrier. */
void barrier_submits_and_copy_batch(VkCommandBuffer commands, const struct buffers *buffers);

#endif
