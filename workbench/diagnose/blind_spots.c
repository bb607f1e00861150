/* Which known bugs the tokens of a run cannot show: a window that no token reaches, a limit on a length that is longer.
 */
#include "model/stop.h"
#include "workbench/diagnose/diagnose.h"

/* Whether the fault strikes a step of the plan, and whether it shows in one. */
static void try_fault(const struct fault *fault, const struct plan *plan, const struct trace *healthy, bool *strikes,
                      bool *shows)
{
    *strikes = *shows = false;
    for (uint32_t s = 0; s < plan->n_steps && !*shows && !stop_asked(); s++) {
        if (fault_applies(fault, plan, s)) {
            *strikes = true;
            *shows = fault_shows(fault, plan, s, healthy);
        }
    }
}

/* Whether a trace recorded every stage that a backend computes. */
static bool is_complete(const struct plan *plan, const struct trace *trace)
{
    for (uint32_t s = 0; s < plan->n_steps; s++) {
        const struct step *step = &plan->steps[s];
        const struct trace_stage *stage = trace_find_step(trace, step);
        bool judged_alone =
            step->stage == STAGE_attn_probs || step->op == OP_sample_token || step->op == OP_sample_probs;
        if (!judged_alone && (stage == NULL || stage->n_recorded < trace->n_positions)) {
            return false;
        }
    }
    return true;
}

uint32_t blind_spots_find(const struct plan *plan, const struct trace *const *traces, uint32_t n_traces,
                          const char **names, uint32_t most)
{
    uint32_t n_faults, n = 0, t = 0;
    const struct fault *faults = fault_list(&n_faults);
    while (t < n_traces && !is_complete(plan, traces[t])) {
        t++;
    }
    for (uint32_t i = 0; t < n_traces && i < n_faults && !stop_asked(); i++) {
        bool strikes, shows;
        if (!fault_is_mutant(&faults[i]) || faults[i].silent || faults[i].breaks_engine) {
            continue;
        }
        try_fault(&faults[i], plan, traces[t], &strikes, &shows);
        if (strikes && !shows && !stop_asked()) {
            if (n < most) {
                names[n] = faults[i].name;
            }
            n++;
        }
    }
    return n;
}
