/* Which known bugs the tokens of a run cannot show: a window that no token reaches, a limit on a length that is longer. */
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

uint32_t blind_spots_find(const struct plan *plan, const struct trace *healthy, const char **names, uint32_t most)
{
    uint32_t n_faults, n = 0;
    const struct fault *faults = fault_list(&n_faults);
    for (uint32_t i = 0; i < n_faults && !stop_asked(); i++) {
        bool strikes, shows;
        if (!fault_is_mutant(&faults[i]) || faults[i].silent || faults[i].breaks_engine) {
            continue;
        }
        try_fault(&faults[i], plan, healthy, &strikes, &shows);
        if (strikes && !shows && !stop_asked()) {
            if (n < most) {
                names[n] = faults[i].name;
            }
            n++;
        }
    }
    return n;
}
