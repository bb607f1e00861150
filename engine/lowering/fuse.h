/* Fuses steps of a batch of any size. Every stage of a group is stored by the dispatch that covers it, so that capture
 * needs no dispatch of its own. Where a step carries a fault, or its dtype or bias is not what the fused shader takes,
 * the steps are not fused. */
#ifndef LOCKSTEP_ENGINE_LOWERING_FUSE_H
#define LOCKSTEP_ENGINE_LOWERING_FUSE_H

#include "engine/schedule/builder.h"

/* Adds the dispatches of the group that starts at b->step. entry->n_steps: steps that it covers; 0: there is no group.
 */
enum status fuse(struct builder *b, struct entry *entry);

#endif
