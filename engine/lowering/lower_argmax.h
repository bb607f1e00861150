/* The choice of the next token on the device: two dispatches find the largest logit. */
#ifndef LOCKSTEP_ENGINE_LOWERING_LOWER_ARGMAX_H
#define LOCKSTEP_ENGINE_LOWERING_LOWER_ARGMAX_H

#include "engine/schedule/builder.h"

/* Whether this device can choose tokens. */
bool argmax_possible(const struct buffers *buffers);

/* Adds the dispatches behind the last step's, if the batch has one row and the device can run them. */
enum status lower_argmax(struct builder *b);

#endif
