/* print, stats, dump: show or write what the sides recorded. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/model.h"
#include "workbench/debugger/command.h"
#include "workbench/debugger/run/capture.h"
#include "workbench/trace/stage_list.h"

#define DEFAULT_DIMS 8 /* printed if no dims are given */

/* The values that print shows. */
struct selection {
    uint32_t step;
    uint32_t position;
    uint32_t first_dim, last_dim; /* [first, last) */
    struct repl_side *only;       /* NULL: all sides */
};

/* A side's row, or NULL where it was not recorded. */
static const float *side_row(const struct repl *repl, const struct repl_side *side, uint32_t step, uint32_t position)
{
    const struct trace_stage *stage =
        trace_find(side->trace, repl->plan->steps[step].layer, repl->plan->steps[step].stage);
    return stage != NULL && position < side->trace->n_positions ? trace_row(stage, position) : NULL;
}

/* One past the last position at which a side recorded the step; 0: none. side: NULL or the golden stands for the
 * leader. */
static uint32_t positions_ran(struct repl *repl, const struct repl_side *side, uint32_t step)
{
    if (repl->n_sides > 0 && (side == NULL || side->backend == NULL)) {
        side = repl_leader(repl);
    }
    uint32_t n = repl->n_sides == 0 ? 0 : side->trace->n_positions;
    while (n > 0 && side_row(repl, side, step, n - 1) == NULL) {
        n--;
    }
    return n;
}

static enum status not_run(const struct repl *repl, uint32_t step, struct error *err)
{
    char label[64];
    if (!repl_is_captured(repl, step)) {
        return error_set(err, STATUS_USAGE, NULL, step_label(&repl->plan->steps[step], label), ERROR_NO_OFFSET,
                         "is not read back, expected a checkpoint layer: set layers %d (or all), then run again",
                         repl->plan->steps[step].layer);
    }
    return error_set(err, STATUS_USAGE, NULL, step_label(&repl->plan->steps[step], label), ERROR_NO_OFFSET,
                     "did not run yet, expected step or continue first");
}

/* "5", or "-1" for the last position that ran. */
static enum status select_position(const char *word, uint32_t n_ran, uint32_t n_positions, struct selection *selection,
                                   struct error *err)
{
    int64_t position;
    TRY(word_number(word, "token", -(int64_t)n_ran, (int64_t)n_positions - 1, &position, err));
    selection->position = (uint32_t)(position < 0 ? position + n_ran : position);
    return STATUS_OK;
}

/* "334", or "330:338" for 330 to 337. */
static enum status select_dims(char *word, uint32_t width, struct selection *selection, struct error *err)
{
    int64_t first = 0, last;
    char *colon = strchr(word, ':');
    if (colon != NULL) {
        *colon = '\0';
    }
    TRY(word_number(word, "dim", 0, (int64_t)width - 1, &first, err));
    last = first + 1;
    if (colon != NULL) {
        TRY(word_number(colon + 1, "dim", first + 1, width, &last, err));
    }
    selection->first_dim = (uint32_t)first;
    selection->last_dim = (uint32_t)last;
    return STATUS_OK;
}

/* STAGE[@LAYER] [token] [dim|dim:dim] [from SIDE] */
static enum status select_values(struct repl *repl, const struct words *words, struct selection *selection,
                                 struct error *err)
{
    uint32_t n = words->n;
    struct repl_side *only = NULL;
    TRY(word_step(repl, words->word[0], &selection->step, NULL, err));
    if (n >= 3 && strcmp(words->word[n - 2], "from") == 0) {
        TRY(word_side(repl, words->word[n - 1], &only, err));
        n -= 2;
    }
    if (n > 3) {
        return error_set(err, STATUS_USAGE, NULL, "print", ERROR_NO_OFFSET,
                         "\"%s\" is one word too many, expected: print %s", words->word[3], words->command->args);
    }
    if (only == NULL || only->source == SOURCE_ENGINE) {
        TRY(repl_ensure_captured(repl, selection->step, err));
    }
    bool golden = only != NULL && only->backend == NULL; /* it also holds positions that are yet to run */
    uint32_t n_ran = positions_ran(repl, only, selection->step);
    uint32_t n_positions = golden ? only->trace->n_positions : n_ran;
    if (n_positions == 0) {
        return not_run(repl, selection->step, err);
    }
    n_ran = n_ran == 0 ? n_positions : n_ran;
    uint32_t width = repl->plan->steps[selection->step].width;
    selection->only = only;
    selection->position = n_ran - 1;
    selection->first_dim = 0;
    selection->last_dim = width < DEFAULT_DIMS ? width : DEFAULT_DIMS;
    if (n > 1) {
        TRY(select_position(words->word[1], n_ran, n_positions, selection, err));
    }
    return n > 2 ? select_dims(words->word[2], width, selection, err) : STATUS_OK;
}

