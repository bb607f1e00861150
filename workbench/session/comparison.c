#include "workbench/session/comparison.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/stop.h"
#include "workbench/diagnose/recording.h"
#include "workbench/report/token_choices.h"
#include "workbench/session/diagnose_bugs.h"
#include "workbench/session/session.h"

void comparison_add(struct comparison *comparison, enum source source, struct trace *trace)
{
    ASSERT(comparison->n_traces < SOURCE_COUNT);
    uint32_t i = comparison->n_traces++;
    comparison->traces[i] = *trace;
    comparison->list[i] = &comparison->traces[i];
    comparison->sources[i] = source;
    *trace = (struct trace){0};
}

void comparison_note(struct comparison *comparison, const char *format, ...)
{
    if (comparison->n_notes == COMPARISON_MOST_NOTES) {
        return;
    }
    char *text = xmalloc(512);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, 512, format, arguments);
    va_end(arguments);
    comparison->notes[comparison->n_notes++] = text;
}

/* Compares one digest with the model's. Returns whether they are the same; otherwise adds a note. */
static bool check_digest(struct comparison *comparison, const struct trace *trace, const char *what,
                         const char *declared, const char *own)
{
    if (strcasecmp(declared, own) == 0) {
        return true;
    }
    if (!*declared) {
        comparison_note(comparison, "%s does not say which %s it was made with", trace->path, what);
    } else {
        comparison_note(comparison, "%s was made with other %s than MODEL's (sha256 %.12s…, MODEL's is %.12s%s)",
                        trace->path, what, declared, *own ? own : "not defined", *own ? "…" : "");
    }
    return false;
}

enum status comparison_check_digests(struct comparison *comparison, const struct model *model,
                                     const struct trace *trace, bool *same, struct error *err)
{
    char weights[65], config[65];
    enum status status = model_digests(model, weights, config, err);
    if (status) {
        return status;
    }
    *same = check_digest(comparison, trace, "weights", trace->weights_sha256, weights);
    *same &= check_digest(comparison, trace, "config", trace->config_sha256, config);
    return STATUS_OK;
}

/* Whether any trace recorded a row of the stage, in any layer. */
static bool any_holds(const struct comparison *comparison, enum stage stage)
{
    for (uint32_t t = 0; t < comparison->n_traces; t++) {
        for (uint32_t i = 0; i < comparison->list[t]->n_stages; i++) {
            if (comparison->list[t]->stages[i].stage == stage && comparison->list[t]->stages[i].n_recorded > 0) {
                return true;
            }
        }
    }
    return false;
}

/* Judges by a plan that also has the steps that no backend runs, if a trace holds their stages. */
static void take_judged_plan(struct comparison *comparison)
{
    const struct judged judged = {
        .attn_probs = any_holds(comparison, STAGE_attn_probs),
        .samples = any_holds(comparison, STAGE_sample_probs) || any_holds(comparison, STAGE_sample_token),
        .n_positions = comparison->list[0]->n_positions,
        .masked_id = config_masked_id(&comparison->plan->model->config),
    };
    plan_copy_judged(&comparison->judged, comparison->plan, &judged);
    comparison->plan = &comparison->judged;
}

/* Notes where a trace's next tokens differ from the golden's, although every op that could be judged passes. */
static void note_choices(struct comparison *comparison, const struct trace *trace, const struct trace *golden)
{
    const struct token_choices choices = {.trace = trace, .golden = golden, .lacks = comparison->verdict.n_lacks > 0};
    char *texts[TOKEN_CHOICES_MOST];
    uint32_t n = token_choices_notes(&choices, texts);
    comparison->n_choices += n;
    for (uint32_t i = 0; i < n; i++) {
        comparison_note(comparison, "%s", texts[i]);
        free(texts[i]);
    }
}

