/* plot: a stage as a heat map, or as bars if it has one row; in the terminal, or to a file through matplotlib. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/stop.h"
#include "workbench/audit/audit.h"
#include "workbench/debugger/command.h"
#include "workbench/debugger/run/capture.h"
#include "workbench/python/python.h"
#include "workbench/text/terminal.h"

#define DEFAULT_WIDTH 80
#define MARGIN 10 /* columns that the row's name takes */

/* What is drawn of a stage. */
enum measure { VALUES, RATIO, DIFFERENCE };

/* What a value of the grid may be beside a number. NAN: not finite. */
#define NOT_THERE (-INFINITY) /* it did not run, is not recorded or cannot be judged */

/* The values to draw: finite, NAN, or NOT_THERE. */
struct grid {
    uint32_t n_rows, n_columns;
    float *values; /* [n_rows, n_columns] */
    const char *row_name, *column_name;
    char title[160];
};

/* What is drawn, of which side; the difference: from which other one. */
struct subject {
    enum measure measure;
    const struct repl_side *side, *other;
};

static float finite_or_nan(double value)
{
    return isfinite(value) ? (float)value : NAN;
}

/* The ratio of each value of a side's step to its bound, [n_positions, width], or NOT_THERE. malloc'ed. */
static float *step_ratios(const struct repl *repl, const struct repl_side *side, uint32_t s)
{
    const struct step *step = &repl->plan->steps[s];
    const struct trace_stage *stage = trace_find_step(side->trace, step);
    uint64_t width = step->width, n = (uint64_t)side->trace->n_positions * width;
    float *ratios = xmalloc(n * sizeof(*ratios));
    struct rows rows;
    for (uint64_t i = 0; i < n; i++) {
        ratios[i] = NOT_THERE;
    }
    if (stage == NULL || stage->n_recorded == 0) {
        return ratios;
    }
    rows_gather(&rows, repl->plan, s, side->trace, NULL);
    double *expected = xmalloc(width * sizeof(*expected)), *bound = xmalloc(width * sizeof(*bound));
    for (uint32_t r = 0; r < rows.n && !stop_asked(); r++) {
        struct op_batch one = {step, stage->weights_dtype, 1, &rows.rows[r], expected, bound};
        const float *actual = trace_row(stage, rows.rows[r].position);
        op_run(&one);
        if (!row_is_undecidable(&rows.rows[r], step->width, actual, expected, bound)) {
            for (uint64_t i = 0; i < width; i++) {
                ratios[rows.rows[r].position * width + i] = finite_or_nan(judge(expected[i], actual[i], bound[i]));
            }
        }
    }
    free(expected);
    free(bound);
    rows_free(&rows);
    return ratios;
}

static const float *row_at(const struct repl *repl, const struct repl_side *side, uint32_t s, uint32_t position)
{
    const struct trace_stage *stage = side != NULL ? trace_find_step(side->trace, &repl->plan->steps[s]) : NULL;
    return stage != NULL && position < side->trace->n_positions ? trace_row(stage, position) : NULL;
}

/* What is drawn of a step: [n_positions, width]. malloc'ed. */
static float *step_values(const struct repl *repl, const struct subject *subject, uint32_t s)
{
    uint64_t width = repl->plan->steps[s].width;
    uint32_t n_positions = subject->side->trace->n_positions;
    if (subject->measure == RATIO) {
        return step_ratios(repl, subject->side, s);
    }
    float *values = xmalloc(n_positions * width * sizeof(*values));
    for (uint32_t p = 0; p < n_positions; p++) {
        const float *row = row_at(repl, subject->side, s, p), *other = row_at(repl, subject->other, s, p);
        bool there = row != NULL && (other != NULL || subject->measure == VALUES);
        for (uint64_t i = 0; i < width; i++) {
            double less = subject->measure == DIFFERENCE && there ? (double)other[i] : 0;
            values[p * width + i] = there ? finite_or_nan((double)row[i] - less) : NOT_THERE;
        }
    }
    return values;
}

