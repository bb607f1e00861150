/* Fuses steps for decoding on a GPU. A decoded token is a chain of dependent dispatches, and its length determines the
 * time. A layer becomes five levels: norms with q, k and v; norms and rope of q and k with the parts of the attention;
 * the join of the parts with o; norms with gate, up and the activation; down. */
#ifndef LOCKSTEP_ENGINE_LOWERING_FUSE_DECODE_H
#define LOCKSTEP_ENGINE_LOWERING_FUSE_DECODE_H

#include "engine/schedule/builder.h"

/* Adds the dispatches of the group that starts at b->step, and completes *entry. entry->n_steps stays 0 if there is no
 * group. */
enum status fuse_decode(struct builder *b, struct entry *entry);

#endif
