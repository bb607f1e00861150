/* One step by itself, without fusing. */
#ifndef LOCKSTEP_ENGINE_LOWERING_LOWER_OP_H
#define LOCKSTEP_ENGINE_LOWERING_LOWER_OP_H

#include "engine/schedule/builder.h"

/* Adds the dispatches of the current step: one, or one for each slice of its weight. */
enum status lower_op(struct builder *b);

#endif
