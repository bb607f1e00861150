#include "workbench/diagnose/recording/recording.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/stop.h"
#include "workbench/audit/arithmetic.h"
#include "workbench/audit/weights/factor.h"
#include "workbench/diagnose/recording/cure.h"

/* Whether a failing step may pass in an arithmetic that is inferred, or is one of so many that may fail. */
static bool may_go_on(void *context, const struct step *step, const struct finding *finding)
{
    uint32_t *left = context;
    if (arithmetic_may_explain(step, finding) || arithmetic_may_explain_span(finding)) {
        return true;
    }
    return (*left)-- > 0;
}

/* Whether no more than n_failing steps fail whatever arithmetic is inferred. Ends at the first that is too much. */
static bool few_fail(const struct plan *plan, const struct trace *trace, uint32_t n_failing)
{
    struct audit audit;
    bool may = audit_while(&audit, plan, trace, may_go_on, &n_failing);
    audit_free(&audit);
    return may;
}

static void set_states(const struct audit *audit, uint32_t t, const struct verdict *verdict, uint8_t *states)
{
    for (uint32_t s = 0; s < audit->plan->n_steps; s++) {
        states[s] = audit_finding(audit, s, t)->rows_judged > 0 ? STEP_PASSES : STEP_UNJUDGED;
    }
    for (uint32_t i = 0; i < verdict->n_introduced; i++) {
        if (verdict->introduced[i].trace == t) {
            states[verdict->introduced[i].step] = STEP_FAILS;
        }
    }
}

struct recording_outcome recording_outcome(const struct audit *audit, uint32_t t, const struct verdict *verdict,
                                           uint8_t *states)
{
    const struct plan *plan = audit->plan;
    struct recording_outcome outcome = {.first = plan->n_steps, .conclusion = verdict->conclusion};
    uint64_t ops = 0;
    for (uint32_t i = 0; i < verdict->n_introduced; i++) {
        const struct introduced *at = &verdict->introduced[i];
        uint64_t op = (uint64_t)1 << plan->steps[at->step].op;
        if (at->trace == t) {
            outcome.first = outcome.n_failing++ == 0 ? at->step : outcome.first;
            const struct finding *finding = audit_finding(audit, at->step, t);
            outcome.all_rows_fail |= outcome.n_failing == 1 && finding->rows_failed == finding->rows_judged;
            outcome.n_ops += !(ops & op);
            ops |= op;
        }
    }
    for (uint32_t s = 0; s < plan->n_steps; s++) {
        outcome.n_judged += audit_finding(audit, s, t)->rows_judged > 0;
    }
    if (states) {
        set_states(audit, t, verdict, states);
    }
    return outcome;
}

struct recording_outcome recording_audit(const struct plan *plan, struct trace *trace, uint8_t *states)
{
    const struct trace *list[] = {trace};
    const enum source sources[] = {SOURCE_TRACE};
    struct audit audit;
    struct arithmetic arithmetic;
    struct verdict verdict;
    uint32_t none = 0;
    if (states) {
        audit_run(&audit, plan, list, 1, NULL, NULL);
    } else if (!audit_while(&audit, plan, trace, may_go_on, &none)) {
        audit_free(&audit);
        return (struct recording_outcome){.n_failing = 1};
    }
    arithmetic_infer(&arithmetic, &audit, list, 0, trace);
    verdict_reach(&verdict, &audit, list, sources, true);
    struct recording_outcome outcome = recording_outcome(&audit, 0, &verdict, states);
    verdict_free(&verdict);
    audit_free(&audit);
    return outcome;
}

/* What proves a cure. */
enum proof_of_cure {
    PROOF_MOST,    /* what fails is so little that it is a bug besides */
    PROOF_ITSELF,  /* the stage lies where it is put by what its values are, and more passes than before */
    PROOF_CHANGED, /* what was changed, and what reads it, passes then; nothing fails that passed before */
    PROOF_ONE,     /* the same, where one step was changed */
    PROOF_READERS, /* what was changed passes, and of what reads each of it something passes that failed; nothing fails
                      that passed before */
    PROOF_HIDDEN,  /* the same, where much can't be judged any more; or nothing fails */
};

