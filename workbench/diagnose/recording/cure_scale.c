/* The cure of stages that are recorded times a factor: before a scale or after one, or with a scale folded in that the
 * next op does not read. Only a stage that fails, and that a failing step reads, is divided: an engine whose next op
 * reads the recorded values has a bug. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "model/stop.h"
#include "workbench/audit/span.h"
#include "workbench/diagnose/recording/cure.h"
#include "workbench/diagnose/recording/recording.h"

#define MOST_STRAY 1e-3 /* rms of what a factor leaves, relative to the row: more is no factor, whatever is rounded */

bool cure_reads(const struct plan *plan, uint32_t reader, uint32_t step, const struct trace *trace)
{
    struct span_path path;
    bool reads = false;
    for (unsigned i = 0; i < OP_MAX_INPUTS && plan->steps[reader].input[i] >= 0; i++) {
        reads |= (uint32_t)plan->steps[reader].input[i] == step;
    }
    span_path_find(&path, plan, reader, trace);
    for (uint32_t i = 0; i < path.n_from; i++) {
        reads |= path.from[i] == step;
    }
    span_path_free(&path);
    return reads;
}

static bool any_failing_reader(const struct plan *plan, uint32_t s, const struct trace *trace, const struct cure *cure)
{
    for (uint32_t reader = s + 1; reader < plan->n_steps; reader++) {
        if (cure->before[reader] == STEP_FAILS && cure_reads(plan, reader, s, trace)) {
            return true;
        }
    }
    return false;
}

/* Sums over rows, recorded a and expected y. */
struct sums {
    double ay, yy, aa;
};

static bool is_multiple(const struct sums *sums)
{
    double left = sums->aa - sums->ay * sums->ay / sums->yy;
    return sums->yy > 0 && isfinite(left) && left < MOST_STRAY * MOST_STRAY * sums->aa;
}

/* The factor of a step's recorded values on what its inputs give; 0: they are no multiple. */
static double find_factor(const struct plan *plan, uint32_t s, const struct trace *trace)
{
    const struct step *step = &plan->steps[s];
    const struct trace_stage *stage = trace_find_step(trace, step);
    struct sums sums = {0};
    struct rows rows;
    rows_gather(&rows, plan, s, trace, NULL);
    double *y = xmalloc(step->width * sizeof(*y));
    for (uint32_t r = 0; r < rows.n && (r == 0 || is_multiple(&sums)) && !stop_asked(); r++) {
        struct op_batch batch = {
            .step = step, .weights_dtype = stage->weights_dtype, .n_rows = 1, .rows = rows.rows + r, .y = y};
        const float *actual = trace_row(stage, rows.rows[r].position);
        op_run(&batch);
        for (uint32_t d = 0; d < step->width; d++) {
            sums.ay += actual[d] * y[d];
            sums.yy += y[d] * y[d];
            sums.aa += (double)actual[d] * actual[d];
        }
    }
    free(y);
    double factor = rows.n >= 2 && is_multiple(&sums) ? sums.ay / sums.yy : 0;
    rows_free(&rows);
    return factor;
}

static void divide(struct trace_stage *stage, uint32_t n_positions, double factor)
{
    for (uint64_t i = 0; i < (uint64_t)n_positions * stage->width; i++) {
        stage->rows[i] = (float)(stage->rows[i] / factor);
    }
    /* The multiplication for the file rounded, and so does the division. */
    stage_set_rounded(stage, n_positions, 2 * trace_stage_coarsest(stage));
}

bool cure_scale(struct trace *trace, const struct plan *plan, struct cure *cure)
{
    char label[64] = "";
    uint32_t n = 0;
    double first = 0;
    for (uint32_t s = 0; s < plan->n_steps && !stop_asked(); s++) {
        struct trace_stage *stage = trace_find_step(trace, &plan->steps[s]);
        if (cure->before[s] != STEP_FAILS || !stage || stage_is_integer(stage->stage) ||
            !any_failing_reader(plan, s, trace, cure)) {
            continue;
        }
        double factor = find_factor(plan, s, cure->audited);
        if (factor == 0) {
            continue;
        }
        if (n++ == 0) {
            step_label(&plan->steps[s], label);
            first = factor;
        }
        divide(stage, trace->n_positions, factor);
        cure->changed[s] = 1;
    }
    char more[64] = "";
    if (n > 1) {
        snprintf(more, sizeof(more), ", and so %u further stages are multiples", n - 1);
    }
    cure->name = "recorded-multiple";
    snprintf(
        cure->text, sizeof(cure->text),
        "%s is recorded %.6g times what its inputs give%s, and what reads it has the right values; record the tensor "
        "that the next op reads",
        label, first, more);
    return n > 0;
}
