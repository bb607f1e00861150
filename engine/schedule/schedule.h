/* The schedule: a plan as dispatches, for batches of one size. A dispatch covers one step or several fused ones; every
 * stage keeps its slot either way. lowering/ builds the schedule. */
#ifndef LOCKSTEP_ENGINE_SCHEDULE_SCHEDULE_H
#define LOCKSTEP_ENGINE_SCHEDULE_SCHEDULE_H

#include "engine/placement/buffers.h"
#include "engine/program/program.h"

/* No hazard can occur: the resource is written only before the submit (weights, tables, the batch). */
#define RESOURCE_CONSTANT (-1)

/* What a dispatch binds. `resource` and `write` tell recording/record_steps.c where it needs a barrier. */
struct binding {
    VkBuffer buffer;
    VkDeviceSize offset, range; /* bytes */
    int32_t resource;           /* 2 * step: the slot of a step; 2 * step + 1: its rows in the KV cache */
    bool write;
};

#define MAX_PUSH_BYTES 128 /* what Vulkan guarantees */

struct dispatch {
    uint32_t step;                 /* first step that it covers */
    const char *shader;            /* borrowed, a literal */
    const struct program *program; /* NULL: lowered only to see which kernels there would be */
    struct binding bindings[VULKAN_MAX_BINDINGS];
    uint8_t push[MAX_PUSH_BYTES]; /* dispatch_params, then the op's parameters; program->key.n_push bytes */
    uint32_t groups_x, groups_y;
    bool waits; /* needs a barrier after the dispatch before it in the same entry */
};

/* The dispatches that run one step, or a fused group of steps that starts there. n_dispatches 0: there are none. */
struct entry {
    uint32_t first_dispatch, n_dispatches, n_steps;
    bool leaves_out; /* does not store stages that are not captured; only for runs of the whole plan */
};

/* A run of steps uses the fused group that starts at a step if the run covers all of the group; otherwise it runs the
 * step by itself. Both give the same bits (shaders/rows.glsl), so that a debugger can stop after any step. */
struct schedule {
    uint32_t n_rows;
    const bool *captured; /* [n_steps] borrowed; fused dispatches need not store the stages of other steps */
    struct region *slots; /* [n_steps] in the arena */
    VkDeviceSize arena_bytes;
    struct dispatch *dispatches;
    struct entry *single; /* [n_steps] the step by itself */
    struct entry *fused;  /* [n_steps] the group that starts at it */
    uint32_t n_dispatches;
    uint32_t choose; /* the two dispatches that choose the next token start here; 0: there are none */
};

/* An empty schedule with its slots. captured: [n_steps] borrowed. */
void schedule_open(struct schedule *schedule, const struct buffers *buffers, uint32_t n_rows, const bool *captured);
void schedule_free(struct schedule *schedule);

/* Appends a zeroed dispatch. Pointers to earlier dispatches become invalid. */
struct dispatch *schedule_append(struct schedule *schedule);

/* What runs at `step` in a run that ends before step `last`: the fused group or the step by itself. whole: the run is
 * of the whole plan. */
const struct entry *schedule_next(const struct schedule *schedule, uint32_t step, uint32_t last, bool whole);

/* The dispatch of an entry that writes the step's slot; the last one if none does. */
uint32_t schedule_writer(const struct schedule *schedule, const struct entry *entry, uint32_t step);

#endif
