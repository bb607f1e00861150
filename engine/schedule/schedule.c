#include "engine/schedule/schedule.h"

#include <stdlib.h>

void schedule_open(struct schedule *schedule, const struct buffers *buffers, uint32_t n_rows, const bool *captured)
{
    uint32_t n_steps = buffers->plan->n_steps;
    *schedule = (struct schedule){.n_rows = n_rows, .captured = captured};
    schedule->slots = xcalloc(n_steps, sizeof(*schedule->slots));
    schedule->single = xcalloc(n_steps, sizeof(*schedule->single));
    schedule->fused = xcalloc(n_steps, sizeof(*schedule->fused));
    schedule->arena_bytes = buffers_slots(buffers, n_rows, schedule->slots);
}

void schedule_free(struct schedule *schedule)
{
    free(schedule->dispatches);
    free(schedule->single);
    free(schedule->fused);
    free(schedule->slots);
    *schedule = (struct schedule){0};
}

struct dispatch *schedule_append(struct schedule *schedule)
{
    schedule->dispatches = xrealloc(schedule->dispatches, (schedule->n_dispatches + 1ull) * sizeof(struct dispatch));
    struct dispatch *dispatch = &schedule->dispatches[schedule->n_dispatches++];
    *dispatch = (struct dispatch){0};
    return dispatch;
}

uint32_t schedule_writer(const struct schedule *schedule, const struct entry *entry, uint32_t step)
{
    for (uint32_t i = entry->first_dispatch + entry->n_dispatches; i-- > entry->first_dispatch;) {
        const struct binding *bindings = schedule->dispatches[i].bindings;
        for (uint32_t k = 0; k < VULKAN_MAX_BINDINGS; k++) {
            if (bindings[k].write && bindings[k].resource == (int32_t)(2 * step)) {
                return i;
            }
        }
    }
    return entry->first_dispatch + entry->n_dispatches - 1;
}

const struct entry *schedule_next(const struct schedule *schedule, uint32_t step, uint32_t last, bool whole)
{
    const struct entry *fused = &schedule->fused[step];
    bool fits = fused->n_dispatches && step + fused->n_steps <= last && (whole || !fused->leaves_out);
    return fits ? fused : &schedule->single[step];
}
