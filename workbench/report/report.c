/* The report as text. No line is wider than 80 columns, but those of the table and the ledger. */
#include "workbench/report/report.h"

#include <stdlib.h>
#include <string.h>

#include "workbench/audit/ledger.h"
#include "workbench/diagnose/triage.h"
#include "workbench/report/answer.h"
#include "workbench/report/growth_table.h"
#include "workbench/report/report_arithmetic.h"
#include "workbench/report/report_drift.h"
#include "workbench/report/report_table.h"
#include "workbench/report/text_lines.h"

#define PARITY_MOST_LINES 5

/* How many (layer, stage) pairs a source lacks, or holds without the inputs that are needed to judge them. */
static uint32_t count_lacks(const struct report *report, bool unaudited)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < report->verdict->n_lacks; i++) {
        n += report->verdict->lacks[i].unaudited == unaudited;
    }
    return n;
}

/* "64 of 64 stages; 3 not recorded": of each layer, and those outside the layers. */
static const char *coverage_text(const struct report *report, char text[128])
{
    uint32_t missing = count_lacks(report, false), unaudited = count_lacks(report, true);
    snprintf(text, 128, "%u of %u stages", report->verdict->compared, report->verdict->expected);
    if (missing > 0) {
        snprintf(text + strlen(text), 128 - strlen(text), "; %u not recorded", missing);
    }
    if (unaudited > 0) {
        snprintf(text + strlen(text), 128 - strlen(text), "; %u lack inputs", unaudited);
    }
    if (report->n_without_place > 0) {
        snprintf(text + strlen(text), 128 - strlen(text), "; %u array%s left out (--all)", report->n_without_place,
                 report->n_without_place == 1 ? "" : "s");
    }
    return text;
}

/* Adds the worst ratio of all, and where it is. */
static void add_worst(const struct report *report, char *text, size_t size)
{
    uint32_t step = 0, trace = 0;
    double worst = -1;
    for (uint32_t s = 0; s < report->plan->n_steps; s++) {
        for (uint32_t t = 0; t < report->audit->n_traces; t++) {
            const struct finding *finding = audit_finding(report->audit, s, t);
            if (finding->rows_judged > 0 && !finding->other_precision && finding->max_ratio > worst) {
                worst = finding->max_ratio;
                step = s;
                trace = t;
            }
        }
    }
    char label[64];
    if (worst >= 0) {
        snprintf(text + strlen(text), size - strlen(text), "; worst %.2g: %s, %s", worst,
                 source_name(report->sources[trace]), step_label(&report->plan->steps[step], label));
    }
}

/* What was inferred, and the notes, in `left` lines: whole, or how many there are. */
static void add_notes(const struct report *report, uint32_t left, struct text_lines *lines)
{
    uint32_t needed = 0, n_inferred = report_arithmetic_count(report);
    char inferred[512];
    report_arithmetic_text(report, inferred, sizeof(inferred) - 16);
    strcat(inferred, " (inferred)");
    if (n_inferred > 0 && lines_needed("rounding", inferred) > left) {
        snprintf(inferred, sizeof(inferred), "inferred for %u class%s of ops (--all)", n_inferred,
                 n_inferred == 1 ? "" : "es");
    }
    if (n_inferred > 0) {
        lines_add(lines, "rounding", "%s", inferred);
        left -= lines_needed("rounding", inferred);
    }
    for (uint32_t i = 0; i < report->n_notes; i++) {
        needed += lines_needed("note", report->notes[i]);
    }
    for (uint32_t i = 0; i < report->n_notes && needed <= left; i++) {
        lines_add(lines, "note", "%s", report->notes[i]);
    }
    if (needed > left && (left > 0 || report->n_choices > 0)) {
        lines_add(lines, "--all", "%u note%s%s", report->n_notes, report->n_notes == 1 ? "" : "s",
                  report->n_choices > 0 ? ", among them: the next token is not the golden's" : "");
    }
}

