/* plot: a stage as a heat map, or as bars if it has one row; in the terminal, or to a file through matplotlib. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "workbench/debugger/command.h"
#include "workbench/debugger/run/capture.h"
#include "workbench/python/python.h"

#define DEFAULT_WIDTH 80
#define MARGIN 10 /* columns that the row's name takes */

/* The values to draw. */
struct grid {
    uint32_t n_rows, n_columns;
    float *values; /* [n_rows, n_columns]; NaN: not recorded */
    const char *row_name, *column_name;
    char title[128];
};

static const struct trace_stage *leader_stage(struct repl *repl, uint32_t step)
{
    const struct step *at = &repl->plan->steps[step];
    return trace_find(repl_leader(repl)->trace, at->layer, at->stage);
}

static float row_rms(const float *row, uint32_t width)
{
    double squares = 0;
    for (uint32_t i = 0; i < width; i++) {
        squares += (double)row[i] * row[i];
    }
    return (float)sqrt(squares / width);
}

/* A stage of all layers: rms, layer by token. */
static void fill_layers(struct repl *repl, enum stage stage, struct grid *grid)
{
    uint32_t n = repl_leader(repl)->trace->n_positions;
    *grid = (struct grid){.n_columns = n, .n_rows = repl->plan->n_layers, .row_name = "layer", .column_name = "token"};
    grid->values = xcalloc((uint64_t)grid->n_rows * n, sizeof(float));
    snprintf(grid->title, sizeof(grid->title), "%s: rms, layer by token", stage_name(stage));
    for (uint32_t layer = 0; layer < grid->n_rows; layer++) {
        int32_t step = plan_find(repl->plan, (int32_t)layer, stage);
        const struct trace_stage *rows = step >= 0 ? leader_stage(repl, (uint32_t)step) : NULL;
        for (uint32_t p = 0; p < n; p++) {
            const float *row = rows != NULL ? trace_row(rows, p) : NULL;
            grid->values[(uint64_t)layer * n + p] = row != NULL ? row_rms(row, rows->width) : NAN;
        }
    }
}

/* One step: its values, token by dim. */
static void fill_step(struct repl *repl, uint32_t step, struct grid *grid)
{
    const struct trace_stage *stage = leader_stage(repl, step);
    char label[64];
    *grid = (struct grid){.n_rows = repl_leader(repl)->trace->n_positions,
                          .n_columns = stage->width,
                          .row_name = "token",
                          .column_name = "dim"};
    grid->values = xcalloc((uint64_t)grid->n_rows * grid->n_columns, sizeof(float));
    snprintf(grid->title, sizeof(grid->title), "%s: values, token by dim", step_label(&repl->plan->steps[step], label));
    for (uint32_t p = 0; p < grid->n_rows; p++) {
        const float *row = trace_row(stage, p);
        for (uint32_t i = 0; i < stage->width; i++) {
            grid->values[(uint64_t)p * stage->width + i] = row != NULL ? row[i] : NAN;
        }
    }
}

static uint32_t plot_width(const struct repl *repl)
{
    struct winsize size;
    if (repl->settings.width > 0) {
        return repl->settings.width;
    }
    return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : DEFAULT_WIDTH;
}

/* The largest magnitude among the values of a row that share column `at` of the `n` drawn; NaN if one of them is. */
static double cell(const struct grid *grid, uint32_t row, uint32_t at, uint32_t n)
{
    uint64_t first = (uint64_t)at * grid->n_columns / n, last = (uint64_t)(at + 1) * grid->n_columns / n;
    double most = -1;
    for (uint64_t i = first; i < last; i++) {
        double value = fabs(grid->values[(uint64_t)row * grid->n_columns + i]);
        if (isnan(value)) {
            return NAN;
        }
        most = fmax(most, value);
    }
    return most;
}

/* Draws in the terminal, on a logarithmic scale: a residual may grow a hundredfold from layer to layer. */
static void draw(const struct repl *repl, const struct grid *grid)
{
    static const char *const shades[] = {" ", "░", "▒", "▓", "█"}, *const bars[] = {"▁", "▂", "▃", "▄",
                                                                                    "▅", "▆", "▇", "█"};
    const char *const *marks = grid->n_rows == 1 ? bars : shades;
    int n_marks = grid->n_rows == 1 ? 8 : 5;
    uint32_t width = plot_width(repl), n = width > MARGIN + 10 ? width - MARGIN - 1 : 10;
    n = n < grid->n_columns ? n : grid->n_columns;
    double low = INFINITY, high = 0;
    for (uint32_t r = 0; r < grid->n_rows; r++) {
        for (uint32_t c = 0; c < n; c++) {
            double value = cell(grid, r, c, n);
            low = isfinite(value) && value > 0 ? fmin(low, value) : low;
            high = isfinite(value) ? fmax(high, value) : high;
        }
    }
    printf("%s; \"%s\" is %.4g, \"%s\" is %.4g, ! is nonfinite or not recorded\n", grid->title, marks[0],
           low < high ? low : 0, marks[n_marks - 1], high);
    for (uint32_t r = 0; r < grid->n_rows; r++) {
        printf("%5s %3u ", grid->row_name, r);
        for (uint32_t c = 0; c < n; c++) {
            double value = cell(grid, r, c, n);
            double share = low < high && value > low ? log(value / low) / log(high / low) : 0;
            int mark = (int)(share * n_marks);
            printf("%s", isfinite(value) ? marks[mark < n_marks ? mark : n_marks - 1] : "!");
        }
        printf("\n");
    }
    printf("%*s%s 0 to %u\n", MARGIN, "", grid->column_name, grid->n_columns - 1);
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
    if (!layer_given && repl->plan->steps[step].layer != LAYER_NONE) {
        fill_layers(repl, repl->plan->steps[step].stage, &grid);
    } else {
        TRY(repl_ensure_captured(repl, step, err));
        fill_step(repl, step, &grid);
    }
    enum status status = STATUS_OK;
    if (words->n == 1) {
        draw(repl, &grid);
    } else {
        repl->python_used = true;
        const struct plot plot = {
            .values = grid.values,
            .n_rows = grid.n_rows,
            .n_columns = grid.n_columns,
            .title = grid.title,
            .row_name = grid.row_name,
            .column_name = grid.column_name,
        };
        status = python_plot(words->word[1], &plot, err);
        if (status == STATUS_OK) {
            printf("%s: %s\n", words->word[1], grid.title);
        }
    }
    free(grid.values);
    return status;
}
