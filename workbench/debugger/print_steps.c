#include "workbench/debugger/print_steps.h"

#include <math.h>
#include <stdio.h>

#include "workbench/debugger/run/capture.h"
#include "workbench/debugger/run/run.h"
#include "workbench/session/step_kernel.h"
#include "workbench/text/table.h"

const char *positions_text(const struct repl *repl, char text[64])
{
    const char *phase = repl->phase[repl->first] == PHASE_DECODE ? "decode" : "prefill";
    if (repl->n_rows == 1) {
        snprintf(text, 64, "position %u (%s)", repl->first, phase);
    } else {
        snprintf(text, 64, "positions %u-%u (%s)", repl->first, repl->first + repl->n_rows - 1, phase);
    }
    return text;
}

const char *repl_kernel_text(const struct repl *repl, uint32_t batch, uint32_t step, char *text)
{
    return step_kernel_write(&repl->batches[batch].kernels[step], repl->plan, text);
}

static void print_heading(const struct repl *repl, uint32_t step)
{
    char positions[64];
    const struct step *at = &repl->plan->steps[step];
    if (at->layer == LAYER_NONE) {
        printf("outside the layers, %s\n", positions_text(repl, positions));
    } else {
        printf("layer %d, %s\n", at->layer, positions_text(repl, positions));
    }
}

static void add_columns(struct repl *repl, struct table *table)
{
    table_add_column(table, "stage", 2, -15);
    table_add_column(table, "maxAbs", 1, 11);
    table_add_column(table, "rms", 1, 11);
    for (uint32_t i = 0; i < repl->n_sides; i++) {
        table_add_column(table, source_name(repl->sides[i].source), 1, 10);
    }
    for (uint32_t i = 0; i < repl->n_sides && repl_side_of(repl, SOURCE_GOLDEN) != NULL; i++) {
        if (repl->sides[i].source != SOURCE_GOLDEN) {
            char column[32];
            snprintf(column, sizeof(column), "%s-golden", source_name(repl->sides[i].source));
            table_add_column(table, column, 1, 16);
        }
    }
    if (repl_side_of(repl, SOURCE_ENGINE) != NULL) {
        table_add_column(table, "kernel", 2, 0);
    }
}

/* Adds an audit ratio (above 1: an introduced error), "-" for not recorded, "?" for cannot be judged, or "inherited"
 * where no row could be judged, "rounded" where the golden's weights are MODEL's in another precision. */
static void add_ratio(const struct finding *finding, struct table *table)
{
    if (finding->state != FINDING_AUDITED || finding->rows_judged == 0) {
        const char *why = finding->state == FINDING_MISSING ? "-" : "?";
        table_add_cell(table, "%s", finding->state == FINDING_AUDITED ? "inherited" : why);
    } else if (finding->other_precision) {
        table_add_cell(table, "rounded");
    } else {
        table_add_cell(table, "%.3g", finding->max_ratio);
    }
}

/* "<-- introduced by engine, reference"; empty: by none */
static void write_mark(const struct repl *repl, uint32_t step, char *mark, size_t size)
{
    size_t length = 0;
    mark[0] = '\0';
    for (uint32_t i = 0; i < repl->n_sides; i++) {
        if (finding_failed(&repl->sides[i].summaries[step].latest)) {
            length += (size_t)snprintf(mark + length, size - length, "%s %s", length > 0 ? "," : "<-- introduced by",
                                       source_name(repl->sides[i].source));
        }
    }
}

static void add_step(struct repl *repl, uint32_t step, struct table *table)
{
    const struct finding *leader = &repl_leader(repl)->summaries[step].latest;
    bool missing = leader->state == FINDING_MISSING;
    table_add_cell(table, "%s", stage_name(repl->plan->steps[step].stage));
    table_add_cell(table, missing ? "-" : "%.5g", leader->max_abs);
    table_add_cell(table, missing ? "-" : "%.5g", leader->rms);
    for (uint32_t i = 0; i < repl->n_sides; i++) {
        if (&repl->sides[i] == repl_leader(repl) && repl_is_patched(repl, step)) {
            table_add_cell(table, "patched");
        } else {
            add_ratio(&repl->sides[i].summaries[step].latest, table);
        }
    }
    for (uint32_t i = 0; i < repl->n_sides && repl_side_of(repl, SOURCE_GOLDEN) != NULL; i++) {
        double relative = repl->sides[i].summaries[step].latest_relative;
        if (repl->sides[i].source != SOURCE_GOLDEN) {
            table_add_cell(table, isnan(relative) ? "-" : "%.3g", relative);
        }
    }
    if (repl_side_of(repl, SOURCE_ENGINE) != NULL) {
        char kernel[STEP_KERNEL_SIZE];
        table_add_cell(table, "%s", step_kernel_write_name(&repl->batches[repl->n_batches - 1].kernels[step], kernel));
    }
    char mark[64];
    write_mark(repl, step, mark, sizeof(mark));
    table_end_row(table, mark[0] != '\0' ? mark : NULL);
}

