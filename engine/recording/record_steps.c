#include "engine/recording/record_steps.h"

#include <stdlib.h>
#include <string.h>

#include "engine/recording/barriers.h"

/* What dispatches read and wrote since the last barrier: one flag for each resource of struct binding. */
struct hazards {
    uint8_t *written, *read;
    uint32_t n;
    uint32_t n_barriers, n_dispatches;
};

static bool is_hazard(const struct hazards *hazards, const struct binding *binding)
{
    if (binding->resource == RESOURCE_CONSTANT) {
        return false;
    }
    return hazards->written[binding->resource] || (binding->write && hazards->read[binding->resource]);
}

/* Emit a barrier only for a RAW, WAW or WAR hazard since the last one. Dispatches of one entry don't conflict unless
 * `waits` is set: slices of a matrix write different rows, q and k different slots. */
static void record_barrier_if_needed(VkCommandBuffer commands, struct hazards *hazards, const struct dispatch *dispatch,
                                     bool same_entry)
{
    bool hazard = false;
    for (uint32_t i = 0; i < dispatch->program->key.n_bindings; i++) {
        hazard = hazard || is_hazard(hazards, &dispatch->bindings[i]);
    }
    if ((hazard && !same_entry) || dispatch->waits) {
        barrier_dispatches(commands);
        memset(hazards->written, 0, hazards->n);
        memset(hazards->read, 0, hazards->n);
        hazards->n_barriers++;
    }
    for (uint32_t i = 0; i < dispatch->program->key.n_bindings; i++) {
        const struct binding *binding = &dispatch->bindings[i];
        if (binding->resource != RESOURCE_CONSTANT) {
            (binding->write ? hazards->written : hazards->read)[binding->resource] = 1;
        }
    }
}

void record_dispatch(VkCommandBuffer commands, const struct shape *shape, uint32_t place, uint32_t index)
{
    const struct dispatch *dispatch = &shape->schedule.dispatches[index];
    const struct program *program = dispatch->program;
    const VkDescriptorSet *set = &shape->sets[place * shape->schedule.n_dispatches + index];
    vkCmdBindPipeline(commands, VK_PIPELINE_BIND_POINT_COMPUTE, program->pipeline);
    vkCmdBindDescriptorSets(commands, VK_PIPELINE_BIND_POINT_COMPUTE, program->layout, 0, 1, set, 0, NULL);
    vkCmdPushConstants(commands, program->layout, VK_SHADER_STAGE_COMPUTE_BIT, 0, program->key.n_push, dispatch->push);
    vkCmdDispatch(commands, dispatch->groups_x, dispatch->groups_y, 1);
}

struct counts record_steps(VkCommandBuffer commands, const struct shape *shape, uint32_t place, uint32_t first,
                           uint32_t last)
{
    uint32_t n_steps = shape->buffers->plan->n_steps;
    struct hazards hazards = {.n = 2 * n_steps};
    hazards.written = xcalloc(hazards.n, 1);
    hazards.read = xcalloc(hazards.n, 1);
    bool whole = first == 0 && last == n_steps;
    for (uint32_t step = first; step < last;) {
        const struct entry *entry = schedule_next(&shape->schedule, step, last, whole);
        for (uint32_t i = 0; i < entry->n_dispatches; i++) {
            uint32_t at = entry->first_dispatch + i;
            record_barrier_if_needed(commands, &hazards, &shape->schedule.dispatches[at], i > 0);
            record_dispatch(commands, shape, place, at);
            hazards.n_dispatches++;
        }
        step += entry->n_steps;
    }
    free(hazards.written);
    free(hazards.read);
    return (struct counts){hazards.n_dispatches, hazards.n_barriers};
}