/* One number of a row: the rms of its values; of ratios the largest. */
static float row_summary(const float *row, uint32_t width, enum measure measure)
{
    double squares = 0, most = NOT_THERE;
    for (uint32_t i = 0; i < width; i++) {
        if (row[i] == NOT_THERE) {
            return NOT_THERE;
        }
        most = isnan(row[i]) || isnan(most) ? NAN : fmax(most, row[i]);
        squares += (double)row[i] * row[i];
    }
    return measure == RATIO ? (float)most : (float)sqrt(squares / width);
}

static const char *measure_text(const struct subject *subject, bool summary, char text[96])
{
    const char *side = source_name(subject->side->source);
    if (subject->measure == VALUES) {
        snprintf(text, 96, "%s", summary ? "rms" : "values");
    } else if (subject->measure == RATIO) {
        snprintf(text, 96, "%s of %s", summary ? "largest audit ratio" : "audit ratio", side);
    } else {
        snprintf(text, 96, "%s %s - %s", summary ? "rms of" : "difference", side, source_name(subject->other->source));
    }
    return text;
}

/* A stage of all layers: layer by token. */
static void fill_layers(const struct repl *repl, enum stage stage, const struct subject *subject, struct grid *grid)
{
    uint32_t n = subject->side->trace->n_positions;
    char text[96];
    *grid = (struct grid){.n_columns = n, .n_rows = repl->plan->n_layers, .row_name = "layer", .column_name = "token"};
    grid->values = xmalloc((uint64_t)grid->n_rows * n * sizeof(float));
    snprintf(grid->title, sizeof(grid->title), "%s: %s, layer by token", stage_name(stage),
             measure_text(subject, true, text));
    for (uint32_t layer = 0; layer < grid->n_rows; layer++) {
        int32_t step = plan_find(repl->plan, (int32_t)layer, stage);
        float *values = step >= 0 ? step_values(repl, subject, (uint32_t)step) : NULL;
        for (uint32_t p = 0; p < n; p++) {
            uint32_t width = step >= 0 ? repl->plan->steps[step].width : 0;
            grid->values[(uint64_t)layer * n + p] =
                step >= 0 ? row_summary(values + (uint64_t)p * width, width, subject->measure) : NOT_THERE;
        }
        free(values);
    }
}

/* One step: token by dim. */
static void fill_step(const struct repl *repl, uint32_t step, const struct subject *subject, struct grid *grid)
{
    char label[64], text[96];
    *grid = (struct grid){.n_rows = subject->side->trace->n_positions,
                          .n_columns = repl->plan->steps[step].width,
                          .values = step_values(repl, subject, step),
                          .row_name = "token",
                          .column_name = "dim"};
    snprintf(grid->title, sizeof(grid->title), "%s: %s, token by dim", step_label(&repl->plan->steps[step], label),
             measure_text(subject, false, text));
}

/* The largest magnitude among the values of a row that share column `at` of the `n` drawn; NaN if one of them is. */
static double cell(const struct grid *grid, uint32_t row, uint32_t at, uint32_t n)
{
    uint64_t first = (uint64_t)at * grid->n_columns / n, last = (uint64_t)(at + 1) * grid->n_columns / n;
    double most = NOT_THERE;
    for (uint64_t i = first; i < last; i++) {
        float value = grid->values[(uint64_t)row * grid->n_columns + i];
        if (isnan(value)) {
            return NAN;
        }
        most = value == NOT_THERE ? most : fmax(most, fabs((double)value));
    }
    return most;
}

