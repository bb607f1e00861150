/* What of a batch comes to the host, from which place of the ring, and the sentinels that it starts from. */
#include <stdlib.h>

#include "engine/recording/shape.h"

#define SHADER VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT
#define TRANSFER VK_PIPELINE_STAGE_TRANSFER_BIT

/* Sentinels in every slot that is captured; with padded buffers garbage in between. */
void record_fill(VkCommandBuffer commands, const struct shape *shape, const struct store *store, uint32_t place)
{
    const struct schedule *schedule = &shape->schedule;
    VkDeviceSize start = place * store->ring_stride;
    if (store->padding == 0) {
        uint32_t first = 0;
        while (first + 1 < store->plan->n_steps && !shape->captured[first]) {
            first++;
        }
        VkDeviceSize from = schedule->slots[first].offset;
        vkCmdFillBuffer(commands, store->arena.handle, start + from, schedule->arena_bytes - from, SENTINEL_WORD);
        return;
    }
    vkCmdFillBuffer(commands, store->arena.handle, start, schedule->arena_bytes, PADDING_WORD);
    record_barrier(commands, TRANSFER, VK_ACCESS_TRANSFER_WRITE_BIT, TRANSFER, VK_ACCESS_TRANSFER_WRITE_BIT);
    for (uint32_t i = 0; i < store->plan->n_steps; i++) {
        vkCmdFillBuffer(commands, store->arena.handle, start + schedule->slots[i].offset, schedule->slots[i].size,
                        SENTINEL_WORD);
    }
}

/* The next piece to copy among steps [*first, last): the slots of captured steps that follow one another lie one behind
 * the other. false: there is none. *first: where to look on. */
static bool next_piece(const struct shape *shape, uint32_t *first, uint32_t last, VkBufferCopy *piece)
{
    while (*first < last && !shape->captured[*first]) {
        ++*first;
    }
    if (*first >= last) {
        return false;
    }
    VkDeviceSize start = VK_WHOLE_SIZE, end = 0; /* a slot that is shared lies out of order */
    for (; *first < last && shape->captured[*first]; ++*first) {
        const struct region *slot = &shape->schedule.slots[*first];
        start = slot->offset < start ? slot->offset : start;
        end = slot->offset + slot->size > end ? slot->offset + slot->size : end;
    }
    *piece = (VkBufferCopy){start, start, end - start};
    return true;
}

VkDeviceSize shape_readback_bytes(const struct shape *shape, const struct store *store)
{
    VkDeviceSize n_bytes = 0;
    VkBufferCopy piece;
    for (uint32_t first = 0; next_piece(shape, &first, store->plan->n_steps, &piece);) {
        n_bytes += piece.size;
    }
    return n_bytes;
}

/* One copy for the captured ones of steps [first, last). false: there are none. `waits`: for what was recorded before,
 * where no semaphore did. */
static bool record_pieces(VkCommandBuffer commands, const struct shape *shape, const struct store *store,
                          uint32_t place, uint32_t first, uint32_t last, bool waits)
{
    uint32_t n = 0;
    VkBufferCopy *pieces = xcalloc((uint64_t)(last - first) / 2 + 1, sizeof(*pieces));
    for (; next_piece(shape, &first, last, &pieces[n]); n++) {
        pieces[n].srcOffset += place * store->ring_stride;
        pieces[n].dstOffset += place * store->ring_stride;
    }
    if (n > 0 && waits) {
        record_barrier(commands, SHADER | TRANSFER, VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_TRANSFER_WRITE_BIT, TRANSFER,
                       VK_ACCESS_TRANSFER_READ_BIT | VK_ACCESS_TRANSFER_WRITE_BIT);
    }
    if (n > 0) {
        vkCmdCopyBuffer(commands, store->arena.handle, store->readback.handle, n, pieces);
        record_barrier(commands, TRANSFER, VK_ACCESS_TRANSFER_WRITE_BIT, VK_PIPELINE_STAGE_HOST_BIT,
                       VK_ACCESS_HOST_READ_BIT);
    }
    free(pieces);
    return n > 0;
}

void record_readback(VkCommandBuffer commands, const struct shape *shape, const struct store *store, uint32_t place,
                     uint32_t first, uint32_t last)
{
    (void)record_pieces(commands, shape, store, place, first, last, true);
}

enum status record_transfer(const struct shape *shape, const struct store *store, uint32_t place, uint32_t last,
                            VkCommandBuffer *commands, struct error *err)
{
    TRY(device_copy_begin(store->device, commands, err));
    bool any = record_pieces(*commands, shape, store, place, 0, last, false);
    VK_TRY(err, vkEndCommandBuffer(*commands));
    if (!any) {
        device_copy_free(store->device, *commands);
        *commands = VK_NULL_HANDLE;
    }
    return STATUS_OK;
}