/* The mistakes, the likeliest first. */
static const struct recording {
    cure_function *put_right;
    enum proof_of_cure proof;
    uint32_t n_moved;        /* stages that the cure moves outside what is judged */
    const char *name, *text; /* NULL: the cure says them */
} recordings[] = {
    {cure_last_state, PROOF_ITSELF, 1, "last-state-after-norm",
     "the last layer's layer_out is the state after the final norm, as in transformers' output_hidden_states; "
     "record it as final_norm, and layer_out from a hook on the last layer"},
    {cure_missing_prompt, PROOF_HIDDEN, 0, NULL, NULL},
    {cure_extra_bos, PROOF_ONE, 0, NULL, NULL},
    {cure_lacking_bos, PROOF_ONE, 0, NULL, NULL},
    {cure_shift_down, PROOF_MOST, 0, "layers-shifted-down",
     "every layer's stages are those of the layer before, and layer 0 layer_out is embed; record "
     "hidden_states[0] as embed and hidden_states[i + 1] as layer i layer_out"},
    {cure_shift_up, PROOF_MOST, 0, "layers-shifted-up",
     "every layer's stages are those of the next layer; record them one layer higher"},
    {cure_states_down, PROOF_MOST, 0, "states-shifted-down",
     "every layer's layer_out is the state before the layer, and the layer's other stages are right; record "
     "hidden_states[i + 1] as layer i layer_out, and hidden_states[0] as embed"},
    {cure_states_up, PROOF_MOST, 0, "states-shifted-up",
     "every layer's layer_out is that of the next layer, and the layer's other stages are right; record it one layer "
     "higher"},
    {cure_layout, PROOF_CHANGED, 0, NULL, NULL},
    {cure_scale, PROOF_READERS, 0, NULL, NULL},
    {cure_rounding, PROOF_MOST, 0, "rounded-for-file",
     "the values were rounded for the file alone, and the engine computes with more; declare "
     "rounded_dtype in place of storage_dtype, or record float32"},
};

/* A trace as recorded, and once put right. */
struct trial_of_cure {
    const struct recording *recording;
    const struct plan *plan;
    struct cure cure;
    struct trace cured;
    struct recording_outcome before, after;
    uint8_t *changed, *states_before, *states_after; /* [n_steps] */
    uint32_t n_lost;                                 /* stages that have no place any more, and cannot be judged */
};

static void trial_of_cure_free(struct trial_of_cure *trial)
{
    trace_free(&trial->cured);
    free(trial->changed);
    free(trial->states_before);
    free(trial->states_after);
}

/* The same of a cured trace, whose values may be rounded for the file as well. */
static bool few_fail_rounded(const struct trial_of_cure *trial, uint32_t n_failing)
{
    struct trace rounded;
    struct cure cure = trial->cure;
    if (few_fail(trial->plan, &trial->cured, n_failing)) {
        return true;
    }
    trace_copy(&rounded, &trial->cured);
    bool may = cure_rounding(&rounded, trial->plan, &cure) && few_fail(trial->plan, &rounded, n_failing);
    trace_free(&rounded);
    return may;
}

/* How many steps of a cured trace may fail where PROOF_MOST is asked: see is_proven. */
static uint32_t most_that_may_fail(const struct trial_of_cure *trial)
{
    uint32_t before = trial->before.n_failing, most = trial->cured.n_stages / 10 + 1;
    return before <= 2 ? 0 : before - 2 < most ? before - 2 : most;
}

/* Refuses most changes that are no cures at little cost: the first changed step, or what fails so early, says it. */
static bool may_be_proven(const struct trial_of_cure *trial)
{
    enum proof_of_cure proof = trial->recording->proof;
    for (uint32_t s = 0; s < trial->plan->n_steps && proof == PROOF_ONE; s++) {
        if (trial->changed[s]) {
            struct finding finding = audit_step(trial->plan, s, &trial->cured);
            return !finding_failed(&finding) || arithmetic_may_explain(&trial->plan->steps[s], &finding);
        }
    }
    return proof != PROOF_MOST || few_fail_rounded(trial, most_that_may_fail(trial));
}

/* Where values that were put right are rounded for the file as well: takes that for granted too, if fewer steps fail.
 */
static void round_cured(struct trial_of_cure *trial)
{
    struct trial_of_cure rounded = *trial;
    trace_copy(&rounded.cured, &trial->cured);
    rounded.states_after = xcalloc(trial->plan->n_steps, 1);
    bool fewer = false;
    if (cure_rounding(&rounded.cured, trial->plan, &rounded.cure)) {
        rounded.after = recording_audit(trial->plan, &rounded.cured, rounded.states_after);
        fewer = rounded.after.n_failing < trial->after.n_failing;
    }
    if (fewer) {
        struct trace before = trial->cured;
        trial->cured = rounded.cured;
        rounded.cured = before;
        trial->after = rounded.after;
        memcpy(trial->states_after, rounded.states_after, trial->plan->n_steps);
        size_t length = strlen(trial->cure.text);
        snprintf(trial->cure.text + length, sizeof(trial->cure.text) - length,
                 "; values were rounded for the file, too: declare rounded_dtype");
    }
    trace_free(&rounded.cured);
    free(rounded.states_after);
}

