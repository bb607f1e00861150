#include "model/stages.h"

#include <string.h>

#include "model/error.h"

static const struct {
    const char *name, *what;
} stages[] = {
#define X(name, what) [STAGE_##name] = {#name, what},
    STAGES(X)
#undef X
};

const char *stage_name(enum stage stage)
{
    ASSERT(stage < STAGE_COUNT);
    return stages[stage].name;
}

const char *stage_what(enum stage stage)
{
    ASSERT(stage < STAGE_COUNT);
    return stages[stage].what;
}

enum stage stage_by_name(const char *name)
{
    unsigned stage = 0;
    while (stage < STAGE_COUNT && strcmp(stages[stage].name, name) != 0) {
        stage++;
    }
    return (enum stage)stage;
}

bool stage_in_layer(enum stage stage)
{
    ASSERT(stage < STAGE_COUNT);
    return stage != STAGE_embed && stage < STAGE_final_norm;
}

bool stage_is_optional(enum stage stage)
{
    return stage == STAGE_attn_probs || stage == STAGE_moe_gate_up || stage == STAGE_moe_act ||
           stage == STAGE_moe_down || stage == STAGE_sample_probs || stage == STAGE_sample_token;
}

bool stage_is_integer(enum stage stage)
{
    return stage == STAGE_router_indices || stage == STAGE_sample_token;
}
