#include "engine/lowering/lower_plan.h"

#include "engine/lowering/fuse.h"
#include "engine/lowering/fuse_decode.h"
#include "engine/lowering/lower_argmax.h"
#include "engine/lowering/lower_op.h"

/* Adds the group that starts at the current step, if there is one. */
static enum status lower_fused(struct builder *b)
{
    struct entry *fused = &b->schedule->fused[b->step];
    fused->first_dispatch = b->schedule->n_dispatches;
    if (!b->buffers->limits.no_fusing) {
        TRY(fuse_decode(b, fused));
    }
    if (!b->buffers->limits.no_fusing && fused->n_steps == 0) {
        TRY(fuse(b, &fused->n_steps));
    }
    fused->n_dispatches = b->schedule->n_dispatches - fused->first_dispatch;
    return STATUS_OK;
}

/* Adds the dispatches of each step by itself, then those of the group that starts at it. */
static enum status lower_steps(struct builder *b)
{
    struct schedule *schedule = b->schedule;
    for (b->step = 0; b->step < b->buffers->plan->n_steps; b->step++) {
        struct entry *single = &schedule->single[b->step];
        b->n_rows = buffers_step_rows(b->buffers, b->step, schedule->n_rows);
        *single = (struct entry){.first_dispatch = schedule->n_dispatches, .n_steps = 1};
        TRY(lower_op(b));
        single->n_dispatches = schedule->n_dispatches - single->first_dispatch;
        TRY(lower_fused(b));
    }
    return STATUS_OK;
}

enum status lower_plan(struct schedule *schedule, const struct buffers *buffers, struct programs *programs,
                       uint32_t n_rows, const bool *captured, struct error *err)
{
    schedule_open(schedule, buffers, n_rows, captured);
    struct builder b = {.schedule = schedule, .buffers = buffers, .programs = programs, .err = err};
    enum status status = lower_steps(&b);
    if (status == STATUS_OK) {
        status = lower_argmax(&b);
    }
    if (status != STATUS_OK) {
        schedule_free(schedule);
    }
    return status;
}
