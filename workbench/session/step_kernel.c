#include "workbench/session/step_kernel.h"

#include <stdio.h>
#include <string.h>

#include "workbench/trace/trace.h"

const char *step_kernel_write_name(const struct engine_kernel *kernel, char text[STEP_KERNEL_SIZE])
{
    bool faulty = kernel->variant != NULL;
    text[0] = '\0';
    if (kernel->shader != NULL) {
        snprintf(text, STEP_KERNEL_SIZE, "%s.comp%s%s", kernel->shader, faulty ? " " : "",
                 faulty ? kernel->variant : "");
    }
    return text;
}

const char *step_kernel_write(const struct engine_kernel *kernel, const struct plan *plan, char text[STEP_KERNEL_SIZE])
{
    (void)step_kernel_write_name(kernel, text);
    if (kernel->shader == NULL) {
        return text;
    }
    size_t length = strlen(text);
    snprintf(text + length, STEP_KERNEL_SIZE - length, ", dispatch %u", kernel->dispatch);
    if (kernel->n_steps > 1) {
        length = strlen(text);
        snprintf(text + length, STEP_KERNEL_SIZE - length, ", fused: %s to %s",
                 stage_name(plan->steps[kernel->first_step].stage),
                 stage_name(plan->steps[kernel->first_step + kernel->n_steps - 1].stage));
    }
    return text;
}

/* step: of any plan of the model; layer and stage name it. */
static bool find_kernel(const struct backend *engine, uint32_t n_rows, const struct step *step, bool by_itself,
                        struct engine_kernel *kernel)
{
    int32_t s = plan_find(engine->plan, step->layer, step->stage);
    return s >= 0 && engine_kernel_of(engine, n_rows, (uint32_t)s, by_itself, kernel);
}

const char *step_kernel_text(const struct backend *engine, uint32_t n_rows, const struct step *step, bool by_itself,
                             char text[STEP_KERNEL_SIZE])
{
    struct engine_kernel kernel;
    text[0] = '\0';
    return find_kernel(engine, n_rows, step, by_itself, &kernel) ? step_kernel_write(&kernel, engine->plan, text)
                                                                 : text;
}

uint32_t step_kernel_rows(const struct backend *engine, const uint8_t *phase, uint32_t n_positions, uint32_t position)
{
    if (phase[position] == PHASE_DECODE) {
        return 1;
    }
    uint32_t first = position / engine->max_rows * engine->max_rows, n = 0;
    while (first + n < n_positions && n < engine->max_rows && phase[first + n] == PHASE_PREFILL) {
        n++;
    }
    return n;
}

void step_kernel_find_first(struct comparison *comparison, const struct backend *engine)
{
    const struct introduced *first = verdict_first(&comparison->verdict);
    if (first->source != SOURCE_ENGINE || engine == NULL) {
        return;
    }
    char text[STEP_KERNEL_SIZE];
    const struct trace *trace = comparison->list[first->trace];
    uint32_t position = audit_finding(&comparison->audit, first->step, first->trace)->position;
    uint32_t n_rows = step_kernel_rows(engine, trace->phase, trace->n_positions, position);
    comparison->run.kernel =
        xstrdup(step_kernel_text(engine, n_rows, &comparison->plan->steps[first->step], false, text));
}

void step_kernel_describe(struct comparison *comparison, const struct backend *engine)
{
    if (engine != NULL) {
        comparison->run.device = engine_device(engine)->name;
        comparison->run.driver = engine_device(engine)->driver;
    }
    if (comparison->verdict.n_introduced > 0) {
        step_kernel_find_first(comparison, engine);
    }
}
