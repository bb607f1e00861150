/* All buffers on the device while a plan runs: weights, stage slots (the arena), KV cache, rope tables, the batch's
 * tokens, and the host's copy of the arena. */
#ifndef LOCKSTEP_ENGINE_PLACEMENT_BUFFERS_H
#define LOCKSTEP_ENGINE_PLACEMENT_BUFFERS_H

#include "engine/placement/limits.h"
#include "engine/placement/rope_tables.h"
#include "engine/placement/stage_kernels.h"
#include "engine/placement/weights.h"
#include "model/plan.h"

/* What a slot holds until its op has run: a quiet NaN with a payload that no arithmetic produces. */
#define SENTINEL_WORD 0x7fc0deadu

/* Places for the stages of decoded tokens, on the device and on the host. One token is computed while the stages of
 * earlier ones are copied to the host. */
#define CAPTURE_RING 2

/* Logits of a workgroup of argmax.comp. */
#define ARGMAX_CHUNK 2048

struct buffers {
    /* The caller sets these before buffers_open. */
    struct device *device;
    const struct plan *plan;
    struct engine_limits limits;
    struct kernel_choices kernels;
    uint32_t max_rows; /* of a batch; 0: chosen by buffers_open */
    uint32_t max_positions;
    VkDeviceSize padding; /* bytes of PADDING_WORD behind every slot, tensor and cache; 0 without pad_buffers */
    bool last_row_alone;  /* only the last row's logits are wanted */

    uint32_t tail;            /* first step that computes only the batch's last row; n_steps: none */
    VkDeviceSize alignment;   /* of offsets that are bound */
    VkDeviceSize ring_stride; /* bytes from one place of the ring to the next */

    struct weights weights;
    struct gpu_buffer batch;      /* struct Batch of common.glsl: first position, decode, tokens */
    struct gpu_buffer next_batch; /* written by the host. Every submit copies it to `batch`, which a GPU reads faster */
    struct gpu_buffer arena;      /* one slot a step, in plan order; CAPTURE_RING times for batches of one row */
    struct gpu_buffer readback;   /* the arena's copy for the host */
    struct gpu_buffer cache;      /* KV cache: [max_positions, width] for each k_rope and v_proj */
    struct gpu_buffer best_logits;     /* of each chunk, while argmax.comp chooses a token */
    struct gpu_buffer chosen_ids;      /* [max_positions] the chosen tokens, for the host */
    struct gpu_buffer attention_parts; /* intermediate results of the attention that runs */
    struct rope_tables rope_tables;
    struct region *cached; /* [n_steps] place in `cache` of the steps that attention reads as keys or values */
};

/* Chooses sizes, allocates everything, and uploads weights and rope tables. On failure nothing stays allocated. */
enum status buffers_open(struct buffers *buffers, struct error *err);
void buffers_close(struct buffers *buffers);

/* Lays out the slots of all steps for batches of n_rows, one behind the other, so that one copy brings any run of steps
 * to the host. slots: [n_steps], or NULL. Returns the bytes that they take together. */
VkDeviceSize buffers_slots(const struct buffers *buffers, uint32_t n_rows, struct region *slots);

/* Whether batches of one row run the kernels for GPUs (lowering/fuse_decode.h). Weights are grouped for them. */
static inline bool buffers_decode_as_gpu(const struct buffers *buffers)
{
    return !buffers->device->info.is_cpu || buffers->limits.matvec;
}

/* Rows of the batch that a step computes. */
static inline uint32_t buffers_step_rows(const struct buffers *buffers, uint32_t step, uint32_t n_rows)
{
    return step < buffers->tail ? n_rows : 1;
}

/* Places of the arena that batches of n_rows take turns in. */
static inline uint32_t buffers_places(uint32_t n_rows)
{
    return n_rows == 1 ? CAPTURE_RING : 1;
}

#endif
