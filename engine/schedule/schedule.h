/* The schedule: a plan turned into dispatches for batches of one size. Each dispatch covers one step or more (fusing is
 * the schedule's own business; every stage keeps its slot), and knows all that it binds, so that barriers can be put
 * where there is a hazard and nowhere else. */
#ifndef LOCKSTEP_ENGINE_SCHEDULE_H
#define LOCKSTEP_ENGINE_SCHEDULE_H

#include "engine/placement/buffers.h"
#include "engine/program/program.h"

/* What a binding touches, for hazards: a step's slot, or its rows in the KV cache. RESOURCE_CONSTANT: written before
 * the submit alone (weights, tables, the batch). */
#define RESOURCE_CONSTANT (-1)

struct binding {
    VkBuffer buffer;
    VkDeviceSize offset, range;
    int32_t resource; /* 2 * step for a slot, 2 * step + 1 for its rows in the cache */
    bool write;
};

#define MAX_PUSH_BYTES 128 /* what Vulkan promises */

struct dispatch {
    uint32_t step; /* the first one it covers */
    const struct program *program;
    struct binding bindings[DEVICE_MAX_BINDINGS];
    uint8_t push[MAX_PUSH_BYTES]; /* dispatch_params, then the op's; program->key.n_push bytes */
    uint32_t groups_x, groups_y;
    bool waits; /* for the dispatch before it in its entry */
};

/* Dispatches that run one step, or a fused group of steps that starts there. n_dispatches 0: there are none. */
struct entry {
    uint32_t first_dispatch, n_dispatches, n_steps;
    bool leaves_out; /* stages that are not captured are not stored: for runs of the whole plan */
};

/* A range of steps runs the fused group of a step where the range holds all of it, else the step alone. Both give the
 * same bits (shaders/rows.glsl), so that a debugger may stop anywhere. */
struct schedule {
    uint32_t n_rows;
    const bool *captured; /* [n_steps] borrowed: fused dispatches may leave out the stages of the others */
    struct region *slots; /* [n_steps] in the arena */
    VkDeviceSize arena_bytes;
    struct dispatch *dispatches;
    struct entry *alone, *fused; /* [n_steps] */
    uint32_t n_dispatches;
    uint32_t choose; /* dispatch that, with the next one, chooses the token; 0: there is none */
};

/* Fails where a shader does not compile or does not fit, or where the device cannot do a step. On failure nothing stays
 * allocated. */
enum status schedule_build(struct schedule *schedule, const struct store *store, struct programs *programs,
                           uint32_t n_rows, const bool *captured, struct error *err);

/* What runs at a step, in a range that ends before step `last` and may be the whole plan: the fused group, or the step
 * alone. */
const struct entry *schedule_next(const struct schedule *schedule, uint32_t step, uint32_t last, bool whole);
void schedule_free(struct schedule *schedule);

#endif
