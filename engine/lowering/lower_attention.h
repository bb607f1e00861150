/* Attention: by the kernels for prefill or decoding on a GPU, or by attention.comp. */
#ifndef LOCKSTEP_ENGINE_LOWERING_LOWER_ATTENTION_H
#define LOCKSTEP_ENGINE_LOWERING_LOWER_ATTENTION_H

#include "engine/schedule/builder.h"

/* Adds the dispatches of the current step, which is an attention. */
enum status lower_attention(struct builder *b);

#endif
