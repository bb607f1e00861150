#include "workbench/session/diagnose_bugs.h"

#include <stdio.h>
#include <stdlib.h>
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

/* How many steps one that is diagnosed in full counts as: over a span of several ops it takes longer. */
static uint32_t steps_of(const struct comparison *comparison, const struct introduced *at)
{
    return audit_finding(&comparison->audit, at->step, at->trace)->span ? 2 : 1;
}

static void add_symptoms(struct comparison *comparison)
{
    diagnose_add(comparison,
                 triage_find(&comparison->audit, &comparison->verdict, comparison->list, comparison->sources,
                             &comparison->diagnoses[comparison->n_diagnoses], room_for(comparison, TRIAGE_MOST)));
}

/* Whether diagnosis i says that the step computes with less precision than its source declares, and that alone. */
static bool is_precision(const struct comparison *comparison, uint32_t i)
{
    return i < comparison->n_diagnoses && comparison->diagnoses[i].kind == KIND_PRECISION &&
           comparison->diagnoses[i].how == HOW_REPRODUCED;
}

/* Moves the diagnoses from `begin` on ahead of the others. */
static void move_to_front(struct comparison *comparison, uint32_t begin)
{
    struct diagnosis *all = comparison->diagnoses, before[COMPARISON_MOST_DIAGNOSES];
    uint32_t n = comparison->n_diagnoses - begin;
    memcpy(before, all, begin * sizeof(*all));
    memmove(all, all + begin, n * sizeof(*all));
    memcpy(all + n, before, begin * sizeof(*all));
}

/* Diagnoses errors of the first divergence's trace, from it on, until one is not a matter of precision: that one is the
 * first divergence. done[n_introduced] marks those that were told. Returns how many were diagnosed in full. */
static uint32_t diagnose_first(struct comparison *comparison, uint8_t *done)
{
    struct verdict *verdict = &comparison->verdict;
    uint32_t trace = verdict_first(verdict)->trace, first = verdict->first, n_steps = 0;
    for (uint32_t k = first; k < verdict->n_introduced && n_steps < MOST_STEPS && !stop_asked(); k++) {
        const struct introduced *at = &verdict->introduced[k];
        uint32_t begin = comparison->n_diagnoses;
        if (at->trace != trace) {
            continue;
        }
        done[k] = 1;
        if (is_told(comparison, at)) {
            continue;
        }
        bool proven = diagnose_introduced(comparison, at, n_steps == 0 ? MOST_FIRST : MOST_FURTHER);
        n_steps += steps_of(comparison, at);
        if (!is_precision(comparison, begin)) {
            comparison->n_unexplained += k != first && !proven;
            verdict->first = k;
            move_to_front(comparison, begin);
            return n_steps;
        }
    }
    return n_steps;
}

void diagnose_bugs(struct comparison *comparison)
{
    const struct verdict *verdict = &comparison->verdict;
    uint8_t *done = xcalloc(verdict->n_introduced, 1);
    uint32_t n_steps = diagnose_first(comparison, done);
    add_symptoms(comparison);
    for (uint32_t k = 0; k < verdict->n_introduced && !stop_asked(); k++) {
        const struct introduced *at = &verdict->introduced[k];
        if (done[k] || is_told(comparison, at)) {
            continue;
        }
        bool proven = n_steps < MOST_STEPS && diagnose_introduced(comparison, at, MOST_FURTHER);
        n_steps += steps_of(comparison, at);
        comparison->n_unexplained += !proven;
    }
    free(done);
}

/* Takes a diagnosis of a trace that was put right over. */
static void add_cured(struct comparison *comparison, const struct diagnosis *of_cured)
{
    struct diagnosis *added = &comparison->diagnoses[comparison->n_diagnoses++];
    *added = *of_cured;
    added->trace = verdict_first(&comparison->verdict)->trace;
    snprintf(added->text, sizeof(added->text), "Once the recording is put right: %.470s", of_cured->text);
}

void diagnose_cured(struct comparison *comparison, struct trace *trace)
{
    struct comparison *cured = xcalloc(1, sizeof(*cured));
    cured->plan = comparison->plan;
    comparison_add(cured, SOURCE_TRACE, trace);
    audit_run(&cured->audit, cured->plan, cured->list, 1, NULL, NULL);
    verdict_reach(&cured->verdict, &cured->audit, cured->list, cured->sources, true);
    if (cured->verdict.diverged && !stop_asked()) {
        diagnose_bugs(cured);
        for (uint32_t i = 0; i < cured->n_diagnoses && room_for(comparison, 1) > 0; i++) {
            add_cured(comparison, &cured->diagnoses[i]);
        }
        comparison->n_unexplained += cured->n_unexplained + (cured->n_diagnoses == 0);
    }
    comparison_free(cured);
    free(cured);
}
