/* diff, first: where the sides differ, and which side introduced the error. */
#include <math.h>
#include <stdio.h>

#include "workbench/debugger/command.h"
#include "workbench/debugger/print_steps.h"
#include "workbench/debugger/run/capture.h"
#include "workbench/debugger/run/full_comparison.h"
#include "workbench/text/table.h"

/* A stage over the layers that ran, [side]: the worst ratio, and sums of squares as in repl_judgement. */
struct stage_summary {
    uint32_t n_ran;
    double ratio[REPL_MAX_SIDES], difference[REPL_MAX_SIDES], size[REPL_MAX_SIDES];
    int32_t layer[REPL_MAX_SIDES]; /* with the worst ratio */
    bool judged[REPL_MAX_SIDES];
};

static void summarize_step(const struct repl *repl, uint32_t step, struct stage_summary *summary)
{
    for (uint32_t i = 0; i < repl->n_sides; i++) {
        const struct repl_summary *over_run = &repl->sides[i].summaries[step];
        summary->difference[i] += over_run->difference;
        summary->size[i] += over_run->size;
        if (over_run->worst.state != FINDING_AUDITED || over_run->worst.rows_judged == 0) {
            continue;
        }
        if (!summary->judged[i] || over_run->worst.max_ratio > summary->ratio[i]) {
            summary->judged[i] = true;
            summary->ratio[i] = over_run->worst.max_ratio;
            summary->layer[i] = repl->plan->steps[step].layer;
        }
    }
    summary->n_ran++;
}

/* Whether the table has a column of a side's difference from the golden. */
static bool has_difference(const struct repl *repl, uint32_t side)
{
    return repl->sides[side].backend != NULL && repl->sides[repl->n_sides - 1].backend == NULL;
}

static void add_columns(const struct repl *repl, const char *first_column, struct table *table)
{
    table_add_column(table, first_column, 2, -15);
    for (uint32_t i = 0; i < repl->n_sides; i++) {
        table_add_column(table, source_name(repl->sides[i].source), 1, 18);
    }
    for (uint32_t i = 0; i < repl->n_sides; i++) {
        if (has_difference(repl, i)) {
            char column[32];
            snprintf(column, sizeof(column), "%s-golden", source_name(repl->sides[i].source));
            table_add_column(table, column, 1, 16);
        }
    }
}

static void add_summary(const struct repl *repl, const char *name, const struct stage_summary *summary,
                        struct table *table)
{
    bool failed = false;
    table_add_cell(table, "%s", name);
    for (uint32_t i = 0; i < repl->n_sides; i++) {
        char layer[16] = "";
        if (summary->layer[i] != LAYER_NONE) {
            snprintf(layer, sizeof(layer), " @%d", summary->layer[i]);
        }
        if (summary->judged[i]) {
            table_add_cell(table, "%.3g%s", summary->ratio[i], layer);
        } else {
            table_add_cell(table, "-");
        }
        failed = failed || (summary->judged[i] && summary->ratio[i] > 1);
    }
    for (uint32_t i = 0; i < repl->n_sides; i++) {
        if (has_difference(repl, i)) {
            table_add_cell(table, summary->size[i] > 0 ? "%.3g" : "-", sqrt(summary->difference[i] / summary->size[i]));
        }
    }
    table_end_row(table, failed ? "<--" : NULL);
}

static void print_table(struct table *table)
{
    table_print(table, true, stdout);
    table_free(table);
}

static bool ran(const struct repl *repl, uint32_t step)
{
    return repl->n_sides > 0 && repl->sides[0].summaries[step].worst.state != FINDING_MISSING;
}

/* Every stage that ran: its worst ratio over the layers. */
static void diff_all(struct repl *repl)
{
    struct table table = {0};
    printf("worst audit ratio @layer, and relative rms of the difference, over everything that ran so far\n");
    add_columns(repl, "stage", &table);
    for (int stage = 0; stage < STAGE_COUNT; stage++) {
        struct stage_summary summary = {0};
        for (uint32_t s = 0; s < repl->plan->n_steps; s++) {
            if (repl->plan->steps[s].stage == (enum stage)stage && ran(repl, s)) {
                summarize_step(repl, s, &summary);
            }
        }
        if (summary.n_ran > 0) {
            add_summary(repl, stage_name(stage), &summary, &table);
        }
    }
    print_table(&table);
    print_legend(repl, LEGEND_DIFF);
}

/* One stage, layer by layer. */
static void diff_stage(struct repl *repl, enum stage stage)
{
    struct table table = {0};
    printf("%s: audit ratio, and relative rms of the difference\n", stage_name(stage));
    add_columns(repl, "layer", &table);
    for (uint32_t s = 0; s < repl->plan->n_steps; s++) {
        struct stage_summary summary = {0};
        char name[32];
        if (repl->plan->steps[s].stage == stage && ran(repl, s)) {
            summarize_step(repl, s, &summary);
            for (uint32_t i = 0; i < repl->n_sides; i++) {
                summary.layer[i] = LAYER_NONE; /* the line begins with it */
            }
            snprintf(name, sizeof(name), "%d", repl->plan->steps[s].layer);
            add_summary(repl, name, &summary, &table);
        }
    }
    print_table(&table);
    print_legend(repl, LEGEND_DIFF);
}

