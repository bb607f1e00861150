/* audit, diagnose: recompute recorded rows from their own inputs; explain the errors found. And the answer, which
 * `first` and `until` print. */
#include <stdio.h>
#include <stdlib.h>

#include "model/stop.h"
#include "workbench/debugger/command.h"
#include "workbench/debugger/print_steps.h"
#include "workbench/debugger/run/capture.h"
#include "workbench/debugger/run/full_comparison.h"
#include "workbench/debugger/run/judge.h"
#include "workbench/diagnose/diagnose.h"
#include "workbench/diagnose/triage.h"
#include "workbench/python/python.h"
#include "workbench/report/answer.h"
#include "workbench/session/step_kernel.h"

#define MAX_DIAGNOSES 4

/* Prints which unrecorded steps a finding spans, for a trace that holds only some stages. */
static void print_span(const struct repl *repl, const struct repl_side *side, uint32_t step,
                       const struct finding *finding)
{
    struct span_path path;
    char text[1024];
    /* The choice of a token always spans the probabilities, which the prompt never records. */
    if (!finding->span || step == repl_sample_step(repl)) {
        return;
    }
    span_path_find(&path, &repl->judged_plan, step, side->trace);
    printf("  %-9s %s\n", "", span_path_text(&path, &repl->judged_plan, step, text, sizeof(text)));
    span_path_free(&path);
}

static void print_finding(const struct repl *repl, const struct repl_side *side, uint32_t step,
                          const struct finding *finding)
{
    char label[64];
    printf("  %-9s %-22s", source_name(side->source), step_label(&repl->plan->steps[step], label));
    if (finding->state != FINDING_AUDITED || finding->rows_judged == 0) {
        printf(" %s\n", finding->state == FINDING_MISSING     ? "not recorded"
                        : finding->state == FINDING_UNAUDITED ? "an input is not recorded"
                                                              : "inputs are not finite");
        return;
    }
    if (finding->other_precision) {
        printf(" %u rows, worst ratio %.3g: weights of another precision\n", finding->rows_judged, finding->max_ratio);
        return;
    }
    printf(" %u rows, %u failed, worst ratio %.3g at token %u dim %u", finding->rows_judged, finding->rows_failed,
           finding->max_ratio, finding->worst_position, finding->worst_dim);
    if (finding->rows_failed > 0) {
        printf("; first token %u dim %u: %.9g, expected %.9g", finding->position, finding->dim, finding->actual,
               finding->expected);
    }
    printf("\n");
    print_span(repl, side, step, finding);
}

/* The verdict of `diff` over all of the golden's tokens, in one line. */
static enum status print_verdict(struct repl *repl, struct error *err)
{
    const struct comparison *comparison;
    TRY(repl_compare(repl, &comparison, err));
    if (comparison == NULL) {
        return STATUS_OK;
    }
    char text[REPL_VERDICT_SIZE];
    printf("  all tokens, as diff judges them: %s", repl_verdict_text(comparison, text));
    if (comparison->verdict.diverged && comparison->n_diagnoses > 0) {
        printf(", %s (%s)", comparison->diagnoses[0].fault, diagnosis_how_name(comparison->diagnoses[0].how));
    }
    printf("\n");
    return STATUS_OK;
}

/* Audits all stages; prints those that fail, and counts. */
static enum status audit_all(struct repl *repl, struct error *err)
{
    for (uint32_t i = 0; i < repl->n_sides; i++) {
        const struct repl_side *side = &repl->sides[i];
        uint32_t n_passed = 0, n_failed = 0, n_other = 0;
        for (uint32_t s = 0; s < repl->plan->n_steps; s++) {
            struct finding finding = repl_audit_step(repl, side, s);
            bool judged = finding.state == FINDING_AUDITED && finding.rows_judged > 0;
            TRY(stop_check(err));
            n_failed += finding_failed(&finding);
            n_passed += judged && !finding_failed(&finding);
            n_other += !judged;
            if (finding_failed(&finding)) {
                print_finding(repl, side, s, &finding);
            }
        }
        printf("  %-9s %u stages pass, %u fail, %u are not recorded or cannot be judged\n", source_name(side->source),
               n_passed, n_failed, n_other);
    }
    return print_verdict(repl, err);
}

