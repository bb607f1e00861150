/* Decoding on a GPU: the attention of one row, split into parts of its keys. One dispatch computes the parts, one
 * workgroup a part and head; a second one joins them (attention_part.comp, attention_join.comp). */
#ifndef LOCKSTEP_ENGINE_LOWERING_ATTENTION_SPLIT_H
#define LOCKSTEP_ENGINE_LOWERING_ATTENTION_SPLIT_H

#include "engine/schedule/builder.h"

/* The steps [q_norm k_norm] q_rope k_rope attention, which one dispatch of parts can cover. */
struct attention_group {
    uint32_t n_steps;   /* 0: the attention by itself */
    uint32_t attention; /* step */
    uint32_t prologue;  /* PROLOGUE_NORM: with norms; PROLOGUE_ROPE: without; PROLOGUE_NONE: the attention by itself */
    uint32_t q_norm, k_norm, q_rope, k_rope; /* steps */
};

/* Whether such a group starts at b->step. */
bool attention_split_match(const struct builder *b, struct attention_group *group);

/* Adds the dispatch that computes the parts. capture: also store q and k as they are normalised and rotated. */
enum status attention_split_add(struct builder *b, const struct attention_group *group, bool capture);

/* Adds the dispatch that joins the parts of step `attention`. A matvec with PROLOGUE_ATTENTION does that as well. */
enum status attention_split_join(struct builder *b, uint32_t attention);

/* The buffer of the parts. */
struct binding attention_split_binding(const struct builder *b, uint32_t attention, bool write);

/* Adds both dispatches for the current step, if it fits. */
enum status attention_split_lower(struct builder *b, bool *done);

#endif
