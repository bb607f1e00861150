#include "engine/lowering/kernel_choice.h"

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

enum stage_kernel kernel_choice_made(const struct schedule *schedule, const struct entry *entry, uint32_t step)
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
        if (chosen != KERNEL_AUTO && chosen != kernel_choice_made(b->schedule, fused, s)) {
            return false;
        }
    }
    return true;
}