enum status do_audit(struct repl *repl, const struct words *words, struct error *err)
{
    if (repl->n_sides == 0 || repl->n_batches == 0) {
        return error_set(err, STATUS_USAGE, NULL, "audit", ERROR_NO_OFFSET,
                         "nothing ran yet, expected step or continue first");
    }
    if (words->n == 0) {
        return audit_all(repl, err);
    }
    uint32_t step;
    TRY(word_step(repl, words->word[0], &step, NULL, err));
    TRY(repl_ensure_captured(repl, step, err));
    for (uint32_t i = 0; i < repl->n_sides; i++) {
        struct finding finding = repl_audit_step(repl, &repl->sides[i], step);
        TRY(stop_check(err));
        print_finding(repl, &repl->sides[i], step, &finding);
    }
    return STATUS_OK;
}

/* Diagnoses all rows of the step; or, if nothing explains them all, only those of the batch: a fault that was planted
 * during the run explains no earlier rows. */
static uint32_t diagnose(const struct repl *repl, const struct repl_introduced *introduced, struct diagnosis *diagnoses)
{
    const struct trace *trace = repl->sides[introduced->side].trace;
    uint32_t n = diagnose_step(&repl->judged_plan, introduced->step, trace, diagnoses, MAX_DIAGNOSES);
    const struct step *step = &repl->judged_plan.steps[introduced->step];
    struct trace_stage *stage = trace_find_step(trace, step);
    if (n > 0 || stage == NULL || introduced->batch >= repl->n_batches) {
        return n;
    }
    const struct repl_batch *batch = &repl->batches[introduced->batch];
    struct trace_stage whole;
    trace_hide_others(trace, stage, batch->first, batch->n_rows, &whole);
    n = diagnose_step(&repl->judged_plan, introduced->step, trace, diagnoses, MAX_DIAGNOSES);
    trace_show_all(stage, &whole);
    return n;
}

/* Finds symptoms in the side that introduced an error, compared with the golden as far as the side ran. */
static uint32_t triage(const struct repl *repl, const struct repl_introduced *introduced, struct diagnosis *found)
{
    const struct repl_side *side = &repl->sides[introduced->side], *last = &repl->sides[repl->n_sides - 1];
    bool has_golden = last->source == SOURCE_GOLDEN && last != side;
    struct trace golden = *last->trace; /* shares the rows, but ends where the side's trace does */
    if (golden.n_positions > side->trace->n_positions) {
        golden.n_positions = side->trace->n_positions;
    }
    const struct trace *const traces[] = {side->trace, &golden};
    const enum source sources[] = {side->source, SOURCE_GOLDEN};
    struct introduced first = {introduced->step, side->source, 0};
    const struct verdict verdict = {.n_introduced = 1, .introduced = &first};
    struct audit audit;
    audit_measure(&audit, &repl->judged_plan, traces, has_golden ? 2 : 1);
    uint32_t n = triage_find(&audit, &verdict, traces, sources, found, TRIAGE_MOST);
    audit_free(&audit);
    return n;
}

static void print_diagnoses(const struct diagnosis *diagnoses, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        printf("  %s (%s): %s%s%s\n", diagnoses[i].fault, diagnosis_how_name(diagnoses[i].how), diagnoses[i].text,
               diagnoses[i].postmortem[0] != '\0' ? ", postmortem " : "", diagnoses[i].postmortem);
    }
}

void print_diagnosis(const struct repl *repl, const struct repl_introduced *introduced)
{
    const struct repl_side *side = &repl->sides[introduced->side];
    const struct finding *finding = &introduced->finding;
    char label[64];
    printf("%s, %s, token %u, dim %u\n", source_name(side->source),
           step_label(&repl->judged_plan.steps[introduced->step], label), finding->position, finding->dim);
    printf("  actual %.9g, from its own inputs %.9g, bound %.3g, ratio %.3g, %u of %u rows\n", finding->actual,
           finding->expected, finding->bound, finding->ratio, finding->rows_failed, finding->rows_judged);
    print_span(repl, side, introduced->step, finding);
    struct diagnosis diagnoses[MAX_DIAGNOSES], symptoms[TRIAGE_MOST];
    uint32_t n = diagnose(repl, introduced, diagnoses);
    if (stop_asked()) {
        printf("  interrupted\n");
        return;
    }
    print_diagnoses(diagnoses, n);
    if (n == 0) {
        printf("  no known bug explains it\n");
    }
    if (introduced == repl->introduced) { /* later errors may follow from the first, so would their symptoms */
        print_diagnoses(symptoms, triage(repl, introduced, symptoms));
    }
    printf("  try next: %s\n", triage_next(&repl->judged_plan, introduced->step, diagnoses, n));
}

