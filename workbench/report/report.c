/* The report as text. No line is wider than 100 columns, except notes. */
#include "workbench/report/report.h"

#include <string.h>

#include "workbench/audit/ledger.h"
#include "workbench/diagnose/triage.h"
#include "workbench/report/report_arithmetic.h"
#include "workbench/report/report_drift.h"
#include "workbench/report/report_table.h"
#include "workbench/report/wrapped_text.h"

#define WIDTH 100      /* columns */
#define LABEL_WIDTH 14 /* columns before the text of the first divergence */
#define NAMES_SIZE 64  /* bytes of the names of all sources */

/* The names of all sources but one, as a sentence has them: "engine, reference and golden". omitted: SOURCE_COUNT
 * omits none. */
static const char *sources_text(const struct report *report, enum source omitted, char text[NAMES_SIZE])
{
    uint32_t n_left = 0;
    text[0] = '\0';
    for (uint32_t t = 0; t < report->audit->n_traces; t++) {
        n_left += report->sources[t] != omitted;
    }
    for (uint32_t t = 0; t < report->audit->n_traces; t++) {
        if (report->sources[t] != omitted) {
            n_left--;
            size_t length = strlen(text);
            snprintf(text + length, NAMES_SIZE - length, "%s%s", source_name(report->sources[t]),
                     n_left > 1    ? ", "
                     : n_left == 1 ? " and "
                                   : "");
        }
    }
    return text;
}

/* Prints how many stages were judged in every source, and the first few that a source lacks. */
static void print_coverage(const struct report *report, FILE *out)
{
    const struct verdict *verdict = report->verdict;
    char number[32], sources[NAMES_SIZE];
    snprintf(number, sizeof(number), verdict->compared == verdict->expected ? "all" : "%u of", verdict->compared);
    fprintf(out, "\nCoverage: %s %u (layer, stage) pairs compared in %s\n", number, verdict->expected,
            sources_text(report, SOURCE_COUNT, sources));
    uint32_t n_shown = 0;
    for (uint32_t i = 0; i < verdict->n_lacks && n_shown < 8; i++, n_shown++) {
        char label[64];
        const struct lack *lack = &verdict->lacks[i];
        fprintf(out, "  %s: %s %s\n", source_name(lack->source), step_label(&report->plan->steps[lack->step], label),
                lack->unaudited ? "is recorded, but not every input that is needed to judge it" : "is not recorded");
    }
    if (verdict->n_lacks > n_shown) {
        fprintf(out, "  and %u more\n", verdict->n_lacks - n_shown);
    }
}

/* The source that is wrong, and how that shows. passing: the other sources, "" if there are none. */
static void culprit_text(enum outlier outlier, const char *passing, char *text, size_t size)
{
    const char *also = passing[0] != '\0' ? "; " : "", *pass = passing[0] != '\0' ? " pass" : "";
    switch (outlier) {
    case OUTLIER_NONE:
        snprintf(text, size, "none");
        break;
    case OUTLIER_ENGINE:
        snprintf(text, size, "engine: its output does not follow from its inputs%s%s%s", also, passing, pass);
        break;
    case OUTLIER_TRACE:
        if (passing[0] != '\0') {
            snprintf(text, size, "trace: its output does not follow from its inputs; %s pass", passing);
        } else {
            snprintf(text, size,
                     "trace: its output does not follow from its inputs and MODEL's weights and config, "
                     "which may not be those that it ran with");
        }
        break;
    case OUTLIER_REFERENCE:
        snprintf(text, size,
                 "reference: the other sources agree with each other, on the same weights and config, and "
                 "not with it");
        break;
    case OUTLIER_GOLDEN_OR_WEIGHTS:
        snprintf(text, size, "golden, or MODEL: its weights or config are not those that the golden was made with");
        break;
    case OUTLIER_SEVERAL:
        snprintf(text, size, "several: more than one source introduces errors of its own");
        break;
    }
}

/* Prints a line of the first divergence: a label, and a text that may go on over further lines. */
static void print_labelled(const char *label, const char *text, FILE *out)
{
    fprintf(out, "  %-*s", LABEL_WIDTH - 2, label);
    text_print_wrapped(text, (struct text_layout){LABEL_WIDTH, LABEL_WIDTH, WIDTH}, out);
}

static void print_culprit(const struct report *report, FILE *out)
{
    static const enum source suspects[] = {[OUTLIER_ENGINE] = SOURCE_ENGINE, [OUTLIER_TRACE] = SOURCE_TRACE};
    enum outlier outlier = report->verdict->outlier;
    char passing[NAMES_SIZE] = "", text[256];
    if (outlier == OUTLIER_ENGINE || outlier == OUTLIER_TRACE) {
        sources_text(report, suspects[outlier], passing);
    }
    culprit_text(outlier, passing, text, sizeof(text));
    print_labelled("culprit", text, out);
}

