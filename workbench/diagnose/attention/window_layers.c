/* Layers of two kinds, with and without a window: an exchange is one only where layers of both kinds have it. */
#include <string.h>

#include "workbench/diagnose/diagnose_internal.h"

/* The recorded step that shows what another step computes: itself, or the next one that is recorded. */
static uint32_t recorded_from(const struct plan *plan, const struct trace *trace, uint32_t step)
{
    for (; step < plan->n_steps; step++) {
        const struct trace_stage *stage = trace_find_step(trace, &plan->steps[step]);
        if (stage && stage->n_recorded > 0) {
            break;
        }
    }
    return step;
}

/* Whether the recorded step `at` fails and is explained by the fault in step `other`, at or ahead of it. */
static bool has_fault(const struct fault *fault, const struct span_failure *at, uint32_t other)
{
    struct diagnosis found[8];
    if (diagnose_n_failing(at->plan, at->step, at->trace) == 0) {
        return false;
    }
    if (at->step == other) {
        return fault_reproduces(fault, at->plan, other, at->trace);
    }
    uint32_t n = diagnose_failure(at, found, 8);
    for (uint32_t i = 0; i < n; i++) {
        if (strcmp(found[i].fault, fault->name) == 0 && found[i].how == HOW_REPRODUCED && found[i].step == other) {
            return true;
        }
    }
    return false;
}

bool exchange_is_elsewhere(const struct fault *fault, const struct span_failure *failure, uint32_t step)
{
    const struct plan *plan = failure->plan;
    for (uint32_t other = 0; other < plan->n_steps; other++) {
        bool other_kind = plan->steps[other].op == plan->steps[step].op &&
                          plan->steps[other].stage == plan->steps[step].stage &&
                          memcmp(&plan->steps[other].params, &plan->steps[step].params, sizeof(union step_params)) != 0;
        const struct span_failure at = {.plan = plan,
                                        .step = other_kind ? recorded_from(plan, failure->trace, other) : plan->n_steps,
                                        .trace = failure->trace,
                                        .is_exchange = true};
        if (at.step < plan->n_steps && fault_applies(fault, plan, other) && has_fault(fault, &at, other)) {
            return true;
        }
    }
    return false;
}