/* The only source that introduced errors so far, as an outlier. */
static enum outlier find_outlier(const struct repl *repl)
{
    uint32_t side = repl->introduced[0].side;
    for (uint32_t i = 1; i < repl->n_introduced; i++) {
        if (repl->introduced[i].side != side) {
            return OUTLIER_SEVERAL;
        }
    }
    return outlier_alone(repl->sides[side].source);
}

/* The findings of the batch and side that introduced the error, [judged_plan.n_steps]; NULL where a step did not run.
 * malloc'ed. */
static const struct finding **batch_findings(const struct repl *repl, const struct repl_introduced *introduced)
{
    const struct finding **findings = xcalloc(repl->judged_plan.n_steps, sizeof(const struct finding *));
    uint32_t n = introduced->batch + 1 < repl->n_batches ? repl->plan->n_steps : repl->next;
    for (uint32_t s = 0; s < n && introduced->batch < repl->n_batches; s++) {
        findings[s] = &repl_judgement_of(repl, introduced->batch, introduced->side, s)->finding;
    }
    findings[introduced->step] = &introduced->finding;
    return findings;
}

void print_answer(const struct repl *repl, const struct repl_introduced *introduced)
{
    struct diagnosis diagnoses[MAX_DIAGNOSES + TRIAGE_MOST];
    enum source sources[REPL_MAX_SIDES];
    const struct trace *traces[REPL_MAX_SIDES];
    uint32_t n = diagnose(repl, introduced, diagnoses);
    if (introduced == repl->introduced && !stop_asked()) {
        n += triage(repl, introduced, diagnoses + n);
    }
    for (uint32_t i = 0; i < repl->n_sides; i++) {
        sources[i] = repl->sides[i].source;
        traces[i] = repl->sides[i].trace;
    }
    for (uint32_t i = 0; i < n; i++) {
        diagnoses[i].introduced = introduced->step;
        diagnoses[i].trace = introduced->side;
        diagnoses[i].n_layers = 0;
        if (i > 0) {
            diagnoses[i].extent = diagnoses[0].extent;
        } else {
            extent_find(&diagnoses[0].extent, &repl->judged_plan, introduced->step, traces[introduced->side]);
        }
    }
    if (stop_asked()) {
        printf("interrupted\n");
        return;
    }
    const struct finding **findings = batch_findings(repl, introduced);
    char kernel[STEP_KERNEL_SIZE];
    char *text = python_token_text(&repl->session->model, repl->tokens[introduced->finding.position]);
    const struct answer answer = {
        .plan = &repl->judged_plan,
        .n = repl->n_sides,
        .sources = sources,
        .traces = traces,
        .outlier = find_outlier(repl),
        .first = {introduced->step, sources[introduced->side], introduced->side},
        .findings = findings,
        .diagnoses = diagnoses,
        .n_diagnoses = n,
        .token_text = text,
        .kernel = sources[introduced->side] == SOURCE_ENGINE && introduced->batch < repl->n_batches &&
                          introduced->step < repl->plan->n_steps
                      ? repl_kernel_text(repl, introduced->batch, introduced->step, kernel)
                      : NULL,
    };
    answer_print(&answer, stdout);
    free(text);
    free(findings);
}

/* Whether an earlier batch introduced an error at the same step of the same side. */
static bool shown_before(const struct repl *repl, uint32_t i)
{
    for (uint32_t k = 0; k < i; k++) {
        if (repl->introduced[k].step == repl->introduced[i].step &&
            repl->introduced[k].side == repl->introduced[i].side) {
            return true;
        }
    }
    return false;
}

enum status do_diagnose(struct repl *repl, const struct words *words, struct error *err)
{
    (void)words;
    if (repl->n_introduced == 0) {
        printf(repl->n_rows == 0 ? "nothing ran yet: until diverge\n" : "no step introduced an error so far\n");
    }
    for (uint32_t i = 0; i < repl->n_introduced; i++) {
        if (!shown_before(repl, i)) {
            print_diagnosis(repl, &repl->introduced[i]);
        }
        TRY(stop_check(err));
    }
    return STATUS_OK;
}