/* Engines that store less than float32 without a word: such a trace is audited again, as one that declares it. */
static void infer_storage(struct comparison *comparison)
{
    for (uint32_t t = 0; t < comparison->n_traces && !stop_asked(); t++) {
        bool fails = false;
        for (uint32_t s = 0; s < comparison->plan->n_steps; s++) {
            fails |= finding_failed(audit_finding(&comparison->audit, s, t));
        }
        comparison->storage[t] = fails && comparison->traces[t].from_file
                                     ? recording_infer_storage(comparison->plan, &comparison->traces[t])
                                     : NULL;
        if (comparison->storage[t] != NULL) {
            audit_again(&comparison->audit, comparison->list, NULL);
        }
    }
}

/* Whether the first divergence is a mistake of whoever recorded the file: then nothing else is diagnosed. */
static bool find_recording(struct comparison *comparison)
{
    const struct introduced *first = &comparison->verdict.introduced[0];
    const struct trace *trace = comparison->list[first->trace];
    struct diagnosis *found = &comparison->diagnoses[0];
    if (!trace->from_file || !recording_find(comparison->plan, trace, first->step, found)) {
        return false;
    }
    found->introduced = first->step;
    found->trace = first->trace;
    diagnose_add(comparison, 1);
    return true;
}

void comparison_judge(struct comparison *comparison, bool same_weights, progress_function *progress)
{
    static char what[] = "audit: step";
    uint32_t last = comparison->n_traces - 1;
    take_judged_plan(comparison);
    audit_run(&comparison->audit, comparison->plan, comparison->list, comparison->n_traces, progress, what);
    infer_storage(comparison);
    for (uint32_t i = 0; i < comparison->n_traces && !stop_asked(); i++) {
        arithmetic_infer(&comparison->arithmetic[i], &comparison->audit, comparison->list, i, &comparison->traces[i]);
    }
    if (stop_asked()) {
        return; /* comparison_report says so */
    }
    verdict_reach(&comparison->verdict, &comparison->audit, comparison->list, comparison->sources, same_weights);
    if (comparison->verdict.diverged && find_recording(comparison)) {
        return;
    }
    if (comparison->verdict.diverged) {
        diagnose_bugs(comparison);
    } else {
        for (uint32_t t = 0; t < last; t++) {
            note_choices(comparison, comparison->list[t], comparison->list[last]);
        }
    }
}

enum status comparison_report(const struct comparison *comparison, const char *json, struct error *err)
{
    const struct report report = {
        .plan = comparison->plan,
        .audit = &comparison->audit,
        .verdict = &comparison->verdict,
        .traces = comparison->list,
        .sources = comparison->sources,
        .arithmetic = comparison->arithmetic,
        .storage = comparison->storage,
        .diagnoses = comparison->diagnoses,
        .n_diagnoses = comparison->n_diagnoses,
        .n_unexplained = comparison->n_unexplained,
        .run = &comparison->run,
        .notes = comparison->notes,
        .n_notes = comparison->n_notes,
        .n_choices = comparison->n_choices,
        .parts = comparison->parts,
    };
    enum status status = stop_check(err);
    if (status) {
        return status;
    }
    if (!json || strcmp(json, "-") != 0) {
        report_print(&report, stdout);
    }
    status = json ? report_write_json(&report, json, err) : STATUS_OK;
    if (status) {
        return status;
    }
    static const enum status statuses[] = {STATUS_OK, STATUS_DIVERGED, STATUS_UNDECIDED};
    return statuses[comparison->verdict.conclusion];
}

void comparison_free(struct comparison *comparison)
{
    for (uint32_t t = 0; t < comparison->n_traces; t++) {
        trace_free(&comparison->traces[t]);
    }
    for (uint32_t i = 0; i < comparison->n_notes; i++) {
        free((char *)comparison->notes[i]);
    }
    report_run_free(&comparison->run);
    audit_free(&comparison->audit);
    plan_free(&comparison->judged);
    verdict_free(&comparison->verdict);
    *comparison = (struct comparison){0};
}
