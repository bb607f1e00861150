/* Finds groups of steps that can be fused, by their shape in the plan and never by a family's name. */
#ifndef LOCKSTEP_ENGINE_SCHEDULE_MATCH_H
#define LOCKSTEP_ENGINE_SCHEDULE_MATCH_H

#include "engine/schedule/builder.h"

/* Step i, if it is this op, carries no fault, and its first input is step `input` (-1: any step). Otherwise NULL. */
const struct step *match_step(const struct builder *b, uint32_t i, enum op op, int64_t input);

/* gate, up and their activation from step `at` on. false: something else is there. */
struct glu_group {
    const struct step *gate, *up, *glu;
    uint64_t second; /* bytes from gate's first row to up's */
};
bool match_glu(const struct builder *b, uint32_t at, struct glu_group *group);

#endif