/* Adds the largest difference between two sides' rows of one position, or "-". */
static void add_difference(const struct step *at, const struct repl_side *a, const struct repl_side *b,
                           uint32_t position, struct table *table)
{
    const struct trace_stage *stage_a = trace_find(a->trace, at->layer, at->stage);
    const struct trace_stage *stage_b = trace_find(b->trace, at->layer, at->stage);
    const float *x = stage_a != NULL ? trace_row(stage_a, position) : NULL;
    const float *y = stage_b != NULL ? trace_row(stage_b, position) : NULL;
    double most = -1;
    uint32_t dim = 0;
    for (uint32_t i = 0; x != NULL && y != NULL && i < at->width; i++) {
        double difference = fabs((double)x[i] - y[i]);
        if (!(difference <= most)) {
            most = difference;
            dim = i;
        }
        if (isnan(difference)) {
            break;
        }
    }
    if (x != NULL && y != NULL) {
        table_add_cell(table, "%.3g @dim %u", most, dim);
    } else {
        table_add_cell(table, "-");
    }
}

/* The largest difference between each two sides at each position. */
static void print_differences(const struct repl *repl, uint32_t step)
{
    struct table table = {0};
    table_add_column(&table, "token", 2, 7);
    for (uint32_t i = 0; i < repl->n_sides; i++) {
        for (uint32_t j = i + 1; j < repl->n_sides; j++) {
            char column[32];
            snprintf(column, sizeof(column), "%s-%s", source_name(repl->sides[i].source),
                     source_name(repl->sides[j].source));
            table_add_column(&table, column, 1, 24);
        }
    }
    for (uint32_t p = 0; p < repl->sides[0].trace->n_positions && repl->n_sides > 1; p++) {
        table_add_cell(&table, "%u", p);
        for (uint32_t i = 0; i < repl->n_sides; i++) {
            for (uint32_t j = i + 1; j < repl->n_sides; j++) {
                add_difference(&repl->plan->steps[step], &repl->sides[i], &repl->sides[j], p, &table);
            }
        }
        table_end_row(&table, NULL);
    }
    print_table(&table);
}

/* One step: the largest difference between each two sides at each position, then the audit of each side. */
static void diff_step(const struct repl *repl, uint32_t step)
{
    char label[64];
    printf("%s: largest difference\n", step_label(&repl->plan->steps[step], label));
    print_differences(repl, step);
    for (uint32_t i = 0; i < repl->n_sides; i++) {
        const struct finding *worst = &repl->sides[i].summaries[step].worst;
        if (worst->state == FINDING_AUDITED && worst->rows_judged > 0) {
            printf("  %-9s token %u dim %u: %.9g, from its own inputs %.9g, bound %.3g, ratio %.3g\n",
                   source_name(repl->sides[i].source), worst->position, worst->dim, worst->actual, worst->expected,
                   worst->bound, worst->ratio);
        } else {
            printf("  %-9s not judged\n", source_name(repl->sides[i].source));
        }
    }
}

enum status do_diff(struct repl *repl, const struct words *words, struct error *err)
{
    if (repl->n_rows == 0) {
        return error_set(err, STATUS_USAGE, NULL, "diff", ERROR_NO_OFFSET,
                         "nothing ran yet, expected step or continue first");
    }
    if (words->n == 0) {
        diff_all(repl);
        return STATUS_OK;
    }
    uint32_t step;
    bool layer_given;
    TRY(word_step(repl, words->word[0], &step, &layer_given, err));
    if (!layer_given && repl->plan->steps[step].layer != LAYER_NONE) {
        diff_stage(repl, repl->plan->steps[step].stage);
        return STATUS_OK;
    }
    TRY(repl_ensure_captured(repl, step, err));
    if (!ran(repl, step)) {
        char label[64];
        return error_set(err, STATUS_USAGE, NULL, step_label(&repl->plan->steps[step], label), ERROR_NO_OFFSET,
                         "did not run yet, expected step or continue first");
    }
    diff_step(repl, step);
    return STATUS_OK;
}

enum status do_first(struct repl *repl, const struct words *words, struct error *err)
{
    const struct comparison *comparison = NULL;
    uint32_t step, position;
    (void)words;
    if (repl->n_introduced > 0) {
        TRY(repl_compare(repl, &comparison, err));
    }
    if (repl->n_introduced == 0 || (comparison != NULL && !comparison->verdict.diverged)) {
        printf(repl->n_rows == 0 ? "nothing ran yet: until diverge\n" : "no step introduced an error so far\n");
        return STATUS_OK;
    }
    bool same = comparison != NULL && repl_first_divergence(repl, comparison, &step, &position) &&
                position < repl->first + repl->n_rows;
    if (same) {
        comparison_print(comparison, stdout);
    } else {
        print_answer(repl, &repl->introduced[0]);
    }
    if (repl->n_introduced > 1) {
        printf("diagnose shows the other errors introduced so far: %u\n", repl->n_introduced - 1);
    }
    return STATUS_OK;
}