static void print_diagnoses(const struct report *report, FILE *out)
{
    if (report->n_diagnoses == 0 || report->diagnoses[0].how == HOW_CONSISTENT) {
        print_labelled("diagnosis", "no known fault reproduces it, and no simple relation to another value holds", out);
    }
    for (uint32_t i = 0; i < report->n_diagnoses; i++) {
        const struct diagnosis *diagnosis = &report->diagnoses[i];
        const struct introduced *first = &report->verdict->introduced[0];
        char label[64], place[96] = "";
        if (diagnosis->step != first->step || diagnosis->introduced != first->step ||
            diagnosis->trace != first->trace) {
            snprintf(place, sizeof(place), " at %s, %s", source_name(report->sources[diagnosis->trace]),
                     step_label(&report->plan->steps[diagnosis->step], label));
        }
        fprintf(out, "  %-12s%s (%s)%s\n", "diagnosis", diagnosis->fault, diagnosis_how_name(diagnosis->how), place);
        print_labelled("", diagnosis->text, out);
        if (*diagnosis->postmortem) {
            print_labelled("postmortem", diagnosis->postmortem, out);
        }
    }
    if (report->n_diagnoses > 0) {
        print_labelled("",
                       "(reproduced: planting this bug gives the recorded values; relation: the values are related as "
                       "by this bug; consistent: a symptom only)",
                       out);
    }
}

/* Where not every op's stage is recorded, the failing op is one of several: prints them, and those of them that are
 * likely right. */
static void print_span(const struct report *report, const struct introduced *first, FILE *out)
{
    struct span_path path;
    char text[1024];
    span_path_find(&path, report->plan, first->step, report->traces[first->trace]);
    if (path.n_between > 0) {
        print_labelled("span", span_path_text(&path, report->plan, first->step, text, sizeof(text)), out);
        print_labelled("", "these stages are not recorded: any of their ops may be wrong, or the last", out);
    }
    uint32_t n = 0;
    for (uint32_t i = 0; i < path.n_between; i++) {
        if (report->verdict->cleared[first->trace][path.between[i]]) {
            path.between[n++] = path.between[i];
        }
    }
    path.n_between = n;
    if (n > 0) {
        strcpy(text, "spans that pass cover ");
        print_labelled("likely not", span_steps_text(&path, report->plan, first->step, text, sizeof(text)), out);
    }
    span_path_free(&path);
}

static void print_divergence(const struct report *report, FILE *out)
{
    char label[64];
    const struct verdict *verdict = report->verdict;
    const struct introduced *first = &verdict->introduced[0];
    const struct finding *finding = audit_finding(report->audit, first->step, first->trace);
    const struct trace *trace = report->traces[first->trace];
    fprintf(out, "\nFirst divergence: %s, %s\n", source_name(first->source),
            step_label(&report->plan->steps[first->step], label));
    print_span(report, first, out);
    fprintf(out, "  where       token %u (id %d, %s), dim %u; %u of %u positions judged fail\n", finding->position,
            trace->tokens[finding->position], trace->phase[finding->position] == PHASE_DECODE ? "decode" : "prefill",
            finding->dim, finding->rows_failed, finding->rows_judged);
    fprintf(out, "  expected    %.9g   from the source's own inputs, in double precision\n", finding->expected);
    fprintf(out, "  actual      %.9g\n", finding->actual);
    fprintf(out, "  abs error   %.6g, %.6g times the bound of %.6g\n", finding->abs_error, finding->ratio,
            finding->bound);
    print_culprit(report, out);
    fprintf(out, "  further     %u other step%s introduce%s an error\n", verdict->n_introduced - 1,
            verdict->n_introduced == 2 ? "" : "s", verdict->n_introduced == 2 ? "s" : "");
    print_diagnoses(report, out);
    print_labelled("try next", triage_next(report->plan, first->step, report->diagnoses, report->n_diagnoses), out);
}

void report_print(const struct report *report, FILE *out)
{
    if (report->parts.table) {
        report_table_print(report, out);
    }
    if (report->parts.ledger) {
        ledger_print(&(struct ledger_table){report->plan, report->audit, report->sources}, out);
    }
    print_coverage(report, out);
    report_arithmetic_print(report, out);
    report_drift_print(report, out);
    for (uint32_t i = 0; i < report->n_notes; i++) {
        fprintf(out, "Note: %s\n", report->notes[i]);
    }
    if (report->verdict->diverged) {
        print_divergence(report, out);
    }
    fprintf(out, "\nVerdict: %s%s%s\n", conclusion_name(report->verdict->conclusion),
            report->verdict->diverged ? ", outlier: " : "",
            report->verdict->diverged ? outlier_name(report->verdict->outlier) : "");
}