/* Puts a copy of the trace right, and audits it. Returns false where there is nothing to put right. */
static bool try_cure(struct trial_of_cure *trial, const struct trace *trace)
{
    memset(trial->changed, 0, trial->plan->n_steps);
    trial->cure = (struct cure){
        .name = trial->recording->name, .changed = trial->changed, .before = trial->states_before, .audited = trace};
    if (trial->recording->text) {
        snprintf(trial->cure.text, sizeof(trial->cure.text), "%s", trial->recording->text);
    }
    trace_free(&trial->cured);
    trace_copy(&trial->cured, trace);
    trace_forget_inferred(&trial->cured);
    if (!trial->recording->put_right(&trial->cured, trial->plan, &trial->cure)) {
        return false;
    }
    if (!may_be_proven(trial)) {
        return false;
    }
    trial->n_lost = trace->n_stages - trial->cured.n_stages;
    trial->after = recording_audit(trial->plan, &trial->cured, trial->states_after);
    if (trial->after.n_failing > 0 && recording_infer_storage(trial->plan, &trial->cured)) {
        trial->after = recording_audit(trial->plan, &trial->cured, trial->states_after);
    }
    if (trial->after.n_failing > 0 && trial->recording->put_right != cure_rounding) {
        round_cured(trial);
    }
    return true;
}

/* Whether a step reads a stage of a changed step. */
static bool reads_changed(const struct trial_of_cure *trial, uint32_t reader, enum stage changed)
{
    const struct step *step = &trial->plan->steps[reader];
    for (unsigned i = 0; i < OP_MAX_INPUTS && step->input[i] >= 0; i++) {
        if (trial->changed[step->input[i]] && trial->plan->steps[step->input[i]].stage == changed) {
            return true;
        }
    }
    return false;
}

/* Whether changed steps of this stage, and steps that read them, pass where any can be judged. One layer that does is
 * enough: others may have a bug besides. */
static bool stage_is_proven(const struct trial_of_cure *trial, enum stage stage)
{
    bool passes = false, any_reader = false, reader_passes = false;
    for (uint32_t s = 0; s < trial->plan->n_steps; s++) {
        uint8_t state = trial->states_after[s];
        passes |= trial->changed[s] && trial->plan->steps[s].stage == stage && state == STEP_PASSES;
        if (state != STEP_UNJUDGED && reads_changed(trial, s, stage)) {
            any_reader = true;
            reader_passes |= state == STEP_PASSES;
        }
    }
    return passes && (reader_passes || !any_reader);
}

/* Whether no step fails that passed before. */
static bool nothing_fails_anew(const struct trial_of_cure *trial)
{
    bool none = true;
    for (uint32_t s = 0; s < trial->plan->n_steps; s++) {
        none &= trial->states_before[s] != STEP_PASSES || trial->states_after[s] != STEP_FAILS;
    }
    return none;
}

/* Whether what was changed is proven, and no step fails that passed before: an engine whose bug it was would go on with
 * what it recorded. */
static bool change_is_proven(const struct trial_of_cure *trial)
{
    bool proven = nothing_fails_anew(trial), any = false;
    for (uint32_t s = 0; s < trial->plan->n_steps && proven; s++) {
        any |= trial->changed[s];
        proven = !trial->changed[s] || stage_is_proven(trial, trial->plan->steps[s].stage);
    }
    return proven && any;
}

/* Whether a step that failed and reads a changed one passes. */
static bool any_reader_cured(const struct trial_of_cure *trial, uint32_t changed)
{
    bool cured = false;
    for (uint32_t s = changed + 1; s < trial->plan->n_steps && !cured; s++) {
        cured = trial->states_before[s] == STEP_FAILS && trial->states_after[s] == STEP_PASSES &&
                cure_reads(trial->plan, s, changed, &trial->cured);
    }
    return cured;
}

/* Whether changed steps pass, and the next op of each was computed of what was put right. */
static bool readers_prove(const struct trial_of_cure *trial)
{
    bool proven = nothing_fails_anew(trial);
    for (uint32_t s = 0; s < trial->plan->n_steps && proven; s++) {
        proven = !trial->changed[s] || (trial->states_after[s] == STEP_PASSES && any_reader_cured(trial, s));
    }
    return proven;
}

