/* audit, diagnose: every recorded row judged again, from its own inputs; and what explains the errors. */
#include <stdio.h>
#include <stdlib.h>

#include "model/stop.h"
#include "workbench/debugger/repl_show.h"
#include "workbench/diagnose/diagnose.h"
#include "workbench/diagnose/triage.h"

#define MAX_DIAGNOSES 4

/* Where not every op's stage is recorded, as in a golden that has only some: what the judgement passes over. */
static void print_span(const struct repl *repl, const struct repl_side *side, uint32_t step,
                       const struct finding *finding)
{
    struct span_path path;
    char text[1024];
    if (!finding->span || step == repl_sample_step(repl)) { /* its probabilities are never recorded here */
        return;
    }
    span_path_find(&path, &repl->judged, step, side->trace);
    printf("  %-9s %s\n", "", span_path_text(&path, &repl->judged, step, text, sizeof text));
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
    printf(" %u rows, %u failed, worst ratio %.3g at token %u dim %u", finding->rows_judged, finding->rows_failed,
           finding->max_ratio, finding->worst_position, finding->worst_dim);
    if (finding->rows_failed > 0) {
        printf("; first token %u dim %u: %.9g, expected %.9g", finding->position, finding->dim, finding->actual,
               finding->expected);
    }
    printf("\n");
    print_span(repl, side, step, finding);
}

/* All stages: those that fail, and how many passed. */
static enum status audit_all(struct repl *repl, struct error *err)
{
    for (uint32_t i = 0; i < repl->n_sides; i++) {
        const struct repl_side *side = &repl->sides[i];
        uint32_t n_passed = 0, n_failed = 0, n_other = 0;
        for (uint32_t s = 0; s < repl->plan->n_steps; s++) {
            struct finding finding = audit_step(repl->plan, s, side->trace);
            bool judged = finding.state == FINDING_AUDITED && finding.rows_judged > 0;
            if (stop_asked()) {
                return stop_check(err);
            }
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
    return STATUS_OK;
}

enum status repl_audit(struct repl *repl, const struct words *words, struct error *err)
{
    if (repl->n_sides == 0 || repl->n_batches == 0) {
        return error_set(err, STATUS_USAGE, NULL, "audit", ERROR_NO_OFFSET,
                         "nothing ran yet, expected step or continue");
    }
    if (words->n == 0) {
        return audit_all(repl, err);
    }
    uint32_t step;
    enum status status = words_step(repl, words->word[0], &step, NULL, err);
    if (status == STATUS_OK) {
        status = repl_fetch(repl, step, err);
    }
    for (uint32_t i = 0; status == STATUS_OK && i < repl->n_sides; i++) {
        struct finding finding = audit_step(repl->plan, step, repl->sides[i].trace);
        if (stop_asked()) {
            return stop_check(err);
        }
        print_finding(repl, &repl->sides[i], step, &finding);
    }
    return status;
}

/* A fault that was planted under way explains the rows from there on, and not the earlier ones: then the batch alone is
 * diagnosed, with the stage's other rows hidden. */
static uint32_t diagnose(const struct repl *repl, const struct repl_introduced *introduced, struct diagnosis *diagnoses)
{
    const struct trace *trace = repl->sides[introduced->side].trace;
    uint32_t n = diagnose_step(&repl->judged, introduced->step, trace, diagnoses, MAX_DIAGNOSES);
    const struct step *step = &repl->judged.steps[introduced->step];
    struct trace_stage *stage = trace_find_step(trace, step);
    if (n > 0 || stage == NULL || introduced->batch >= repl->n_batches) {
        return n;
    }
    const struct repl_batch *batch = &repl->batches[introduced->batch];
    struct trace_stage whole;
    trace_hide_others(trace, stage, batch->first, batch->n_rows, &whole);
    n = diagnose_step(&repl->judged, introduced->step, trace, diagnoses, MAX_DIAGNOSES);
    trace_show_all(stage, &whole);
    return n;
}

/* The symptoms of the side in which an error was introduced, next to the golden as far as the run came. */
static uint32_t triage(const struct repl *repl, const struct repl_introduced *introduced, struct diagnosis *found)
{
    const struct repl_side *side = &repl->sides[introduced->side], *last = &repl->sides[repl->n_sides - 1];
    bool beside = last->source == SOURCE_GOLDEN && last != side;
    struct trace golden = *last->trace; /* the same rows, of as many positions */
    if (golden.n_positions > side->trace->n_positions) {
        golden.n_positions = side->trace->n_positions;
    }
    const struct trace *const traces[] = {side->trace, &golden};
    const enum source sources[] = {side->source, SOURCE_GOLDEN};
    struct introduced first = {introduced->step, side->source, 0};
    const struct verdict verdict = {.n_introduced = 1, .introduced = &first};
    struct audit audit;
    audit_measure(&audit, &repl->judged, traces, beside ? 2 : 1);
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

void show_diagnosis(const struct repl *repl, const struct repl_introduced *introduced)
{
    const struct repl_side *side = &repl->sides[introduced->side];
    const struct finding *finding = &introduced->finding;
    char label[64];
    printf("%s, %s, token %u, dim %u\n", source_name(side->source),
           step_label(&repl->judged.steps[introduced->step], label), finding->position, finding->dim);
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
    if (introduced == repl->introduced) { /* symptoms are the first error's */
        print_diagnoses(symptoms, triage(repl, introduced, symptoms));
    }
    printf("  try next: %s\n", triage_next(&repl->judged, introduced->step, diagnoses, n));
}

/* Whether the same step of the same side was introduced by an earlier batch. */
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

enum status repl_diagnose(struct repl *repl, const struct words *words, struct error *err)
{
    (void)words;
    if (repl->n_introduced == 0) {
        printf("no step introduced an error so far\n");
    }
    for (uint32_t i = 0; i < repl->n_introduced; i++) {
        if (!shown_before(repl, i)) {
            show_diagnosis(repl, &repl->introduced[i]);
        }
        if (stop_asked()) {
            return stop_check(err);
        }
    }
    return STATUS_OK;
}
