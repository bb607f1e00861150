/* Decodes tokens that the device chooses itself: the largest logit is the next pass's input. Many passes are then one
 * submit, or passes follow one another without the host waiting for each. */
#ifndef LOCKSTEP_ENGINE_RECORDING_CHAIN_H
#define LOCKSTEP_ENGINE_RECORDING_CHAIN_H

#include "engine/recording/shape_types.h"

#define CHAIN_TOKENS 16 /* passes of the longer chain */

/* Runs the whole plan n times, 1 or CHAIN_TOKENS, and waits. The chosen ids are then in buffers->chosen_ids, by
 * position. Stages are not copied to the host. masked: an id that is never chosen; UINT32_MAX: none. */
enum status chain_run(struct shape *shape, uint32_t masked, uint32_t n, struct error *err);

/* Prepares for chain_submit. Nothing may be running. */
enum status chain_prepare(struct shape *shape, uint32_t masked, struct error *err);

/* Submits one pass and the copy of its captured rows, without waiting. first: the pass takes the batch that was begun;
 * otherwise it takes the token that the pass before chose. */
enum status chain_submit(const struct shape *shape, uint32_t place, bool first, uint64_t after_copy, struct error *err);

/* Frees what was recorded. */
void chain_close(struct shape *shape);

#endif
