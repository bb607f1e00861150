/* A shape: the schedule for batches of one size, with its descriptor sets and recorded command buffers. They are
 * recorded once and submitted again for every batch of that size. */
#ifndef LOCKSTEP_ENGINE_RECORDING_SHAPE_TYPES_H
#define LOCKSTEP_ENGINE_RECORDING_SHAPE_TYPES_H

#include "engine/schedule/schedule.h"

/* Command buffers for a batch in one place of the ring. */
struct place {
    VkCommandBuffer whole;    /* sentinels, every step, the last step's rows to the host */
    VkCommandBuffer copy;     /* for the copy queue: rows of the other captured steps; NULL: there are none */
    VkCommandBuffer pass;     /* chain.c: sentinels, every step, the choice of the next token */
    VkCommandBuffer copy_all; /* chain.c, for the copy queue: rows of all captured steps */
};

struct shape {
    const struct buffers *buffers; /* borrowed; NULL: the shape is not open */
    struct schedule schedule;
    VkDescriptorPool pool;
    VkDescriptorSet *sets;     /* [n_places, n_dispatches] */
    VkCommandBuffer chains[2]; /* chain.c: passes of 1 token, of CHAIN_TOKENS; NULL until first run */
    VkCommandBuffer start;     /* chain.c: copies the first batch to the device */
    struct place places[CAPTURE_RING];
    uint32_t n_places;
    uint32_t n_dispatches; /* of `whole` */
    uint32_t n_barriers;   /* of `whole`, between dispatches */
    const bool *captured;  /* [n_steps] steps whose rows are copied to the host; borrowed */
    uint64_t last_used;    /* the engine's clock when a batch last used it */
};

#endif