/* Known bugs that these tokens cannot show: their names, as many as fit on the line. */
static void add_blind_spots(const struct report *report, struct text_lines *lines)
{
    const struct report_run *run = report->run;
    char text[512], longer[512];
    if (run->n_blind == 0 || lines->n_lines == PARITY_MOST_LINES) {
        return;
    }
    snprintf(text, sizeof(text), "to %u known bug%s with these tokens", run->n_blind, run->n_blind == 1 ? "" : "s");
    for (uint32_t i = 0; i < run->n_blind && i < REPORT_MOST_BLIND; i++) {
        snprintf(longer, sizeof(longer), "%.400s%s %.60s", text, i == 0 ? ":" : ",", run->blind[i]);
        if (lines_needed("blind", longer) > 1) {
            strcat(text, ", …");
            break;
        }
        strcpy(text, longer);
    }
    lines_add(lines, "blind", "%s", text);
}

static void print_parity(const struct report *report, FILE *out)
{
    struct text_lines lines = {0};
    char sources[SOURCES_TEXT_SIZE], coverage[256], ran[PROVENANCE_SIZE];
    bool all = report->verdict->compared == report->verdict->expected;
    sources_text(report->sources, report->audit->n_traces, SOURCE_COUNT, sources);
    if (report->verdict->conclusion == CONCLUSION_UNDECIDED) {
        lines_add(&lines, NULL, "undecided: too few rows of %s can be judged (--all lists them)", sources);
    } else {
        lines_add(&lines, NULL, "parity: every %sop of %s is within its %sbound", all ? "" : "judged ", sources,
                  all ? "rounding " : "");
    }
    coverage_text(report, coverage);
    size_t length = strlen(coverage);
    add_worst(report, coverage, sizeof(coverage));
    if (lines_needed("coverage", coverage) > 1) {
        coverage[length] = '\0';
    }
    lines_add(&lines, "coverage", "%s", coverage);
    lines_add(&lines, "ran", "%s", provenance_text(report, false, ran));
    add_blind_spots(report, &lines);
    add_notes(report, PARITY_MOST_LINES - lines.n_lines, &lines);
    lines_print(&lines, out);
    lines_free(&lines);
}

/* What --all prints beside the answer. */
#define REST_SIZE 256 /* bytes */
static const char *rest_text(const struct report *report, char text[REST_SIZE])
{
    char notes[32] = "";
    if (report->n_notes > 0) {
        snprintf(notes, sizeof(notes), ", %u note%s", report->n_notes, report->n_notes == 1 ? "" : "s");
    }
    snprintf(text, REST_SIZE, "the rest: all diagnoses, table, ledger%s", notes);
    if (report->verdict->n_lacks > 0) {
        snprintf(text + strlen(text), REST_SIZE - strlen(text), ", %u stages not judged", report->verdict->n_lacks);
    }
    return text;
}

static void print_answer(const struct report *report, FILE *out)
{
    const struct introduced *first = verdict_first(report->verdict);
    uint32_t n_steps = report->plan->n_steps;
    const struct finding **findings = xcalloc(n_steps, sizeof(const struct finding *));
    char ran[PROVENANCE_SIZE], ran_short[PROVENANCE_SIZE], rest[REST_SIZE];
    for (uint32_t s = 0; s < n_steps; s++) {
        findings[s] = audit_finding(report->audit, s, first->trace);
    }
    const struct answer answer = {
        .plan = report->plan,
        .n = report->audit->n_traces,
        .sources = report->sources,
        .traces = report->traces,
        .outlier = report->verdict->outlier,
        .first = *first,
        .findings = findings,
        .cleared = report->verdict->cleared[first->trace],
        .diagnoses = report->diagnoses,
        .n_diagnoses = report->n_diagnoses,
        .n_unexplained = report->n_unexplained,
        .token_text = report->run->token_text,
        .kernel = report->run->kernel,
        .debug_command = report->run->debug_command,
        .ran = report->parts.at_prompt ? NULL : provenance_text(report, false, ran),
        .ran_short = report->parts.at_prompt ? NULL : provenance_text(report, true, ran_short),
        .rest = report->parts.all || report->parts.at_prompt ? NULL : rest_text(report, rest),
        .notes = report->notes,
        .n_notes = report->parts.all ? 0 : report->n_notes,
    };
    answer_print(&answer, out);
    free(findings);
}

