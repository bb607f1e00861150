#include "engine/placement/weights.h"

#include <stdlib.h>

#include "engine/placement/groups.h"
#include "engine/placement/round.h"
#include "engine/placement/upload.h"
#include "engine/placement/weight_range.h"

#define BLOCK_BYTES (256ull << 20) /* of a buffer; a larger tensor has a buffer of its own */

const struct placement *weights_find(const struct weights *weights, const struct tensor *tensor)
{
    for (uint32_t i = 0; i < weights->n_placements; i++) {
        if (weights->placements[i].tensor == tensor) {
            return &weights->placements[i];
        }
    }
    return NULL;
}

void placement_grain(const struct placement *placement, uint64_t *rows, uint64_t *bytes)
{
    tensor_grain(placement->tensor, rows, bytes);
    if (placement->grouped) {
        *bytes = groups_row_bytes(placement->tensor);
    }
}

uint64_t placement_bytes(const struct placement *placement)
{
    return placement->grouped ? tensor_rows(placement->tensor) * groups_row_bytes(placement->tensor)
                              : placement->tensor->n_bytes;
}

/* Only the shaders of these ops read grouped weights. */
static bool may_group(const struct step *step, unsigned weight)
{
    return (step->op == OP_matmul || step->op == OP_embed) && weight == 0;
}

/* Lists the distinct tensors of a plan, in plan order. A tied embedding is listed once. */
static void collect(struct weights *weights, const struct plan *plan, bool grouped)
{
    weights->placements = xcalloc((uint64_t)plan->n_steps * OP_MAX_WEIGHTS, sizeof(*weights->placements));
    for (uint32_t i = 0; i < plan->n_steps; i++) {
        for (unsigned w = 0; w < OP_MAX_WEIGHTS; w++) {
            const struct tensor *tensor = plan->steps[i].weight[w];
            if (!tensor || weights_find(weights, tensor)) {
                continue;
            }
            weights->placements[weights->n_placements++] = (struct placement){
                .tensor = tensor, .grouped = grouped && may_group(&plan->steps[i], w) && groups_fit(tensor)};
        }
    }
}

/* Gives each tensor its block and offset. Fills sizes[] with the bytes of each block. */
static void place(struct weights *weights, const struct device *device, VkDeviceSize padding, VkDeviceSize *sizes)
{
    VkDeviceSize alignment = device->limits.minStorageBufferOffsetAlignment;
    alignment = alignment < 16 ? 16 : alignment;
    for (uint32_t i = 0; i < weights->n_placements; i++) {
        struct placement *placement = &weights->placements[i];
        VkDeviceSize size = align_up(placement_bytes(placement) + WEIGHT_SLACK + padding, alignment);
        uint32_t last = weights->n_blocks - 1;
        if (weights->n_blocks == 0 || sizes[last] + size > BLOCK_BYTES) {
            last = weights->n_blocks++;
        }
        if (device->cooperative && placement->tensor->n_dims > 1) {
            placement->scale = weight_range_scale(placement->tensor);
        }
        placement->block = last;
        placement->offset = sizes[last];
        sizes[last] += size;
    }
}

static enum status fill_blocks(struct weights *weights, struct device *device, const VkDeviceSize *sizes,
                               VkDeviceSize padding, struct error *err)
{
    weights->blocks = xcalloc(weights->n_blocks, sizeof(*weights->blocks));
    for (uint32_t i = 0; i < weights->n_blocks; i++) {
        TRY(gpu_buffer_create(device, sizes[i], MEMORY_DEVICE, &weights->blocks[i], err));
        if (padding) {
            TRY(gpu_buffer_fill(device, &weights->blocks[i], PADDING_WORD, err));
        }
    }
    struct upload *uploads = xcalloc(weights->n_placements, sizeof(*uploads));
    for (uint32_t i = 0; i < weights->n_placements; i++) {
        const struct placement *placement = &weights->placements[i];
        uploads[i] = (struct upload){.to = &weights->blocks[placement->block],
                                     .offset = placement->offset,
                                     .n_bytes = placement_bytes(placement),
                                     .tensor = placement->tensor,
                                     .grouped = placement->grouped};
    }
    enum status status = upload_run(device, uploads, weights->n_placements, err);
    free(uploads);
    return status;
}

enum status weights_upload(struct weights *weights, struct device *device, const struct plan *plan, bool grouped,
                           VkDeviceSize padding, struct error *err)
{
    *weights = (struct weights){0};
    collect(weights, plan, grouped);
    VkDeviceSize *sizes = xcalloc(weights->n_placements, sizeof(*sizes));
    place(weights, device, padding, sizes);
    enum status status = fill_blocks(weights, device, sizes, padding, err);
    free(sizes);
    if (status != STATUS_OK) {
        weights_free(weights, device);
    }
    return status;
}

void weights_free(struct weights *weights, struct device *device)
{
    for (uint32_t i = 0; weights->blocks && i < weights->n_blocks; i++) {
        gpu_buffer_destroy(device, &weights->blocks[i]);
    }
    free(weights->blocks);
    free(weights->placements);
    *weights = (struct weights){0};
}