/* Draws in the terminal, on a logarithmic scale: a residual may grow a hundredfold from layer to layer. */
static void draw(const struct grid *grid)
{
    static const char *const shades[] = {" ", "░", "▒", "▓", "█"}, *const bars[] = {"▁", "▂", "▃", "▄",
                                                                                    "▅", "▆", "▇", "█"};
    const char *const *marks = grid->n_rows == 1 ? bars : shades;
    int n_marks = grid->n_rows == 1 ? 8 : 5;
    uint32_t width = terminal_width() > 0 ? terminal_width() : DEFAULT_WIDTH, n = width - MARGIN - 1;
    n = n < grid->n_columns ? n : grid->n_columns;
    double low = INFINITY, high = 0;
    bool absent = false;
    for (uint32_t r = 0; r < grid->n_rows; r++) {
        for (uint32_t c = 0; c < n; c++) {
            double value = cell(grid, r, c, n);
            low = isfinite(value) && value > 0 ? fmin(low, value) : low;
            high = isfinite(value) ? fmax(high, value) : high;
            absent = absent || isinf(value);
        }
    }
    printf("%s\n", grid->title);
    for (uint32_t r = 0; r < grid->n_rows; r++) {
        printf("%5s %3u ", grid->row_name, r);
        for (uint32_t c = 0; c < n; c++) {
            double value = cell(grid, r, c, n);
            double share = low < high && value > low ? log(value / low) / log(high / low) : 0;
            int mark = (int)(share * n_marks);
            printf("%s", isinf(value) ? "·" : isfinite(value) ? marks[mark < n_marks ? mark : n_marks - 1] : "!");
        }
        printf("\n");
    }
    printf("%*s%s 0 to %u; \"%s\" is %.4g, \"%s\" is %.4g, ! is nonfinite%s\n", MARGIN, "", grid->column_name,
           grid->n_columns - 1, marks[0], low < high ? low : 0, marks[n_marks - 1], high,
           absent ? ", · did not run or cannot be judged" : "");
}

static enum status save(struct repl *repl, const char *path, const struct grid *grid, struct error *err)
{
    const struct plot plot = {
        .values = grid->values,
        .n_rows = grid->n_rows,
        .n_columns = grid->n_columns,
        .title = grid->title,
        .row_name = grid->row_name,
        .column_name = grid->column_name,
    };
    repl->python_used = true;
    for (uint64_t i = 0; i < (uint64_t)grid->n_rows * grid->n_columns; i++) {
        grid->values[i] = grid->values[i] == NOT_THERE ? NAN : grid->values[i]; /* left blank */
    }
    TRY(python_plot(path, &plot, err));
    printf("%s: %s\n", path, grid->title);
    return STATUS_OK;
}

/* STAGE[@LAYER] [ratio|difference] [FILE.png]: what is drawn, and *path, or NULL. */
static enum status parse_subject(struct repl *repl, const struct words *words, struct subject *subject,
                                 const char **path, struct error *err)
{
    uint32_t n = 1;
    *subject = (struct subject){.measure = VALUES, .side = repl_leader(repl)};
    *path = NULL;
    if (words->n > 1 && strcmp(words->word[1], "ratio") == 0) {
        subject->measure = RATIO;
        n = 2;
    } else if (words->n > 1 && strcmp(words->word[1], "difference") == 0) {
        subject->measure = DIFFERENCE;
        subject->other = repl_side_of(repl, SOURCE_GOLDEN);
        subject->other = subject->other != NULL ? subject->other : repl_side_of(repl, SOURCE_REFERENCE);
        n = 2;
        if (subject->other == NULL || subject->other == subject->side) {
            return error_set(err, STATUS_USAGE, NULL, "plot", ERROR_NO_OFFSET,
                             "there is no other side to differ from, expected load golden FILE first");
        }
    }
    if (words->n > n + 1 || (words->n == n + 1 && strchr(words->word[n], '.') == NULL)) {
        return words_refuse(words, n, err);
    }
    *path = words->n == n + 1 ? words->word[n] : NULL;
    return STATUS_OK;
}

enum status do_plot(struct repl *repl, const struct words *words, struct error *err)
{
    uint32_t step;
    bool layer_given;
    TRY(word_step(repl, words->word[0], &step, &layer_given, err));
    if (repl->n_batches == 0) {
        return error_set(err, STATUS_USAGE, NULL, "plot", ERROR_NO_OFFSET,
                         "nothing ran yet, expected step or continue first");
    }
    struct grid grid;
    struct subject subject;
    const char *path;
    TRY(parse_subject(repl, words, &subject, &path, err));
    if (!layer_given && repl->plan->steps[step].layer != LAYER_NONE) {
        fill_layers(repl, repl->plan->steps[step].stage, &subject, &grid);
    } else {
        TRY(repl_ensure_captured(repl, step, err));
        fill_step(repl, step, &subject, &grid);
    }
    enum status status = stop_check(err);
    if (status == STATUS_OK && path == NULL) {
        draw(&grid);
    } else if (status == STATUS_OK) {
        status = save(repl, path, &grid, err);
    }
    free(grid.values);
    return status;
}
