/* The report for people. No line of the table is wider than 100 columns. */
#include "workbench/report/report.h"

#include "workbench/audit/ledger.h"
#include "workbench/diagnose/triage.h"

#include <math.h>
#include <stdarg.h>
#include <string.h>

#define LINE_SIZE 256

/* Prints a line of the table without the blanks at its end. */
static void print_line(const char *line, FILE *out)
{
    size_t length = strlen(line);
    while (length > 0 && line[length - 1] == ' ') {
        length--;
    }
    fprintf(out, "%.*s\n", (int)length, line);
}

/* Adds to a line. */
static void line_add(char line[LINE_SIZE], const char *format, ...) __attribute__((format(printf, 2, 3)));
static void line_add(char line[LINE_SIZE], const char *format, ...)
{
    size_t length = strlen(line);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line + length, LINE_SIZE - length, format, arguments);
    va_end(arguments);
}

/* Seven characters, whatever the size: "0.143", "4.90e+05", "inf". */
static const char *ratio_text(double ratio, char text[16])
{
    if (isnan(ratio)) {
        return "-";
    }
    if (isinf(ratio)) {
        return "inf";
    }
    snprintf(text, 16, ratio < 1000 ? "%.3f" : "%.2e", ratio);
    return text;
}

/* The layer with the worst ratio of a stage in one trace, as its step, or -1 if nothing was judged. */
static int64_t worst_step(const struct report *report, enum stage stage, uint32_t trace)
{
    int64_t worst = -1;
    for (uint32_t s = 0; s < report->plan->n_steps; s++) {
        const struct finding *finding = audit_finding(report->audit, s, trace);
        if (report->plan->steps[s].stage != stage || finding->state != FINDING_AUDITED || finding->rows_judged == 0) {
            continue;
        }
        if (worst < 0 || finding->max_ratio > audit_finding(report->audit, (uint32_t)worst, trace)->max_ratio) {
            worst = s;
        }
    }
    return worst;
}

/* The worst relative rms of a stage against the golden. */
static double worst_drift(const struct report *report, enum stage stage, uint32_t trace)
{
    double worst = NAN;
    for (uint32_t s = 0; s < report->plan->n_steps; s++) {
        if (report->plan->steps[s].stage == stage) {
            worst = fmax(worst, report->audit->relative_rms[(uint64_t)s * report->audit->n_traces + trace]);
        }
    }
    return worst;
}

static bool is_golden(const struct report *report, uint32_t trace)
{
    return report->sources[trace] == SOURCE_GOLDEN;
}

static bool has_golden(const struct report *report)
{
    return is_golden(report, report->audit->n_traces - 1);
}

/* One source's three columns of a stage's row: ratio, layer, drift from the golden. */
static void add_cell(const struct report *report, enum stage stage, uint32_t trace, char line[LINE_SIZE])
{
    char number[16], layer[16] = "", drift[16] = "";
    int64_t step = worst_step(report, stage, trace);
    if (step < 0) {
        line_add(line, "  %9s %6s%s", "-", "", has_golden(report) && !is_golden(report, trace) ? "          " : "");
        return;
    }
    double ratio = audit_finding(report->audit, (uint32_t)step, trace)->max_ratio;
    if (report->plan->steps[step].layer != LAYER_NONE) {
        snprintf(layer, sizeof(layer), "@%d", report->plan->steps[step].layer);
    }
    line_add(line, "  %8s%s %-6s", ratio_text(ratio, number), ratio > 1 ? "!" : " ", layer);
    if (!has_golden(report) || is_golden(report, trace)) {
        return;
    }
    double relative = worst_drift(report, stage, trace);
    if (!isnan(relative)) {
        snprintf(drift, sizeof(drift), "%.1e", relative);
    }
    line_add(line, " %9s", drift);
}

static bool stage_in_plan(const struct plan *plan, enum stage stage)
{
    for (uint32_t s = 0; s < plan->n_steps; s++) {
        if (plan->steps[s].stage == stage) {
            return true;
        }
    }
    return false;
}

/* The two lines of heads: whose columns, and what they are. */
static void print_heads(const struct report *report, FILE *out)
{
    char names[LINE_SIZE], columns[LINE_SIZE];
    snprintf(names, sizeof(names), "%-14s", "");
    snprintf(columns, sizeof(columns), "%-14s", "stage");
    for (uint32_t t = 0; t < report->audit->n_traces; t++) {
        bool drifts = has_golden(report) && !is_golden(report, t);
        line_add(names, drifts ? "  %9s                 " : "  %9s       ", source_name(report->sources[t]));
        line_add(columns, "  %8s  %-6s%s", "ratio", "layer", drifts ? " vs golden" : "");
    }
    print_line(names, out);
    print_line(columns, out);
}

static void print_table(const struct report *report, FILE *out)
{
    fprintf(out,
            "Worst error of each op from its own inputs, as a ratio to the bound of rounding (over 1 fails, !)%s\n\n",
            has_golden(report) ? ",\nand the worst relative rms against the golden" : "");
    print_heads(report, out);
    for (int stage = 0; stage < STAGE_COUNT; stage++) {
        char line[LINE_SIZE];
        if (!stage_in_plan(report->plan, (enum stage)stage)) {
            continue;
        }
        snprintf(line, sizeof(line), "%-14s", stage_name((enum stage)stage));
        for (uint32_t t = 0; t < report->audit->n_traces; t++) {
            add_cell(report, (enum stage)stage, t, line);
        }
        print_line(line, out);
    }
}

