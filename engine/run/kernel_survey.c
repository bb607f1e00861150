#include "engine/run/kernel_survey.h"

#include <string.h>

#include "engine/lowering/kernel_choice.h"
#include "engine/lowering/lower_plan.h"

enum status kernel_survey_used(const struct buffers *buffers, uint32_t n_rows, const bool *captured, uint32_t *kernels,
                               struct error *err)
{
    struct schedule schedule;
    uint32_t n_steps = buffers->plan->n_steps;
    memset(kernels, 0, STAGE_COUNT * sizeof(*kernels));
    TRY(lower_plan(&schedule, buffers, NULL, n_rows, captured, err));
    for (uint32_t first = 0; first < n_steps;) {
        const struct entry *entry = schedule_next(&schedule, first, n_steps, true);
        for (uint32_t s = first; s < first + entry->n_steps; s++) {
            kernels[buffers->plan->steps[s].stage] |= 1u << kernel_choice_made(&schedule, entry, s);
        }
        first += entry->n_steps;
    }
    schedule_free(&schedule);
    return STATUS_OK;
}

enum status kernel_survey_possible(const struct buffers *buffers, uint32_t n_rows, const bool *captured,
                                   uint32_t *kernels, struct error *err)
{
    struct buffers all = *buffers;
    struct error unused;
    uint32_t made[STAGE_COUNT];
    all.kernels = (struct kernel_choices){0};
    TRY(kernel_survey_used(&all, n_rows, captured, kernels, err));
    for (unsigned kernel = KERNEL_AUTO + 1; kernel < KERNEL_COUNT; kernel++) {
        memset(all.kernels.of_stage, (int)kernel, sizeof(all.kernels.of_stage));
        if (kernel_survey_used(&all, n_rows, captured, made, &unused) != STATUS_OK) {
            continue; /* one stage of the plan is refused to it */
        }
        for (unsigned stage = 0; stage < STAGE_COUNT; stage++) {
            kernels[stage] |= made[stage] & 1u << kernel;
        }
    }
    return STATUS_OK;
}
