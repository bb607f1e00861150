#include "engine/lowering/lower_plan.h"

#include "engine/lowering/fuse.h"
#include "engine/lowering/fuse_decode.h"
#include "engine/lowering/kernel_choice.h"
#include "engine/lowering/lower_argmax.h"
#include "engine/lowering/lower_op.h"

/* Adds the group that starts at the current step, if there is one. Drops it where the user chose another kernel for one
 * of its stages. */
static enum status lower_fused(struct builder *b)
{
    typedef enum status fuse_function(struct builder * b, struct entry * fused);
    static fuse_function *const ways[] = {fuse_decode, fuse};
    struct schedule *schedule = b->schedule;
    struct entry *fused = &schedule->fused[b->step];
    for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]) && !b->buffers->limits.no_fusing; i++) {
        *fused = (struct entry){.first_dispatch = schedule->n_dispatches};
        TRY(ways[i](b, fused));
        fused->n_dispatches = schedule->n_dispatches - fused->first_dispatch;
        if (fused->n_steps > 0 && kernel_choice_allows(b, fused, b->step)) {
            return STATUS_OK;
        }
        schedule->n_dispatches = fused->first_dispatch;
    }
    *fused = (struct entry){0};
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
