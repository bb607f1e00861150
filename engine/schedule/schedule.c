#include "engine/schedule/builder.h"

#include <stdlib.h>

/* The dispatches of each step alone, then those of the groups that start at it. */
static enum status build(struct builder *b)
{
    struct schedule *schedule = b->schedule;
    for (b->step = 0; b->step < b->store->plan->n_steps; b->step++) {
        struct entry *alone = &schedule->alone[b->step], *fused = &schedule->fused[b->step];
        b->n_rows = store_step_rows(b->store, b->step, schedule->n_rows);
        *alone = (struct entry){.first_dispatch = schedule->n_dispatches, .n_steps = 1};
        TRY(step_alone(b));
        alone->n_dispatches = schedule->n_dispatches - alone->first_dispatch;
        fused->first_dispatch = schedule->n_dispatches;
        if (!b->store->limits.no_fusing) {
            TRY(fuse_decode(b, fused));
        }
        if (!b->store->limits.no_fusing && fused->n_steps == 0) {
            TRY(fuse(b, &fused->n_steps));
        }
        fused->n_dispatches = schedule->n_dispatches - fused->first_dispatch;
    }
    return STATUS_OK;
}

enum status schedule_build(struct schedule *schedule, const struct store *store, struct programs *programs,
                           uint32_t n_rows, const bool *captured, struct error *err)
{
    uint32_t n_steps = store->plan->n_steps;
    *schedule = (struct schedule){.n_rows = n_rows, .captured = captured};
    schedule->slots = xcalloc(n_steps, sizeof(*schedule->slots));
    schedule->alone = xcalloc(n_steps, sizeof(*schedule->alone));
    schedule->fused = xcalloc(n_steps, sizeof(*schedule->fused));
    schedule->arena_bytes = store_slots(store, n_rows, schedule->slots);
    struct builder b = {.schedule = schedule, .store = store, .programs = programs, .err = err};
    enum status status = build(&b);
    if (status == STATUS_OK) {
        status = chain_build(&b);
    }
    if (status != STATUS_OK) {
        schedule_free(schedule);
    }
    return status;
}

const struct entry *schedule_next(const struct schedule *schedule, uint32_t step, uint32_t last, bool whole)
{
    const struct entry *fused = &schedule->fused[step];
    bool fits = fused->n_dispatches && step + fused->n_steps <= last && (whole || !fused->leaves_out);
    return fits ? fused : &schedule->alone[step];
}

void schedule_free(struct schedule *schedule)
{
    free(schedule->dispatches);
    free(schedule->alone);
    free(schedule->fused);
    free(schedule->slots);
    *schedule = (struct schedule){0};
}
