#include "engine/lowering/kernel_choice.h"

#include <string.h>

#include "engine/lowering/lower_plan.h"

enum stage_kernel kernel_choice_of(const struct builder *b, uint32_t step)
{
    const struct buffers *buffers = b->buffers;
    return stage_kernel_chosen(&buffers->kernels, buffers->plan->steps[step].stage,
                               buffers_step_rows(buffers, step, b->schedule->n_rows));
}

enum stage_kernel kernel_choice_in(const struct builder *b, uint32_t first, uint32_t last)
{
    enum stage_kernel kernel = KERNEL_AUTO;
    for (uint32_t s = first; s <= last && kernel == KERNEL_AUTO; s++) {
        kernel = kernel_choice_of(b, s);
    }
    return kernel;
}

bool kernel_choice_is(const struct builder *b, uint32_t step, enum stage_kernel kernel, bool suits)
{
    enum stage_kernel chosen = kernel_choice_of(b, step);
    return chosen == kernel || (chosen == KERNEL_AUTO && suits);
}

static enum stage_kernel kernel_of(const struct schedule *schedule, const struct entry *entry, uint32_t step)
{
    enum stage_kernel kernel =
        stage_kernel_by_name(schedule->dispatches[schedule_writer(schedule, entry, step)].shader);
    ASSERT(kernel != KERNEL_COUNT); /* every kernel has a row in placement/stage_kernels.h */
    return kernel;
}

bool kernel_choice_allows(const struct builder *b, const struct entry *fused, uint32_t first)
{
    for (uint32_t s = first; s < first + fused->n_steps; s++) {
        enum stage_kernel chosen = kernel_choice_of(b, s);
        if (chosen != KERNEL_AUTO && chosen != kernel_of(b->schedule, fused, s)) {
            return false;
        }
    }
    return true;
}

enum status kernel_choice_used(const struct buffers *buffers, uint32_t n_rows, const bool *captured, uint32_t *kernels,
                               struct error *err)
{
    struct schedule schedule;
    uint32_t n_steps = buffers->plan->n_steps;
    memset(kernels, 0, STAGE_COUNT * sizeof(*kernels));
    TRY(lower_plan(&schedule, buffers, NULL, n_rows, captured, err));
    for (uint32_t first = 0; first < n_steps;) {
        const struct entry *entry = schedule_next(&schedule, first, n_steps, true);
        for (uint32_t s = first; s < first + entry->n_steps; s++) {
            kernels[buffers->plan->steps[s].stage] |= 1u << kernel_of(&schedule, entry, s);
        }
        first += entry->n_steps;
    }
    schedule_free(&schedule);
    return STATUS_OK;
}

enum status kernel_choice_possible(const struct buffers *buffers, uint32_t n_rows, const bool *captured,
                                   uint32_t *kernels, struct error *err)
{
    struct buffers all = *buffers;
    struct error unused;
    uint32_t made[STAGE_COUNT];
    all.kernels = (struct kernel_choices){0};
    TRY(kernel_choice_used(&all, n_rows, captured, kernels, err));
    for (unsigned kernel = KERNEL_AUTO + 1; kernel < KERNEL_COUNT; kernel++) {
        memset(all.kernels.of_stage, (int)kernel, sizeof(all.kernels.of_stage));
        if (kernel_choice_used(&all, n_rows, captured, made, &unused) != STATUS_OK) {
            continue; /* one stage of the plan is refused to it */
        }
        for (unsigned stage = 0; stage < STAGE_COUNT; stage++) {
            kernels[stage] |= made[stage] & 1u << kernel;
        }
    }
    return STATUS_OK;
}