enum status do_print(struct repl *repl, const struct words *words, struct error *err)
{
    struct selection selection;
    TRY(select_values(repl, words, &selection, err));
    char label[64];
    const struct step *step = &repl->plan->steps[selection.step];
    printf("%s, token %u, dims %u to %u of %u\n  %7s", step_label(step, label), selection.position, selection.first_dim,
           selection.last_dim - 1, step->width, "dim");
    const float *rows[REPL_MAX_SIDES];
    uint32_t n = 0;
    for (uint32_t i = 0; i < repl->n_sides; i++) {
        if (selection.only == NULL || selection.only == &repl->sides[i]) {
            rows[n++] = side_row(repl, &repl->sides[i], selection.step, selection.position);
            printf(" %16s", source_name(repl->sides[i].source));
        }
    }
    printf("\n");
    for (uint32_t dim = selection.first_dim; dim < selection.last_dim; dim++) {
        printf("  %7u", dim);
        for (uint32_t i = 0; i < n; i++) {
            if (rows[i] != NULL) {
                printf(" %16.9g", rows[i][dim]);
            } else {
                printf(" %16s", "-");
            }
        }
        printf("\n");
    }
    return STATUS_OK;
}

#define LARGEST_DIMS 10

/* What stats prints of a side. All but `nonfinite` are of the finite values of all rows. */
struct stats {
    uint32_t n_rows, worst_position, worst_dim;
    uint64_t n, n_positive, nonfinite;
    double sum, squares, low, high, most;
    float *largest; /* [width] the largest magnitude of each dim */
};

static void add_value(struct stats *stats, double value, uint32_t position, uint32_t dim)
{
    if (!isfinite(value)) {
        stats->nonfinite++;
        return;
    }
    stats->n++;
    stats->n_positive += value > 0;
    stats->sum += value;
    stats->squares += value * value;
    stats->low = fmin(stats->low, value);
    stats->high = fmax(stats->high, value);
    stats->largest[dim] = fmaxf(stats->largest[dim], (float)fabs(value));
    if (fabs(value) > stats->most) {
        stats->most = fabs(value);
        stats->worst_position = position;
        stats->worst_dim = dim;
    }
}

static void print_largest(float *largest, uint32_t width)
{
    printf("  %-9s largest dims", "");
    for (uint32_t i = 0; i < LARGEST_DIMS && i < width; i++) {
        uint32_t dim = argmax(largest, width);
        printf("%s %u: %.5g", i > 0 ? "," : "", dim, (double)largest[dim]);
        largest[dim] = -1; /* not again */
    }
    printf("\n");
}

/* Whether a side holds any row of the step up to the position. */
static bool holds_any(const struct repl *repl, const struct repl_side *side, uint32_t step)
{
    uint32_t end = step < repl->next ? repl->first + repl->n_rows : repl->first;
    for (uint32_t p = 0; p < end; p++) {
        if (side_row(repl, side, step, p) != NULL) {
            return true;
        }
    }
    return false;
}

/* Whether every side that holds rows of the step holds this one: statistics of unlike rows cannot be compared. */
static bool all_recorded(const struct repl *repl, uint32_t step, uint32_t position)
{
    for (uint32_t i = 0; i < repl->n_sides; i++) {
        const struct repl_side *side = &repl->sides[i];
        if (side_row(repl, side, step, position) == NULL && holds_any(repl, side, step)) {
            return false;
        }
    }
    return true;
}

/* The rows that every side holds: how many, and of how many that any side holds. */
static uint32_t count_alike(const struct repl *repl, uint32_t step, uint32_t *of)
{
    uint32_t end = step < repl->next ? repl->first + repl->n_rows : repl->first, n = 0;
    *of = 0;
    for (uint32_t p = 0; p < end; p++) {
        bool any = false;
        for (uint32_t i = 0; i < repl->n_sides; i++) {
            any = any || side_row(repl, &repl->sides[i], step, p) != NULL;
        }
        *of += any;
        n += any && all_recorded(repl, step, p);
    }
    return n;
}

/* Statistics span whole rows and stop at their end: statistics of five values, or of buffer padding, raised false
 * alarms (postmortems 2025-12-17 positive-bias-hidden-states, 2025-12-30 buffer-pool-trace-false-positives). */