/* How many steps of a source were judged, and the first few that were not. */
static void print_coverage(const struct report *report, FILE *out)
{
    const struct verdict *verdict = report->verdict;
    fprintf(out, "\nCoverage: %u of %u (layer, stage)s compared in every source\n", verdict->compared,
            verdict->expected);
    uint32_t n_shown = 0;
    for (uint32_t i = 0; i < verdict->n_lacks && n_shown < 8; i++, n_shown++) {
        char label[64];
        const struct lack *lack = &verdict->lacks[i];
        fprintf(out, "  %s: %s %s\n", source_name(lack->source), step_label(&report->plan->steps[lack->step], label),
                lack->unaudited ? "is recorded, but not every input that judging it needs" : "is not recorded");
    }
    if (verdict->n_lacks > n_shown) {
        fprintf(out, "  and %u more\n", verdict->n_lacks - n_shown);
    }
}

static bool has_source(const struct report *report, enum source source)
{
    for (uint32_t t = 0; t < report->audit->n_traces; t++) {
        if (report->sources[t] == source) {
            return true;
        }
    }
    return false;
}

/* Who is wrong and why, in one sentence. */
static const char *who_is_wrong(const struct report *report)
{
    switch (report->verdict->outlier) {
    case OUTLIER_NONE:
        return "nobody";
    case OUTLIER_ENGINE:
        return has_source(report, SOURCE_GOLDEN)
                   ? "the engine: its output does not follow from its own inputs; everybody else's does"
                   : "the engine: its output does not follow from its own inputs";
    case OUTLIER_TRACE:
        return has_source(report, SOURCE_GOLDEN)
                   ? "the trace's engine: its output does not follow from its own inputs; everybody else's does"
                   : "the trace's engine, or MODEL's weights or config are not those that it ran with";
    case OUTLIER_REFERENCE:
        return "the reference: all others agree with each other, on the same weights and config, and not with it";
    case OUTLIER_GOLDEN_OR_WEIGHTS:
        return "the golden, or MODEL: weights or config here are not those that the golden was made with";
    case OUTLIER_SEVERAL:
        return "several sources introduce errors of their own";
    }
    return "";
}

/* A label and a text of any length, broken between words so that no line passes 100 columns. */
static void print_wrapped(const char *label, const char *text, FILE *out)
{
    fprintf(out, "  %-12s", label);
    size_t column = 14;
    while (*text) {
        size_t word = strcspn(text, " ");
        if (column + word > 100 && column > 14) {
            fprintf(out, "\n%14s", "");
            column = 14;
        }
        fprintf(out, "%.*s", (int)word, text);
        text += word;
        column += word;
        if (*text == ' ') {
            text++;
            column++;
            if (column + strcspn(text, " ") <= 100) {
                fputc(' ', out);
            }
        }
    }
    fputc('\n', out);
}

static void print_diagnoses(const struct report *report, FILE *out)
{
    if (report->n_diagnoses == 0 || report->diagnoses[0].how == HOW_CONSISTENT) {
        print_wrapped("diagnosis", "no known fault reproduces it, and it stands in no simple relation to another value",
                      out);
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
        print_wrapped("", diagnosis->text, out);
        if (*diagnosis->postmortem) {
            print_wrapped("postmortem", diagnosis->postmortem, out);
        }
    }
}

/* Where not every op's stage is recorded: which ops lie between, any of which may be wrong. */
static void print_span(const struct report *report, const struct introduced *first, FILE *out)
{
    struct span_path path;
    char text[1024];
    span_path_find(&path, report->plan, first->step, report->traces[first->trace]);
    if (path.n_between > 0) {
        print_wrapped("span", span_path_text(&path, report->plan, first->step, text, sizeof(text)), out);
        print_wrapped("", "not recorded: any of these ops may be wrong, or the last", out);
    }
    uint32_t n = 0;
    for (uint32_t i = 0; i < path.n_between; i++) {
        if (report->verdict->sound[first->trace][path.between[i]]) {
            path.between[n++] = path.between[i];
        }
    }
    path.n_between = n;
    if (n > 0) {
        strcpy(text, "other spans pass over ");
        print_wrapped("likely not", span_steps_text(&path, report->plan, first->step, text, sizeof(text)), out);
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
    print_wrapped("who", who_is_wrong(report), out);
    fprintf(out, "  further     %u other step%s introduce%s an error\n", verdict->n_introduced - 1,
            verdict->n_introduced == 2 ? "" : "s", verdict->n_introduced == 2 ? "s" : "");
    print_diagnoses(report, out);
    print_wrapped("try next", triage_next(report->plan, first->step, report->diagnoses, report->n_diagnoses), out);
}

void report_print(const struct report *report, FILE *out)
{
    print_table(report, out);
    ledger_print(&(struct ledger_table){report->plan, report->audit, report->sources}, out);
    print_coverage(report, out);
    for (uint32_t i = 0; i < report->n_notes; i++) {
        fprintf(out, "Note: %s\n", report->notes[i]);
    }
    if (report->verdict->diverged) {
        print_divergence(report, out);
    }
    fprintf(out, "\nVerdict: %s%s%s\n", report->verdict->diverged ? "diverged" : "parity",
            report->verdict->diverged ? ", outlier: " : "",
            report->verdict->diverged ? outlier_name(report->verdict->outlier) : "");
}
