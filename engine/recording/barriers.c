#include "engine/recording/barriers.h"

void barrier(VkCommandBuffer commands, VkPipelineStageFlags from, VkAccessFlags wrote, VkPipelineStageFlags to,
             VkAccessFlags touches)
{
    VkMemoryBarrier memory = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER, .srcAccessMask = wrote, .dstAccessMask = touches};
    vkCmdPipelineBarrier(commands, from, to, 0, 1, &memory, 0, NULL, 0, NULL);
}

void barrier_dispatches(VkCommandBuffer commands)
{
    barrier(commands, BARRIER_SHADER, VK_ACCESS_SHADER_WRITE_BIT, BARRIER_SHADER, BARRIER_SHADER_ACCESS);
}

void barrier_transfers(VkCommandBuffer commands)
{
    barrier(commands, BARRIER_TRANSFER, VK_ACCESS_TRANSFER_WRITE_BIT, BARRIER_SHADER, BARRIER_SHADER_ACCESS);
}

void barrier_submits(VkCommandBuffer commands)
{
    barrier(commands, BARRIER_SHADER | BARRIER_TRANSFER, VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_TRANSFER_WRITE_BIT,
            BARRIER_SHADER | BARRIER_TRANSFER, BARRIER_SHADER_ACCESS | BARRIER_TRANSFER_ACCESS);
}

void barrier_submits_and_copy_batch(VkCommandBuffer commands, const struct buffers *buffers)
{
    barrier_submits(commands);
    VkBufferCopy all = {.size = buffers->batch.size};
    vkCmdCopyBuffer(commands, buffers->next_batch.handle, buffers->batch.handle, 1, &all);
}
