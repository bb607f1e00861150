#include "engine/schedule/match.h"

const struct step *match_step(const struct builder *b, uint32_t i, enum op op, int64_t input)
{
    const struct plan *plan = b->buffers->plan;
    const struct step *step = i < plan->n_steps ? &plan->steps[i] : NULL;
    bool fits = step && step->op == op && step->variant == VARIANT_NONE && step->tamper.how == TAMPER_NONE &&
                (input < 0 || step->input[0] == input);
    return fits ? step : NULL;
}

/* Whether gate and up lie in one buffer, close enough for one binding. *bytes: from gate's first row to up's. */
static bool find_second_matrix(const struct builder *b, const struct tensor *gate, const struct tensor *up,
                               uint64_t *bytes)
{
    const struct placement *first = weights_find(&b->buffers->weights, gate),
                           *second = weights_find(&b->buffers->weights, up);
    if (first->block != second->block || second->offset < first->offset) {
        return false;
    }
    *bytes = second->offset - first->offset;
    uint64_t all = *bytes + placement_bytes(second);
    return all + WEIGHT_SLACK <= b->buffers->limits.max_binding && all <= UINT32_MAX &&
           first->grouped == second->grouped;
}

bool match_glu(const struct builder *b, uint32_t at, struct glu_group *group)
{
    const struct step *gate = match_step(b, at, OP_matmul, -1);
    const struct step *up = gate ? match_step(b, at + 1, OP_matmul, gate->input[0]) : NULL;
    const struct step *glu = up ? match_step(b, at + 2, OP_glu, at) : NULL;
    *group = (struct glu_group){.gate = gate, .up = up, .glu = glu};
    return glu && glu->input[1] == (int32_t)at + 1 && !gate->weight[1] && !up->weight[1] && gate->width == up->width &&
           find_second_matrix(b, gate->weight[0], up->weight[0], &group->second);
}
