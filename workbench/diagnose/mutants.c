/* Mutants of a step: faults of the table, made to the reference's op. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "workbench/diagnose/proof.h"

/* Whether the fault, made to this step, may explain its failing rows. */
static bool can_explain(const struct fault *fault, const struct op_trial *trial, const struct plan *plan, uint32_t step,
                        bool nonfinite)
{
    return fault_is_mutant(fault) && (!fault->nonfinite || nonfinite) && fault_applies(fault, plan, step) &&
           !(fault->exact_input && trial->rows.rows[0].error[0]);
}

uint32_t mutants_try(const struct solve *solve, bool spares_some, struct diagnosis *found, uint32_t max)
{
    const struct span_failure failure = {
        .plan = solve->evidence->plan, .step = solve->evidence->step_index, .trace = solve->evidence->trace};
    struct op_trial *trial = solve->trial;
    const struct evidence *right = solve->evidence;
    uint32_t n = 0, n_faults;
    const struct fault *faults = fault_list(&n_faults);
    bool nonfinite = trial_any_nonfinite(trial);
    for (uint32_t i = 0; i < n_faults && n < max; i++) {
        struct proof proof = {.spares_some = spares_some};
        if (!can_explain(&faults[i], trial, right->plan, right->step_index, nonfinite)) {
            continue;
        }
        struct arena arena = {0};
        struct step mutant = fault_mutant(&faults[i], right->plan, right->step_index, &arena);
        struct candidate candidate = trial_candidate(trial, &mutant);
        candidate.spares_some = spares_some;
        bool explains = trial_explains(trial, &candidate, right, &proof.worst);
        arena_free(&arena);
        if (!explains || (faults[i].alone && !exchange_is_elsewhere(&faults[i], &failure, failure.step))) {
            continue;
        }
        struct diagnosis *diagnosis = &found[n++];
        *diagnosis = (struct diagnosis){.how = HOW_REPRODUCED,
                                        .kind = faults[i].kind,
                                        .step = right->step_index,
                                        .postmortem = faults[i].postmortem};
        snprintf(diagnosis->fault, sizeof(diagnosis->fault), "%s", faults[i].name);
        if (spares_some) {
            proof_tell(solve, &proof, diagnosis, "%s", faults[i].story);
            continue;
        }
        snprintf(diagnosis->text, sizeof(diagnosis->text),
                 "%s Computed with this bug, all %u rows come out as recorded (worst ratio %.3f); the right op fails "
                 "in %u.",
                 faults[i].story, trial->rows.n, proof.worst, trial->n_failing);
    }
    return n;
}

bool fault_reproduces(const struct fault *fault, const struct plan *plan, uint32_t step, const struct trace *trace)
{
    struct op_trial trial;
    double worst;
    bool reproduces = false;
    trial_open(&trial, plan, step, trace);
    uint32_t n_failing = trial_sort_failing_first(&trial, &plan->steps[step]);
    if (n_failing > 0) {
        struct evidence evidence;
        evidence_open(&evidence, &trial, plan, step, trace);
        if (can_explain(fault, &trial, plan, step, trial_any_nonfinite(&trial))) {
            struct arena arena = {0};
            struct step mutant = fault_mutant(fault, plan, step, &arena);
            const struct candidate candidate = trial_candidate(&trial, &mutant);
            reproduces = trial_explains(&trial, &candidate, &evidence, &worst);
            arena_free(&arena);
        }
        evidence_close(&evidence);
    }
    trial_close(&trial);
    return reproduces;
}
