#include "engine/recording/readback.h"

#include <stdlib.h>

#include "engine/device/submit.h"
#include "engine/recording/barriers.h"

void readback_fill(VkCommandBuffer commands, const struct shape *shape, uint32_t place)
{
    const struct buffers *buffers = shape->buffers;
    const struct schedule *schedule = &shape->schedule;
    VkDeviceSize start = place * buffers->ring_stride;
    if (buffers->padding == 0) {
        uint32_t first = 0;
        while (first + 1 < buffers->plan->n_steps && !shape->captured[first]) {
            first++;
        }
        VkDeviceSize from = schedule->slots[first].offset;
        vkCmdFillBuffer(commands, buffers->arena.handle, start + from, schedule->arena_bytes - from, SENTINEL_WORD);
        return;
    }
    vkCmdFillBuffer(commands, buffers->arena.handle, start, schedule->arena_bytes, PADDING_WORD);
    barrier(commands, BARRIER_TRANSFER, VK_ACCESS_TRANSFER_WRITE_BIT, BARRIER_TRANSFER, VK_ACCESS_TRANSFER_WRITE_BIT);
    for (uint32_t i = 0; i < buffers->plan->n_steps; i++) {
        vkCmdFillBuffer(commands, buffers->arena.handle, start + schedule->slots[i].offset, schedule->slots[i].size,
                        SENTINEL_WORD);
    }
}

/* Finds the next piece to copy among steps [*first, last). The slots of consecutive captured steps make one piece,
 * because they lie one behind the other. *first: where to continue. false: there is none. */
static bool next_piece(const struct shape *shape, uint32_t *first, uint32_t last, VkBufferCopy *piece)
{
    while (*first < last && !shape->captured[*first]) {
        ++*first;
    }
    if (*first >= last) {
        return false;
    }
    VkDeviceSize start = VK_WHOLE_SIZE, end = 0; /* a slot that a fault shares lies out of order */
    for (; *first < last && shape->captured[*first]; ++*first) {
        const struct region *slot = &shape->schedule.slots[*first];
        start = slot->offset < start ? slot->offset : start;
        end = slot->offset + slot->size > end ? slot->offset + slot->size : end;
    }
    *piece = (VkBufferCopy){start, start, end - start};
    return true;
}

VkDeviceSize readback_bytes(const struct shape *shape)
{
    VkDeviceSize n_bytes = 0;
    VkBufferCopy piece;
    for (uint32_t first = 0; next_piece(shape, &first, shape->buffers->plan->n_steps, &piece);) {
        n_bytes += piece.size;
    }
    return n_bytes;
}

/* Records one copy of the captured rows of steps [first, last) in `place`. false: none of them is captured. waits: the
 * copy waits for the commands before it; the copy queue waits with a semaphore instead. */
static bool record_pieces(VkCommandBuffer commands, const struct shape *shape, uint32_t place, uint32_t first,
                          uint32_t last, bool waits)
{
    const struct buffers *buffers = shape->buffers;
    uint32_t n = 0;
    VkBufferCopy *pieces = xcalloc((uint64_t)(last - first) / 2 + 1, sizeof(*pieces));
    for (; next_piece(shape, &first, last, &pieces[n]); n++) {
        pieces[n].srcOffset += place * buffers->ring_stride;
        pieces[n].dstOffset += place * buffers->ring_stride;
    }
    if (n > 0 && waits) {
        barrier(commands, BARRIER_SHADER | BARRIER_TRANSFER, VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_TRANSFER_WRITE_BIT,
                BARRIER_TRANSFER, BARRIER_TRANSFER_ACCESS);
    }
    if (n > 0) {
        vkCmdCopyBuffer(commands, buffers->arena.handle, buffers->readback.handle, n, pieces);
        barrier(commands, BARRIER_TRANSFER, VK_ACCESS_TRANSFER_WRITE_BIT, VK_PIPELINE_STAGE_HOST_BIT,
                VK_ACCESS_HOST_READ_BIT);
    }
    free(pieces);
    return n > 0;
}

void readback_record(VkCommandBuffer commands, const struct shape *shape, uint32_t place, uint32_t first, uint32_t last)
{
    (void)record_pieces(commands, shape, place, first, last, true);
}

enum status readback_record_copy(const struct shape *shape, uint32_t place, uint32_t last, VkCommandBuffer *commands,
                                 struct error *err)
{
    struct device *device = shape->buffers->device;
    TRY(copy_commands_begin(device, commands, err));
    bool any = record_pieces(*commands, shape, place, 0, last, false);
    VK_TRY(err, vkEndCommandBuffer(*commands));
    if (!any) {
        copy_commands_free(device, *commands);
        *commands = VK_NULL_HANDLE;
    }
    return STATUS_OK;
}