/* Prints how many stages were judged in every source, and those that a source lacks. */
static void print_coverage(const struct report *report, FILE *out)
{
    const struct verdict *verdict = report->verdict;
    char coverage[128], sources[SOURCES_TEXT_SIZE];
    fprintf(out, "\nCoverage: %s compared in %s\n", coverage_text(report, coverage),
            sources_text(report->sources, report->audit->n_traces, SOURCE_COUNT, sources));
    for (uint32_t i = 0; i < verdict->n_lacks; i++) {
        char label[64];
        const struct lack *lack = &verdict->lacks[i];
        fprintf(out, "  %s: %s %s\n", source_name(lack->source), step_label(&report->plan->steps[lack->step], label),
                lack->unaudited ? "is recorded, an input of it is not" : "is not recorded");
    }
}

static void print_diagnoses(const struct report *report, FILE *out)
{
    struct text_lines lines = {0};
    fprintf(out, "\nDiagnoses (reproduced: planting this bug gives the recorded values; relation: the\n"
                 "values are related as by this bug; consistent: a symptom only)\n");
    for (uint32_t i = 0; i < report->n_diagnoses; i++) {
        const struct diagnosis *diagnosis = &report->diagnoses[i];
        char label[64];
        lines_add(&lines, NULL, "%s (%s) at %s, %s; rows: %s", diagnosis->fault, diagnosis_how_name(diagnosis->how),
                  source_name(report->sources[diagnosis->trace]),
                  step_label(&report->plan->steps[diagnosis->step], label), diagnosis->extent.rows);
        lines_add(&lines, "", "%s", diagnosis->text);
        if (*diagnosis->postmortem) {
            lines_add(&lines, "on record", "%s", diagnosis->postmortem);
        }
        lines_print(&lines, out);
        lines_free(&lines);
    }
    uint32_t first = verdict_first(report->verdict)->step;
    lines_add(&lines, NULL, "Next: %s", triage_next(report->plan, first, report->diagnoses, report->n_diagnoses));
    lines_print(&lines, out);
    lines_free(&lines);
}

/* Prints each further step that introduces an error. */
static void print_introduced(const struct report *report, FILE *out)
{
    fprintf(out, "\nSteps that introduce an error: %u\n", report->verdict->n_introduced);
    for (uint32_t i = 0; i < report->verdict->n_introduced; i++) {
        const struct introduced *at = &report->verdict->introduced[i];
        const struct finding *finding = audit_finding(report->audit, at->step, at->trace);
        char label[64];
        fprintf(out, "  %-9s %-24s %u of %u rows, ratio %.4g\n", source_name(at->source),
                step_label(&report->plan->steps[at->step], label), finding->rows_failed, finding->rows_judged,
                finding->max_ratio);
    }
}

static void print_all(const struct report *report, FILE *out)
{
    struct text_lines notes = {0}, prompt = {0};
    if (report->run->debug_command != NULL) {
        fprintf(out, "\nThe prompt on the same run:\n");
        lines_add_command(&prompt, "", report->run->debug_command);
        lines_print(&prompt, out);
        lines_free(&prompt);
    }
    if (report->verdict->diverged) {
        print_introduced(report, out);
        print_diagnoses(report, out);
    }
    print_coverage(report, out);
    report_arithmetic_print(report, out);
    report_drift_print(report, out);
    for (uint32_t i = 0; i < report->n_notes; i++) {
        lines_add(&notes, NULL, "Note: %s", report->notes[i]);
    }
    lines_print(&notes, out);
    lines_free(&notes);
    provenance_print(report, out);
}

static void print_growth(const struct report *report, FILE *out)
{
    const struct growth growth = report_growth(report);
    fputc('\n', out);
    if (!growth_print(&growth, out)) {
        fprintf(out, "growth: no row of layer_out is recorded in every source\n");
    }
}

void report_print(const struct report *report, FILE *out)
{
    if (report->verdict->diverged) {
        print_answer(report, out);
    } else {
        print_parity(report, out);
    }
    if (report->parts.all) {
        print_all(report, out);
    }
    if (report->parts.table || report->parts.all) {
        fputc('\n', out);
        report_table_print(report, out);
    }
    if (report->parts.growth || report->parts.all) {
        print_growth(report, out);
    }
    if (report->parts.ledger || report->parts.all) {
        ledger_print(&(struct ledger_table){report->plan, report->audit, report->sources}, out);
    }
}
