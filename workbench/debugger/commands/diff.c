/* diff, first: where the sides differ, and which side introduced the error. */
#include <math.h>
#include <stdio.h>

#include "workbench/debugger/command.h"
#include "workbench/debugger/run/capture.h"
#include "workbench/debugger/run/full_comparison.h"

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

static void print_columns(const struct repl *repl, const char *first_column)
{
    printf("  %-15s", first_column);
    for (uint32_t i = 0; i < repl->n_sides; i++) {
        printf(" %18s", source_name(repl->sides[i].source));
    }
    for (uint32_t i = 0; i < repl->n_sides; i++) {
        if (repl->sides[i].backend != NULL && repl->sides[repl->n_sides - 1].backend == NULL) {
            char column[32];
            snprintf(column, sizeof(column), "%s-golden", source_name(repl->sides[i].source));
            printf(" %16s", column);
        }
    }
    printf("\n");
}

static void print_summary(const struct repl *repl, const char *name, const struct stage_summary *summary)
{
    printf("  %-15s", name);
    for (uint32_t i = 0; i < repl->n_sides; i++) {
        char cell[32] = "-";
        if (summary->judged[i] && summary->layer[i] != LAYER_NONE) {
            snprintf(cell, sizeof(cell), "%.3g @%d", summary->ratio[i], summary->layer[i]);
        } else if (summary->judged[i]) {
            snprintf(cell, sizeof(cell), "%.3g", summary->ratio[i]);
        }
        printf(" %18s", cell);
    }
    for (uint32_t i = 0; i < repl->n_sides; i++) {
        if (repl->sides[i].backend == NULL || repl->sides[repl->n_sides - 1].backend != NULL) {
            continue;
        }
        if (summary->size[i] > 0) {
            printf(" %16.3g", sqrt(summary->difference[i] / summary->size[i]));
        } else {
            printf(" %16s", "-");
        }
    }
    bool failed = false;
    for (uint32_t i = 0; i < repl->n_sides; i++) {
        failed = failed || (summary->judged[i] && summary->ratio[i] > 1);
    }
    printf("%s\n", failed ? "  <--" : "");
}

static bool ran(const struct repl *repl, uint32_t step)
{
    return repl->n_sides > 0 && repl->sides[0].summaries[step].worst.state != FINDING_MISSING;
}

/* Every stage that ran: its worst ratio over the layers. */
static void diff_all(const struct repl *repl)
{
    printf("worst audit ratio @layer, and relative rms of the difference, over everything that ran so far\n");
    print_columns(repl, "stage");
    for (int stage = 0; stage < STAGE_COUNT; stage++) {
        struct stage_summary summary = {0};
        for (uint32_t s = 0; s < repl->plan->n_steps; s++) {
            if (repl->plan->steps[s].stage == (enum stage)stage && ran(repl, s)) {
                summarize_step(repl, s, &summary);
            }
        }
        if (summary.n_ran > 0) {
            print_summary(repl, stage_name(stage), &summary);
        }
    }
}

/* One stage, layer by layer. */
static void diff_stage(const struct repl *repl, enum stage stage)
{
    printf("%s: audit ratio, and relative rms of the difference\n", stage_name(stage));
    print_columns(repl, "layer");
    for (uint32_t s = 0; s < repl->plan->n_steps; s++) {
        struct stage_summary summary = {0};
        char name[32];
        if (repl->plan->steps[s].stage == stage && ran(repl, s)) {
            summarize_step(repl, s, &summary);
            for (uint32_t i = 0; i < repl->n_sides; i++) {
                summary.layer[i] = LAYER_NONE; /* the line begins with it */
            }
            snprintf(name, sizeof(name), "%d", repl->plan->steps[s].layer);
            print_summary(repl, name, &summary);
        }
    }
}

/* Prints the largest difference between two sides' rows of one position, or "-". */
static void print_difference(const struct repl *repl, const struct repl_side *a, const struct repl_side *b,
                             uint32_t step, uint32_t position)
{
    const struct step *at = &repl->plan->steps[step];
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
    char cell[40] = "-";
    if (x != NULL && y != NULL) {
        snprintf(cell, sizeof(cell), "%.3g @dim %u", most, dim);
    }
    printf(" %24s", cell);
}

/* One step: the largest difference between each two sides at each position, then the audit of each side. */
static void diff_step(const struct repl *repl, uint32_t step)
{
    char label[64];
    printf("%s: largest difference\n  %7s", step_label(&repl->plan->steps[step], label), "token");
    for (uint32_t i = 0; i < repl->n_sides; i++) {
        for (uint32_t j = i + 1; j < repl->n_sides; j++) {
            char column[32];
            snprintf(column, sizeof(column), "%s-%s", source_name(repl->sides[i].source),
                     source_name(repl->sides[j].source));
            printf(" %24s", column);
        }
    }
    printf("\n");
    for (uint32_t p = 0; p < repl->sides[0].trace->n_positions && repl->n_sides > 1; p++) {
        printf("  %7u", p);
        for (uint32_t i = 0; i < repl->n_sides; i++) {
            for (uint32_t j = i + 1; j < repl->n_sides; j++) {
                print_difference(repl, &repl->sides[i], &repl->sides[j], step, p);
            }
        }
        printf("\n");
    }
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
        printf("no step introduced an error so far\n");
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
