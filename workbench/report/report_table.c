/* No line of the table is wider than 100 columns. */
#include "workbench/report/report_table.h"

#include <math.h>
#include <stdarg.h>
#include <string.h>

#include "workbench/text/table.h"
#include "workbench/text/terminal.h"

#define LINE_SIZE 256 /* bytes of a line, its end included */
#define WIDEST 100    /* columns of the widest line */

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

/* At most eight characters: "0.143", "4.90e+05", "inf". */
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

/* The step with the worst ratio among the layers of a stage, in one trace; -1: no row of the stage was judged. */
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

/* The worst relative rms difference from the golden among the layers of a stage; NaN: none can be compared. */
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

/* Adds one source's columns to a stage's line: ratio, layer, and the difference from the golden. */
static void add_cell(const struct report *report, enum stage stage, uint32_t trace, char line[LINE_SIZE])
{
    char number[16], layer[16] = "", drift[16] = "";
    int64_t step = worst_step(report, stage, trace);
    if (step < 0) {
        line_add(line, "  %9s %6s%s", "-", "", has_golden(report) && !is_golden(report, trace) ? "          " : "");
        return;
    }
    const struct finding *finding = audit_finding(report->audit, (uint32_t)step, trace);
    double ratio = finding->max_ratio;
    if (report->plan->steps[step].layer != LAYER_NONE) {
        snprintf(layer, sizeof(layer), "@%d", report->plan->steps[step].layer);
    }
    line_add(line, "  %8s%s %-6s", ratio_text(ratio, number), ratio > 1 && !finding->other_precision ? "!" : " ",
             layer);
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

/* Prints two lines of heads: the sources, and their columns. */
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

/* Adds one source's cells to a row of the narrow table: ratio and layer in one. Returns whether the ratio fails. */
static bool add_narrow_cells(const struct report *report, enum stage stage, uint32_t trace, struct table *table)
{
    char number[16], layer[16] = "";
    int64_t step = worst_step(report, stage, trace);
    const struct finding *finding = step >= 0 ? audit_finding(report->audit, (uint32_t)step, trace) : NULL;
    bool fails = finding != NULL && finding->max_ratio > 1 && !finding->other_precision;
    if (step >= 0 && report->plan->steps[step].layer != LAYER_NONE) {
        snprintf(layer, sizeof(layer), " @%d", report->plan->steps[step].layer);
    }
    table_add_cell(table, "%s%s%s", finding != NULL ? ratio_text(finding->max_ratio, number) : "-", fails ? "!" : "",
                   layer);
    if (has_golden(report) && !is_golden(report, trace)) {
        double relative = worst_drift(report, stage, trace);
        table_add_cell(table, isnan(relative) ? "" : "%.1e", relative);
    }
    return fails;
}

/* The same table for a terminal that the wide one does not fit. */
static void print_narrow(const struct report *report, FILE *out)
{
    struct table table = {0};
    char column[32];
    table_add_column(&table, "stage", 0, -14);
    for (uint32_t t = 0; t < report->audit->n_traces; t++) {
        snprintf(column, sizeof(column), "%s-ratio", source_name(report->sources[t]));
        table_add_column(&table, column, 2, 0);
        if (has_golden(report) && !is_golden(report, t)) {
            snprintf(column, sizeof(column), "%s-vs golden", source_name(report->sources[t]));
            table_add_column(&table, column, 2, 0);
        }
    }
    for (int stage = 0; stage < STAGE_COUNT; stage++) {
        if (stage_in_plan(report->plan, (enum stage)stage)) {
            bool fails = false;
            table_add_cell(&table, "%s", stage_name((enum stage)stage));
            for (uint32_t t = 0; t < report->audit->n_traces; t++) {
                fails |= add_narrow_cells(report, (enum stage)stage, t, &table);
            }
            table_end_row(&table, fails ? "<--" : NULL);
        }
    }
    table_print(&table, true, out);
    table_free(&table);
}

void report_table_print(const struct report *report, FILE *out)
{
    fprintf(out,
            "Per op, worst layer (@N): error recomputed from the op's own inputs / rounding bound\n"
            "(above 1 fails, !)%s\n\n",
            has_golden(report) ? "; vs golden: relative rms difference" : "");
    if (terminal_width() > 0 && terminal_width() < WIDEST) {
        print_narrow(report, out);
        return;
    }
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
