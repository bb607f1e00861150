/* The weights on the device: each tensor once, packed into a few large buffers. A tensor lies there as its file stores
 * it, or grouped (groups.h). */
#ifndef LOCKSTEP_ENGINE_PLACEMENT_WEIGHTS_H
#define LOCKSTEP_ENGINE_PLACEMENT_WEIGHTS_H

#include "engine/device/memory.h"
#include "model/plan.h"

/* Bytes that are kept free behind every tensor, because shaders read whole words. */
#define WEIGHT_SLACK 16

/* A word that no sum survives (1.7e38). With pad_buffers, the padding behind buffers is filled with it. */
#define PADDING_WORD 0x7f000000u

/* Where a tensor lies. */
struct placement {
    const struct tensor *tensor;
    uint32_t block;      /* index of the buffer */
    VkDeviceSize offset; /* in that buffer; a multiple of minStorageBufferOffsetAlignment */
    float scale;         /* weight_range_scale of the tensor; 0: not needed */
    bool grouped;        /* arranged by groups.h */
};

/* The smallest run of rows that begins and ends between blocks: its rows and its bytes on the device. */
void placement_grain(const struct placement *placement, uint64_t *rows, uint64_t *bytes);

/* Bytes of the whole tensor on the device. */
uint64_t placement_bytes(const struct placement *placement);

struct weights {
    struct gpu_buffer *blocks;
    uint32_t n_blocks;
    struct placement *placements; /* one for each distinct tensor of the plan */
    uint32_t n_placements;
};

/* Uploads every tensor that a step of the plan reads, once. Experts that a file stores as two tensors are joined on the
 * way. grouped: group the quantised matrices that can be. padding: bytes of PADDING_WORD behind each tensor. On failure
 * nothing stays allocated. */
enum status weights_upload(struct weights *weights, struct device *device, const struct plan *plan, bool grouped,
                           VkDeviceSize padding, struct error *err);
void weights_free(struct weights *weights, struct device *device);

/* NULL: the tensor was not uploaded. */
const struct placement *weights_find(const struct weights *weights, const struct tensor *tensor);

#endif
