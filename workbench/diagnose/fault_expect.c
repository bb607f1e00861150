/* What to expect of a planted fault: whether it shows at a step, and how the diagnosis names it. */
#include <math.h>

#include "workbench/diagnose/diagnose_internal.h"
#include "workbench/diagnose/relations/relations.h"
#include "workbench/trace/sample.h"

/* Whether a mutant leaves the bound in any row; nonfinite: whether it gives NaN or infinity in one. */
static bool mutant_shows(struct op_trial *trial, const struct step *mutant, bool nonfinite)
{
    for (uint32_t i = 0; i < trial->rows.n; i++) {
        struct op_row row = trial->rows.rows[i];
        row.recorded = NULL; /* a mutant that may choose must not choose what is nearest to the healthy row */
        trial_run(trial, mutant, &row, 1);
        bool shows = !nonfinite && trial_row_ratio(trial, trial->rows.rows + i, 0) > 1;
        for (uint32_t d = 0; nonfinite && d < trial->stage->width; d++) {
            shows = shows || !isfinite(trial->expected[d]);
        }
        if (shows) {
            return true;
        }
    }
    return false;
}

/* Whether the padding token has the largest logit at a position where a token was sampled. */
static bool pad_wins(const struct plan *plan, uint32_t step, const struct trace *healthy)
{
    const struct trace_stage *logits = trace_find(healthy, LAYER_NONE, STAGE_logits_final);
    const struct trace_stage *token = trace_find(healthy, LAYER_NONE, STAGE_sample_token);
    int32_t pad = plan->steps[step].op == OP_sample_token ? plan->steps[step].params.sample_token.masked_id : -1;
    for (uint32_t p = 0; logits && token && p < healthy->n_positions; p++) {
        const float *row = trace_row(logits, p);
        if (row && trace_row(token, p) && sample_greedy(row, logits->width, -1) == pad) {
            return true;
        }
    }
    return false;
}

bool fault_shows(const struct fault *fault, const struct plan *plan, uint32_t step, const struct trace *healthy)
{
    struct op_trial trial;
    struct arena arena = {0};
    if (fault->tamper == TAMPER_PAD_CHOSEN) {
        return pad_wins(plan, step, healthy);
    }
    if (!fault_is_mutant(fault)) {
        return true;
    }
    trial_open(&trial, plan, step, healthy);
    struct step mutant = fault_mutant(fault, plan, step, &arena);
    bool shows = mutant_shows(&trial, &mutant, fault->nonfinite);
    trial_close(&trial);
    arena_free(&arena);
    return shows;
}

enum diagnosis_how fault_named_how(const struct fault *fault)
{
    enum diagnosis_how how = HOW_REPRODUCED;
    bool known = fault->relation == NULL || relation_proves(fault->relation, &how);
    ASSERT(known);
    return how;
}
