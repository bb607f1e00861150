#include "workbench/session/comparison.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/stop.h"
#include "workbench/diagnose/recording/recording.h"
#include "workbench/report/token_choices.h"
#include "workbench/session/diagnose_bugs.h"
#include "workbench/session/judge/other_tokens.h"
#include "workbench/session/session.h"

void comparison_add(struct comparison *comparison, enum source source, struct trace *trace)
{
    ASSERT(comparison->n_traces < SOURCE_COUNT);
    uint32_t i = comparison->n_traces++;
    comparison->traces[i] = *trace;
    comparison->list[i] = &comparison->traces[i];
    comparison->sources[i] = source;
    comparison->declared[i] = trace_declaration(&comparison->traces[i]);
    trace_take_exact_inside(&comparison->traces[i]);
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

/* Refuses a digest that the golden declares and that is not its model's. */
static enum status require_digest(const struct trace *golden, const struct model *model, const char *field,
                                  const char *declared, const char *own, struct error *err)
{
    if (!*declared || !*own || strcasecmp(declared, own) == 0) {
        return STATUS_OK;
    }
    return error_set(err, STATUS_BAD_INPUT, golden->path, field, ERROR_NO_OFFSET, "%.12s…, expected %.12s…, that of %s",
                     declared, own, model->path);
}

enum status comparison_set_golden_plan(struct comparison *comparison, const struct plan *plan,
                                       const struct trace *golden, struct error *err)
{
    char weights[65], config[65], label[64];
    TRY(model_digests(plan->model, weights, config, err));
    TRY(require_digest(golden, plan->model, "weights_sha256", golden->weights_sha256, weights, err));
    TRY(require_digest(golden, plan->model, "config_sha256", golden->config_sha256, config, err));
    uint32_t n = plan->n_steps < comparison->plan->n_steps ? plan->n_steps : comparison->plan->n_steps, s = 0;
    while (s < n && plan->steps[s].op == comparison->plan->steps[s].op &&
           plan->steps[s].layer == comparison->plan->steps[s].layer &&
           plan->steps[s].stage == comparison->plan->steps[s].stage &&
           plan->steps[s].width == comparison->plan->steps[s].width) {
        s++;
    }
    if (s < n || plan->n_steps != comparison->plan->n_steps) {
        const struct plan *longer = s < comparison->plan->n_steps ? comparison->plan : plan;
        return error_set(err, STATUS_BAD_INPUT, plan->model->path, "--golden-model", ERROR_NO_OFFSET,
                         "differs from MODEL at %s, expected the same model with other weights",
                         step_label(&longer->steps[s], label));
    }
    comparison->golden_plan = plan;
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

/* The steps that no backend runs and whose stages a trace holds. */
static struct judged judged_steps(const struct comparison *comparison)
{
    return (struct judged){
        .attn_probs = any_holds(comparison, STAGE_attn_probs),
        .samples = any_holds(comparison, STAGE_sample_probs) || any_holds(comparison, STAGE_sample_token),
        .n_positions = comparison->list[0]->n_positions,
        .masked_id = config_masked_id(&comparison->plan->model->config),
    };
}

/* Judges by a plan that also has these steps. */
static void take_judged_plan(struct comparison *comparison)
{
    const struct judged judged = judged_steps(comparison);
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

/* Whether a trace has errors, as audited so far. */
static bool fails(const struct audit *audit, uint32_t t)
{
    bool any = false;
    for (uint32_t s = 0; s < audit->plan->n_steps; s++) {
        any |= finding_failed(audit_finding(audit, s, t));
    }
    return any;
}

/* Finds out what a trace, number `column` of an audit, rounds without a word. An engine may store less than float32:
 * such a trace is audited again, as one that declares it. Then the arithmetic inside its ops. */
static void infer_roundings(struct comparison *comparison, uint32_t t, struct audit *audit,
                            const struct trace *const *list, uint32_t column)
{
    if (comparison->strict) {
        return;
    }
    if (fails(audit, column) && comparison->traces[t].from_file) {
        comparison->storage[t] = recording_infer_storage(audit->plan, &comparison->traces[t]);
    }
    if (comparison->storage[t]) {
        trace_forget_inferred(&comparison->traces[t]); /* it is found once more, to be reported */
        audit_again(audit, list, NULL);
    }
    if (!stop_asked()) {
        arithmetic_infer(&comparison->arithmetic[t], audit, list, column, &comparison->traces[t]);
    }
}

/* Judges the golden with the weights that it was made with. What it rounds is found by them, too. */
static void audit_own(struct comparison *comparison, struct plan *plan, struct audit *own)
{
    uint32_t golden = comparison->n_traces - 1;
    const struct judged judged = judged_steps(comparison);
    plan_copy_judged(plan, comparison->golden_plan, &judged);
    audit_run(own, plan, &comparison->list[golden], 1, NULL, NULL);
    infer_roundings(comparison, golden, own, &comparison->list[golden], 0);
}

/* Tells the golden's own errors from what other weights do to it. If that explains all, no arithmetic has to be found;
 * else the arithmetic comes first. */
static void judge_golden_weights(struct comparison *comparison, const struct audit *own)
{
    uint32_t golden = comparison->n_traces - 1;
    struct golden_weights *weights = &comparison->golden_weights;
    if (comparison->golden_differs) {
        golden_weights_judge(weights, &comparison->audit, golden, comparison->list[golden], own);
    } else {
        weights->kind = GOLDEN_WEIGHTS_SAME;
    }
    if (own || stop_asked() || !fails(&comparison->audit, golden)) {
        return;
    }
    infer_roundings(comparison, golden, &comparison->audit, comparison->list, golden);
    if (comparison->golden_differs && !stop_asked()) {
        golden_weights_free(weights);
        golden_weights_judge(weights, &comparison->audit, golden, comparison->list[golden], NULL);
    }
}

/* Audits all traces, each in the arithmetic that it was found to have. */
static void audit_all(struct comparison *comparison, progress_function *progress)
{
    static char what[] = "audit: step";
    struct plan plan = {0};
    struct audit own = {0};
    bool has_own = comparison->golden_plan != NULL;
    if (has_own) {
        audit_own(comparison, &plan, &own);
    }
    take_judged_plan(comparison);
    audit_run(&comparison->audit, comparison->plan, comparison->list, comparison->n_traces, progress, what);
    bool has_golden = comparison->sources[comparison->n_traces - 1] == SOURCE_GOLDEN;
    for (uint32_t t = 0; t + has_golden < comparison->n_traces && !stop_asked(); t++) {
        infer_roundings(comparison, t, &comparison->audit, comparison->list, t);
    }
    if (has_golden && !stop_asked()) {
        judge_golden_weights(comparison, has_own ? &own : NULL);
    }
    if (has_own) {
        audit_free(&own);
        plan_free(&plan);
    }
}

/* Whether the first divergence is a mistake of whoever recorded the file: then the bugs of the trace once put right are
 * diagnosed. */
static bool find_recording(struct comparison *comparison)
{
    const struct introduced *first = verdict_first(&comparison->verdict);
    const struct trace *trace = comparison->list[first->trace];
    struct diagnosis *found = &comparison->diagnoses[0];
    const struct recorded_trace recorded = {trace, &comparison->audit, first->trace, &comparison->verdict};
    struct trace cured;
    if (!trace->from_file || !recording_find(&recorded, found, &cured)) {
        return false;
    }
    found->introduced = first->step;
    found->trace = first->trace;
    diagnose_add(comparison, 1);
    diagnose_cured(comparison, &cured);
    return true;
}

/* Notes files whose tokens begin with BOS twice. Every op of such a run is right, and the model was not trained so. */
static void note_doubled_bos(struct comparison *comparison)
{
    int32_t bos = comparison->plan->model->config.bos_id;
    for (uint32_t t = 0; t < comparison->n_traces; t++) {
        const struct trace *trace = comparison->list[t];
        if (trace->from_file && bos >= 0 && trace->n_positions > 1 && trace->tokens[0] == bos &&
            trace->tokens[1] == bos) {
            comparison_note(comparison,
                            "%s: the tokens begin with BOS (%d) twice; let the tokenizer or the template add it, not "
                            "both",
                            trace->path, bos);
        }
    }
}

/* Notes what was put right where a file of another form was read. */
static void note_imports(struct comparison *comparison)
{
    for (uint32_t t = 0; t < comparison->n_traces; t++) {
        for (uint32_t i = 0; i < comparison->list[t]->n_notes; i++) {
            comparison_note(comparison, "%s: %s", comparison->list[t]->path, comparison->list[t]->notes[i]);
        }
    }
}

void comparison_judge(struct comparison *comparison, bool same_weights, progress_function *progress)
{
    uint32_t last = comparison->n_traces - 1;
    note_imports(comparison);
    note_doubled_bos(comparison);
    audit_all(comparison, progress);
    if (stop_asked()) {
        return; /* whoever writes the report asks, too */
    }
    bool other_tokens = other_tokens_judge(comparison);
    verdict_reach(&comparison->verdict, &comparison->audit, comparison->list, comparison->sources, same_weights);
    if (other_tokens) {
        other_tokens_tell(comparison);
        return;
    }
    if (comparison->verdict.diverged && find_recording(comparison)) {
        return;
    }
    if (comparison->verdict.diverged) {
        diagnose_bugs(comparison);
        return;
    }
    if (comparison->blind_spots) {
        comparison->run.n_blind = blind_spots_find(comparison->plan, comparison->list, comparison->n_traces,
                                                   comparison->run.blind, REPORT_MOST_BLIND);
    }
    if (comparison->golden_weights.kind != GOLDEN_WEIGHTS_PRECISION) {
        for (uint32_t t = 0; t < last; t++) {
            note_choices(comparison, comparison->list[t], comparison->list[last]);
        }
    }
}

static uint32_t count_without_place(const struct comparison *comparison)
{
    uint32_t n = 0;
    for (uint32_t t = 0; t < comparison->n_traces; t++) {
        n += comparison->list[t]->n_without_place;
    }
    return n;
}

struct report comparison_view(const struct comparison *comparison)
{
    return (struct report){
        .plan = comparison->plan,
        .audit = &comparison->audit,
        .verdict = &comparison->verdict,
        .traces = comparison->list,
        .sources = comparison->sources,
        .arithmetic = comparison->arithmetic,
        .declared = comparison->declared,
        .golden_weights = &comparison->golden_weights,
        .diagnoses = comparison->diagnoses,
        .n_diagnoses = comparison->n_diagnoses,
        .n_unexplained = comparison->n_unexplained,
        .run = &comparison->run,
        .notes = comparison->notes,
        .n_notes = comparison->n_notes,
        .n_without_place = count_without_place(comparison),
        .n_choices = comparison->n_choices,
        .parts = comparison->parts,
    };
}

void comparison_print(const struct comparison *comparison, FILE *out)
{
    const struct report report = comparison_view(comparison);
    report_print(&report, out);
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
    golden_weights_free(&comparison->golden_weights);
    *comparison = (struct comparison){0};
}