/* Whether the factor of every step that failed was measured, and is right, once its values count as rounded. */
static bool factors_are_measured(const struct trial_of_cure *trial)
{
    bool measured = true;
    for (uint32_t s = 0; s < trial->plan->n_steps && measured; s++) {
        if (trial->states_before[s] == STEP_FAILS) {
            struct rows rows;
            struct factor factor;
            rows_gather(&rows, trial->plan, s, &trial->cured, NULL);
            measured = factor_measure(&factor, trial->plan, s, &trial->cured, &rows);
            rows_free(&rows);
        }
    }
    return measured && trial->after.n_failing == 0;
}

/* Whether a step of a layer passes in the cured trace. A cure that leaves none to judge has only hidden what failed. */
static bool any_layer_passes(const struct trial_of_cure *trial)
{
    bool any = false;
    for (uint32_t s = 0; s < trial->plan->n_steps && !any; s++) {
        any = trial->plan->steps[s].layer != LAYER_NONE && trial->states_after[s] == STEP_PASSES;
    }
    return any;
}

static bool is_proven(const struct trial_of_cure *trial)
{
    const struct recording_outcome *before = &trial->before, *after = &trial->after;
    uint32_t n_judged = after->n_judged + trial->n_lost + trial->recording->n_moved;
    bool most = after->n_failing == 0 ||
                (arithmetic_may_miss(after->n_failing, after->n_judged) && after->n_failing + 2 <= before->n_failing);
    /* Of a single op any error of that size would do, but in products; values rounded for the file make several fail.
     */
    most &= trial->recording->put_right != cure_rounding || before->n_ops >= 2 || factors_are_measured(trial);
    /* Nor would some rows of one step: such a mistake leaves none of its rows as the op makes it. */
    most &= trial->recording->put_right != cure_rounding || before->n_failing > 1 || before->all_rows_fail;
    /* Where most of what was judged has no place any more, as the stages of a single layer, nothing is proven. */
    bool still_judged = 2 * after->n_judged >= before->n_judged && n_judged >= before->n_judged;
    switch (trial->recording->proof) {
    case PROOF_MOST:
        return most && still_judged && (trial->n_lost == 0 || any_layer_passes(trial));
    case PROOF_ITSELF: /* the trace may hold a bug as well, behind the mistake or ahead of it */
        return (after->n_failing == 0 || (after->first > before->first && after->n_failing <= before->n_failing) ||
                (after->n_failing < before->n_failing && nothing_fails_anew(trial))) &&
               still_judged;
    case PROOF_CHANGED:
    case PROOF_ONE:
        return change_is_proven(trial) && still_judged;
    case PROOF_READERS:
        return readers_prove(trial) && still_judged;
    case PROOF_HIDDEN:
        return change_is_proven(trial) || after->n_failing == 0;
    }
    return false;
}

static void tell(const struct trial_of_cure *trial, uint32_t first, struct diagnosis *found)
{
    char label[64], then[84];
    bool diverged = trial->after.n_failing > 0;
    snprintf(then, sizeof(then), "%s%s", diverged ? "diverged, first at " : conclusion_name(trial->after.conclusion),
             diverged ? step_label(&trial->plan->steps[trial->after.first], label) : "");
    *found = (struct diagnosis){.how = HOW_REPRODUCED, .kind = KIND_RECORDING, .postmortem = "", .step = first};
    snprintf(found->fault, sizeof(found->fault), "%s", trial->cure.name);
    snprintf(found->text, sizeof(found->text), "the recording is wrong%s: %s; once put right, the verdict is %s",
             diverged ? "" : ", not the engine", trial->cure.text, then);
}

bool recording_find(const struct recorded_trace *recorded, struct diagnosis *found, struct trace *cured)
{
    const struct plan *plan = recorded->audit->plan;
    const struct trace *trace = recorded->trace;
    struct trial_of_cure trial = {.plan = plan,
                                  .changed = xcalloc(plan->n_steps, 1),
                                  .states_before = xcalloc(plan->n_steps, 1),
                                  .states_after = xcalloc(plan->n_steps, 1)};
    bool proven = false;
    trial.before = recording_outcome(recorded->audit, recorded->t, recorded->verdict, trial.states_before);
    for (size_t i = 0; i < sizeof(recordings) / sizeof(*recordings) && !proven && !stop_asked(); i++) {
        trial.recording = &recordings[i];
        proven = try_cure(&trial, trace) && is_proven(&trial);
    }
    if (proven) {
        tell(&trial, trial.before.first, found);
        *cured = trial.cured;
        trial.cured = (struct trace){0};
    }
    trial_of_cure_free(&trial);
    return proven;
}