static void print_stats(const struct repl *repl, const struct repl_side *side, uint32_t step, bool alike)
{
    uint32_t width = repl->plan->steps[step].width;
    struct stats stats = {.low = INFINITY, .high = -INFINITY, .most = -1};
    stats.largest = xcalloc(width, sizeof(*stats.largest));
    uint32_t end = step < repl->next ? repl->first + repl->n_rows : repl->first; /* a file has more rows than ran */
    for (uint32_t p = 0; p < end && p < side->trace->n_positions; p++) {
        const float *row = !alike || all_recorded(repl, step, p) ? side_row(repl, side, step, p) : NULL;
        stats.n_rows += row != NULL;
        for (uint32_t i = 0; row != NULL && i < width; i++) {
            add_value(&stats, row[i], p, i);
        }
    }
    printf("  %-9s %u rows", source_name(side->source), stats.n_rows);
    if (stats.n > 0) {
        double n = (double)stats.n;
        printf(", min %.6g, max %.6g, mean %.6g, rms %.6g, maxAbs %.6g at token %u dim %u, positive %.1f%%", stats.low,
               stats.high, stats.sum / n, sqrt(stats.squares / n), stats.most, stats.worst_position, stats.worst_dim,
               100 * (double)stats.n_positive / n);
    }
    printf(", nonfinite %llu\n", (unsigned long long)stats.nonfinite);
    if (stats.n > 0) {
        print_largest(stats.largest, width);
    }
    free(stats.largest);
}

enum status do_stats(struct repl *repl, const struct words *words, struct error *err)
{
    uint32_t step;
    TRY(word_step(repl, words->word[0], &step, NULL, err));
    TRY(repl_ensure_captured(repl, step, err));
    if (positions_ran(repl, NULL, step) == 0) {
        return not_run(repl, step, err);
    }
    char label[64];
    printf("%s, %u values a row\n", step_label(&repl->plan->steps[step], label), repl->plan->steps[step].width);
    uint32_t of, n = count_alike(repl, step, &of);
    if (n > 0 && n < of) {
        printf("  of the %u rows that every side holds, of %u\n", n, of);
    } else if (n == 0 && of > 0) {
        printf("  the sides hold no row in common: these are of different rows\n");
    }
    for (uint32_t i = 0; i < repl->n_sides; i++) {
        print_stats(repl, &repl->sides[i], step, n > 0);
    }
    return STATUS_OK;
}

/* Writes the recorded stages of a side, all or those wanted. wanted: [STAGE_COUNT], or NULL. */
static enum status write_stages(struct repl *repl, const struct repl_side *side, const bool *wanted, const char *path,
                                struct error *err)
{
    struct trace part = *side->trace; /* shares the rows */
    char producer[64];
    if (side->backend != NULL) {
        snprintf(producer, sizeof(producer), "lockstep %s", source_name(side->source));
        part.producer = producer;
        TRY(model_digests(&repl->session->model, part.weights_sha256, part.config_sha256, err));
    }
    part.stages = xcalloc((uint64_t)side->trace->n_stages + 1, sizeof(*part.stages));
    part.n_stages = 0;
    for (uint32_t i = 0; i < side->trace->n_stages; i++) {
        const struct trace_stage *stage = &side->trace->stages[i];
        bool own_choice = stage->stage == STAGE_sample_token && side->backend != NULL; /* no op computed it */
        if (stage->n_recorded > 0 && (wanted == NULL ? !own_choice : wanted[stage->stage])) {
            part.stages[part.n_stages++] = *stage;
        }
    }
    enum status status = trace_write(&part, path, err);
    if (status == STATUS_OK) {
        printf("%s: %u stages of %u positions, of the %s\n", path, part.n_stages, part.n_positions,
               source_name(side->source));
    }
    free(part.stages);
    return status;
}

enum status do_dump(struct repl *repl, const struct words *words, struct error *err)
{
    uint32_t n = words->n;
    if (repl->n_rows == 0) {
        return error_set(err, STATUS_USAGE, NULL, "dump", ERROR_NO_OFFSET,
                         "nothing ran yet, expected step or continue first");
    }
    struct repl_side *side = repl_leader(repl);
    bool stages[STAGE_COUNT];
    if (n >= 3 && strcmp(words->word[n - 2], "from") == 0) {
        TRY(word_side(repl, words->word[n - 1], &side, err));
        n -= 2;
    }
    if (n > 2) {
        return error_set(err, STATUS_USAGE, NULL, "dump", ERROR_NO_OFFSET,
                         "\"%s\" is one word too many, expected: dump %s", words->word[2], words->command->args);
    }
    if (n == 2) {
        TRY(stage_list_parse(words->word[1], stages, err));
    }
    return write_stages(repl, side, n == 2 ? stages : NULL, words->word[0], err);
}