void print_legend(struct repl *repl, enum legend legend)
{
    if (repl->legends[legend] || repl->n_sides == 0) {
        return;
    }
    repl->legends[legend] = true;
    for (uint32_t i = 0; i < repl->n_sides; i++) {
        printf("%s%s", i > 0 ? ", " : "  ", source_name(repl->sides[i].source));
    }
    printf(": error from its own inputs / the most that rounding can cause; above 1 is a bug\n");
    const char *between = "  ";
    for (uint32_t i = 0; i < repl->n_sides && repl_side_of(repl, SOURCE_GOLDEN) != NULL; i++) {
        if (repl->sides[i].source != SOURCE_GOLDEN) {
            printf("%s%s-golden", between, source_name(repl->sides[i].source));
            between = ", ";
        }
    }
    if (between[0] == ',') {
        printf(": rms of the difference / rms of the golden\n");
    }
}

void print_steps(struct repl *repl, uint32_t first, uint32_t last, bool heading)
{
    for (uint32_t s = first; s < last;) {
        struct table table = {0};
        uint32_t begin = s;
        add_columns(repl, &table);
        do {
            add_step(repl, s++, &table);
        } while (s < last && repl->plan->steps[s].layer == repl->plan->steps[s - 1].layer);
        bool with_heading = begin > first || heading;
        if (with_heading) {
            print_heading(repl, begin);
        }
        table_print(&table, with_heading, stdout);
        table_free(&table);
    }
    print_legend(repl, LEGEND_STEPS);
}

void print_introduced(const struct repl *repl, uint32_t first)
{
    for (uint32_t i = first; i < repl->n_introduced; i++) {
        const struct repl_introduced *introduced = &repl->introduced[i];
        const struct finding *finding = &introduced->finding;
        char label[64];
        printf("  %s introduces an error at %s, token %u, dim %u: %.9g, expected %.9g, %.3g times its bound\n",
               source_name(repl->sides[introduced->side].source),
               step_label(&repl->judged_plan.steps[introduced->step], label), finding->position, finding->dim,
               finding->actual, finding->expected, finding->ratio);
    }
}

/* A step's worst ratio in the batch, if it says something of the side. */
static double ratio_of(const struct repl_side *side, uint32_t step)
{
    const struct finding *finding = &side->summaries[step].latest;
    return finding->other_precision ? -1 : finding->max_ratio;
}

/* The step of the batch with a side's worst ratio. */
static uint32_t worst_step(const struct repl *repl, const struct repl_side *side)
{
    uint32_t worst = 0;
    for (uint32_t s = 1; s < repl->plan->n_steps; s++) {
        if (ratio_of(side, s) > ratio_of(side, worst)) {
            worst = s;
        }
    }
    return worst;
}

void print_batch(struct repl *repl)
{
    char positions[64], label[64];
    uint32_t n = 0, n_judged = 0;
    for (uint32_t s = 0; s < repl->plan->n_steps; s++) {
        n += repl_is_captured(repl, s);
    }
    printf("%s: %u stages, worst ratio", positions_text(repl, positions), n);
    for (uint32_t i = 0; i < repl->n_sides; i++) {
        uint32_t worst = worst_step(repl, &repl->sides[i]);
        if (repl->sides[i].summaries[worst].latest.rows_judged == 0) {
            continue; /* a golden with fewer tokens, or a lost side */
        }
        printf("%s %s %.3g (%s)", n_judged++ > 0 ? "," : "", source_name(repl->sides[i].source),
               repl->sides[i].summaries[worst].latest.max_ratio, step_label(&repl->plan->steps[worst], label));
    }
    printf("%s", n_judged > 0 ? "" : " not known: no row can be judged");
    uint32_t next = repl->first + repl->n_rows;
    if (next < repl->n_known) {
        printf("; next token %d\n", repl->tokens[next]);
    } else {
        printf("; the run is over\n");
    }
}
