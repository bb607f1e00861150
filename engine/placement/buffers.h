/* Everything that lies on the device while a plan runs: weights, the arena of stage slots, the KV cache, rope tables,
 * the batch's tokens, and the readback buffer that the arena is copied to. */
#ifndef LOCKSTEP_ENGINE_STORE_H
#define LOCKSTEP_ENGINE_STORE_H

#include "engine/device/memory.h"
#include "model/plan.h"

/* What a slot holds until its op has run: a quiet NaN with a payload that no arithmetic makes. */
#define SENTINEL_WORD 0x7fc0deadu

/* What the tests turn to reach the odd paths on any device; 0: the device's own value. */
struct engine_limits {
    uint32_t max_binding; /* bytes of the longest storage buffer binding */
    uint32_t max_groups;  /* workgroups along the first axis; more are folded into the second */
    uint64_t timeout_ns;  /* of a submit */
    bool no_fusing;       /* every step by its own dispatch */
    bool matvec;          /* decode as a GPU does, on any device */
    uint32_t cores;       /* that share the rows of a matrix there */
    enum { MATMUL_CHOSEN, MATMUL_LANE, MATMUL_REDUCE } matmul; /* a row of W a lane, or a workgroup */
    enum {
        TILES_CHOSEN,
        TILES_NEVER,
        TILES_F32,
        TILES_NV,
        TILES_KHR,
        TILES_ALWAYS
    } tiles; /* of many rows: prefill.c; F32: no cooperative matrix; NV, KHR: of this extension, if the device has it */
};

/* Places, on the device and on the host, for the stages of decoded tokens: one is computed while those before it come
 * to the host. */
#define CAPTURE_RING ENGINE_TOKENS_KEPT

struct region {
    VkDeviceSize offset, size; /* bytes; size 0: there is none */
};

struct store {
    struct device *device;
    const struct plan *plan;
    struct engine_limits limits;
    uint32_t max_rows, max_positions;
    bool last_row_alone;    /* nobody wants the logits of other rows: set by the caller */
    uint32_t tail;          /* from this step on a batch has its last row alone; n_steps: no step does so */
    VkDeviceSize alignment; /* of offsets that are bound */
    VkDeviceSize padding;   /* bytes of garbage behind every slot, tensor and cache; 0 without pad_buffers */
    struct weights weights;
    struct gpu_buffer batch; /* struct Batch of common.glsl: first position, decode, tokens */
    struct gpu_buffer
        next; /* the same, written by the host; every submit copies it: a GPU reads its own memory faster */
    struct gpu_buffer arena;    /* slots, one a step, in plan order; of one row CAPTURE_RING times */
    struct gpu_buffer readback; /* the same, for the host */
    VkDeviceSize ring_stride;   /* bytes from one of the ring's places to the next */
    struct gpu_buffer cache;    /* [max_positions, width] for each step that attention reads beyond the batch */
    struct gpu_buffer tables;
    struct gpu_buffer best;   /* of the logits' chunks, while a token is chosen on the device */
    struct gpu_buffer chosen; /* [max_positions] ids that were, for the host */
    struct gpu_buffer parts;  /* of one attention, between attention_part and who puts them together */
    struct region *cached;    /* [n_steps] in cache; of k_rope and v_proj */
    struct region *table;     /* [n_steps] in tables; of rope steps */
};

/* Sizes and allocates everything, and uploads weights and tables. store->device, plan, limits, max_rows (0: chosen),
 * max_positions and padding are set by the caller. On failure nothing stays allocated. */
enum status store_open(struct store *store, struct error *err);
void store_close(struct store *store);

/* One row by the shaders that decode.c is for; quants are arranged for them. */
static inline bool store_decodes_as_gpu(const struct store *store)
{
    return !store->device->info.is_cpu || store->limits.matvec;
}

/* How many rows a step makes of a batch. */
static inline uint32_t store_step_rows(const struct store *store, uint32_t step, uint32_t n_rows)
{
    return step < store->tail ? n_rows : 1;
}

/* The first of the steps behind the last layer (norm, LM head, softcap), where their last row can be made alone: nobody
 * asked for the others, which of a vocabulary of 262,144 are a megabyte each. n_steps: it cannot. */
uint32_t store_find_tail(const struct store *store);

/* The slots of all steps for batches of n_rows, one behind the other, so that one copy brings any run of steps to the
 * host. Returns the bytes that they take together. */
VkDeviceSize store_slots(const struct store *store, uint32_t n_rows, struct region *slots);

/* How many places a batch of n_rows has to lie in. */
static inline uint32_t store_ring(uint32_t n_rows)
{
    return n_rows == 1 ? CAPTURE_RING : 1;
}

/* prefill.c: from how many rows on a batch is made by tiles; 0: never. */
uint32_t prefill_least_rows(const struct store *store);

/* chain.c: of store->best. */
VkDeviceSize chain_best_bytes(const struct plan *plan);

/* One row's attention is done in parts of so many visible keys. */
struct attention_parts {
    uint32_t n, keys;
};
struct attention_parts store_attention_parts(const struct store *store, const struct attention_params *op);

/* tables.c: the rope tables of a plan, one a distinct (type, theta, factor, dim), as [max_positions, dim/2] pairs of
 * cos and sin computed in double precision. Fills store->tables and store->table. */
enum status tables_upload(struct store *store, struct error *err);

static inline VkDeviceSize align_up(VkDeviceSize value, VkDeviceSize alignment)
{
    return (value + alignment - 1) / alignment * alignment;
}

#endif
