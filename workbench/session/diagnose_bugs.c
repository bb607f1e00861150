#include "workbench/session/diagnose_bugs.h"

#include <string.h>

#include "model/stop.h"
#include "workbench/diagnose/triage.h"

#define MOST_FIRST 8   /* diagnoses of the first divergence */
#define MOST_FURTHER 2 /* of a further step */
#define MOST_STEPS 12  /* steps that are diagnosed in full: that takes seconds in a large model */

static void add_layer(struct diagnosis *diagnosis, int32_t layer)
{
    for (uint32_t i = 0; i < diagnosis->n_layers; i++) {
        if ((int32_t)diagnosis->layers[i] == layer) {
            return;
        }
    }
    if (layer != LAYER_NONE && diagnosis->n_layers < DIAGNOSIS_MOST_LAYERS) {
        diagnosis->layers[diagnosis->n_layers++] = (uint32_t)layer;
    }
}

void diagnose_add(struct comparison *comparison, uint32_t n)
{
    struct diagnosis *found = &comparison->diagnoses[comparison->n_diagnoses];
    for (uint32_t i = 0; i < n; i++) {
        found[i].n_layers = 0;
        add_layer(&found[i], comparison->plan->steps[found[i].step].layer);
        if (i > 0) {
            found[i].extent = found[0].extent;
        } else {
            extent_find(&found[0].extent, comparison->plan, found[0].introduced, comparison->list[found[0].trace]);
        }
    }
    comparison->n_diagnoses += n;
}

/* Whether an introduced error is of a bug that was told: of the same trace, at the same stage, and explained alike.
 * Then its layer is added. */
static bool is_told(struct comparison *comparison, const struct introduced *at)
{
    const struct step *steps = comparison->plan->steps;
    for (uint32_t i = 0; i < comparison->n_diagnoses; i++) {
        struct diagnosis *known = &comparison->diagnoses[i];
        bool best = i == 0 || known[-1].introduced != known->introduced || known[-1].trace != known->trace;
        if (!best || known->how == HOW_CONSISTENT || known->trace != at->trace ||
            steps[known->introduced].stage != steps[at->step].stage) {
            continue;
        }
        if (diagnose_is_same(comparison->plan, at->step, comparison->list[at->trace], known)) {
            add_layer(known, steps[at->step].layer);
            return true;
        }
    }
    return false;
}

/* How many more diagnoses there is room for, at most n. */
static uint32_t room_for(const struct comparison *comparison, uint32_t n)
{
    uint32_t left = COMPARISON_MOST_DIAGNOSES - comparison->n_diagnoses;
    return left < n ? left : n;
}

/* Diagnoses one step, and adds what is found. Returns whether its cause is proven. */
static bool diagnose_introduced(struct comparison *comparison, const struct introduced *at, uint32_t most)
{
    struct diagnosis *found = &comparison->diagnoses[comparison->n_diagnoses];
    uint32_t n =
        diagnose_step(comparison->plan, at->step, comparison->list[at->trace], found, room_for(comparison, most));
    for (uint32_t i = 0; i < n; i++) {
        found[i].introduced = at->step;
        found[i].trace = at->trace;
    }
    diagnose_add(comparison, n);
    return n > 0 && found[0].how != HOW_CONSISTENT;
}

static void diagnose_first(struct comparison *comparison)
{
    diagnose_introduced(comparison, &comparison->verdict.introduced[0], MOST_FIRST);
    diagnose_add(comparison,
                 triage_find(&comparison->audit, &comparison->verdict, comparison->list, comparison->sources,
                             &comparison->diagnoses[comparison->n_diagnoses], room_for(comparison, TRIAGE_MOST)));
}

void diagnose_bugs(struct comparison *comparison)
{
    const struct verdict *verdict = &comparison->verdict;
    uint32_t n_steps = 1;
    diagnose_first(comparison);
    for (uint32_t k = 1; k < verdict->n_introduced && !stop_asked(); k++) {
        const struct introduced *at = &verdict->introduced[k];
        if (is_told(comparison, at)) {
            continue;
        }
        bool proven = n_steps < MOST_STEPS && diagnose_introduced(comparison, at, MOST_FURTHER);
        n_steps++;
        comparison->n_unexplained += !proven;
    }
}
