/* A shape: the schedule for batches of one size, with its descriptor sets and the command buffer of the whole plan,
 * recorded once and submitted again for every batch of that size. */
#ifndef LOCKSTEP_ENGINE_RECORD_H
#define LOCKSTEP_ENGINE_RECORD_H

#include "engine/schedule/schedule.h"

/* Of a batch in one place of the ring. */
struct place {
    VkCommandBuffer whole; /* sentinels, every step, the rows of the last one to the host */
    VkCommandBuffer copy;  /* for the queue for copies: those of the other captured steps; NULL: there are none */
    VkCommandBuffer pass, copy_all; /* chain.c: sentinels, every step, the choice; all captured rows to the host */
};

struct shape {
    struct schedule schedule;
    VkDescriptorPool pool;
    VkDescriptorSet *sets;     /* [n_places, n_dispatches] */
    VkCommandBuffer chains[2]; /* of one token, of CHAIN_TOKENS, chosen on the device; recorded when first run */
    VkCommandBuffer start;     /* of the first pass */
    struct place places[CAPTURE_RING];
    uint32_t n_places;
    uint32_t n_dispatches; /* of `whole` */
    uint32_t n_barriers;   /* of `whole`, between dispatches */
    const bool *captured;  /* [n_steps] steps that are brought to the host; borrowed */
    uint64_t last_used;
};

/* On failure nothing stays allocated. */
enum status shape_open(struct shape *shape, const struct store *store, struct programs *programs, uint32_t n_rows,
                       const bool *captured, struct error *err);

/* Nothing that uses the shape may be running. */
void shape_close(struct shape *shape, const struct store *store);

/* Fills every slot with sentinels, here and on the host, and waits: what the parts of a batch start from. */
enum status shape_reset(const struct shape *shape, const struct store *store, uint32_t place, struct error *err);

/* What running all of the plan brings to the host. */
VkDeviceSize shape_readback_bytes(const struct shape *shape, const struct store *store);

/* Runs all of the plan, behind the first `after_copy` copies, and waits until the rows of the last step are on the
 * host; a copy then brings the others there, meanwhile. Stoppable, as device.h says. */
enum status shape_run_whole(const struct shape *shape, const struct store *store, uint32_t place, uint64_t after_copy,
                            struct error *err);

/* Runs steps [first, last), brings their slots to the host, and waits; stoppable. */
enum status shape_run_part(const struct shape *shape, const struct store *store, uint32_t place, uint32_t first,
                           uint32_t last, struct error *err);

/* The start of a command buffer: what an earlier submit left is visible from here on, and so will be the batch behind
 * the next barrier. */
void record_start(VkCommandBuffer commands, const struct store *store);
void record_follow(VkCommandBuffer commands); /* the same, but the batch is what the submit before left */
void record_barrier(VkCommandBuffer commands, VkPipelineStageFlags from, VkAccessFlags wrote, VkPipelineStageFlags to,
                    VkAccessFlags touches);

/* The dispatches of steps [first, last), with their barriers. How many of both. */
struct counts {
    uint32_t n_dispatches, n_barriers;
};
struct counts record_steps(VkCommandBuffer commands, const struct shape *shape, uint32_t place, uint32_t n_steps,
                           uint32_t first, uint32_t last);

/* readback.c: sentinels in every slot that is captured; the captured rows of steps [first, last) to the host; the same
 * of steps [0, last) for the queue for copies, *commands NULL if there are none. */
void record_fill(VkCommandBuffer commands, const struct shape *shape, const struct store *store, uint32_t place);
void record_readback(VkCommandBuffer commands, const struct shape *shape, const struct store *store, uint32_t place,
                     uint32_t first, uint32_t last);
enum status record_transfer(const struct shape *shape, const struct store *store, uint32_t place, uint32_t last,
                            VkCommandBuffer *commands, struct error *err);

/* chain.c: runs the whole plan n times, 1 or CHAIN_TOKENS, each with the token that the pass before chose; the ids are
 * in store->chosen then, by position. masked: never chosen. */
bool chain_possible(const struct store *store); /* on this device */
#define CHAIN_TOKENS ENGINE_TOKENS_A_SUBMIT
enum status chain_run(struct shape *shape, const struct store *store, uint32_t masked, uint32_t n, struct error *err);

/* One pass, and the copy of its captured rows to the host behind it, without a wait; `first`: of the batch that was
 * begun, else of the token that the pass before chose. chain_prepare comes first, when nothing runs. */
enum status chain_prepare(struct shape *shape, const struct store *store, uint32_t masked, struct error *err);
enum status chain_submit(const struct shape *shape, const struct store *store, uint32_t place, bool first,
                         uint64_t after_copy, struct error *err);
void chain_close(struct shape *shape, const struct store *store);

/* Puts one dispatch of the schedule into a command buffer, without barriers. */
void record_dispatch(VkCommandBuffer commands, const struct shape *shape, uint32_t place, uint32_t index);

/* timing.c: runs all of the plan once with a timestamp behind every entry, and waits. ns[step]: what the entry that
 * ends with a step took, its barrier included; 0 where none ends. A device without timestamps is STATUS_ABSENT. */
enum status shape_time(const struct shape *shape, const struct store *store, double *ns, struct error *err);

/* timing.c: engine_time_repeat. */
enum status shape_repeat(const struct shape *shape, const struct store *store, const struct engine_repeat *repeat,
                         double *ns, struct error *err);

#endif
