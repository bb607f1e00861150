#include "workbench/audit/span.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "reference/bounds.h"
#include "workbench/audit/audit.h"
#include "workbench/audit/rows.h"

void spans_open(struct spans *spans, const struct plan *plan, const struct trace *trace)
{
    *spans = (struct spans){.plan = plan, .trace = trace};
    spans->span = xcalloc(plan->n_steps, sizeof(*spans->span));
}

static void span_free(struct span *span)
{
    if (!span) {
        return;
    }
    free(span->stage.rows);
    free(span->stage.recorded);
    free(span->error);
    free(span->tried);
    free(span->origin);
    free(span);
}

void spans_close(struct spans *spans)
{
    for (uint32_t s = 0; s < spans->plan->n_steps; s++) {
        span_free(spans->span[s]);
    }
    free(spans->span);
    *spans = (struct spans){0};
}

/* Whether a step may still have to be computed from its inputs: its output is neither recorded nor computed yet. */
static bool may_be_computed(const struct spans *spans, uint32_t step)
{
    const struct trace_stage *stage = trace_find_step(spans->trace, &spans->plan->steps[step]);
    bool recorded = stage && stage->n_recorded == spans->trace->n_positions;
    return !recorded && !spans->span[step];
}

void spans_forget(struct spans *spans, uint32_t step)
{
    const struct plan *plan = spans->plan;
    for (uint32_t s = 0; s < step; s++) {
        bool needed = !spans->span[s];
        for (uint32_t t = s + 1; t < plan->n_steps && !needed; t++) {
            for (unsigned i = 0; i < OP_MAX_INPUTS; i++) {
                needed |= plan->steps[t].input[i] == (int32_t)s && (t >= step || may_be_computed(spans, t));
            }
        }
        if (needed) {
            continue;
        }
        span_free(spans->span[s]);
        spans->span[s] = NULL;
    }
}

/* A span that holds only the recorded rows. The rows of an optional stage are computed even where they are recorded: a
 * file's copy may be rounded differently from what the run used (may_differ_from_run in rows.c). */
static struct span *span_new(const struct step *step, const struct trace *trace)
{
    uint64_t n_values = (uint64_t)trace->n_positions * step->width;
    const struct trace_stage *recorded = trace_find_step(trace, step);
    struct span *span = xcalloc(1, sizeof(*span));
    span->stage = (struct trace_stage){.layer = step->layer, .stage = step->stage, .width = step->width};
    span->stage.rows = xcalloc(n_values, sizeof(*span->stage.rows));
    span->stage.recorded = xcalloc(trace->n_positions, 1);
    span->tried = xcalloc(trace->n_positions, 1);
    span->error = xcalloc(n_values, sizeof(*span->error));
    span->origin = xmalloc(trace->n_positions * sizeof(*span->origin));
    for (uint32_t p = 0; p < trace->n_positions; p++) {
        span->origin[p] = ORIGIN_RECORDED;
    }
    for (uint32_t p = 0; p < trace->n_positions && recorded && !step->optional; p++) {
        span->tried[p] = span->stage.recorded[p] = recorded->recorded[p];
        if (recorded->recorded[p]) {
            memcpy(span->stage.rows + (uint64_t)p * step->width, trace_row(recorded, p), step->width * sizeof(float));
        }
    }
    return span;
}

/* Stores a computed row, rounded to f32, which adds to its error. A row with an infinite bound is not stored.
 *
 * Ops add up the errors of their inputs as independent errors, each given as BOUND_LAMBDA = 12 standard deviations; the
 * bounds of sums have that meaning. The bound of a store in less than f32 is that of a single rounding, u |y|. Such an
 * error is uniform within +-u |y|, so 12 standard deviations of it are 12 / sqrt(3) times the bound. The rounding of a
 * store in f32 is small beside the bounds of sums. */
static void span_keep(struct span *span, uint32_t position, const struct arith *arith, const double *y,
                      const double *bound)
{
    double store = arith->u_storage > arith->u_sum ? (BOUND_LAMBDA / sqrt(3) - 1) * arith->u_storage : 0;
    uint32_t width = span->stage.width;
    float *row = span->stage.rows + (uint64_t)position * width;
    double *error = span->error + (uint64_t)position * width;
    bool known = true;
    for (uint32_t i = 0; i < width; i++) {
        row[i] = (float)y[i];
        error[i] = isfinite(row[i]) ? bound[i] + fabs(y[i] - row[i]) + store * fabs(y[i]) : 0;
        known &= isfinite(error[i]);
    }
    span->stage.recorded[position] = known;
}

/* Rounds a computed row to what a whole run stores. */
static void round_computed(const struct spans *spans, double *y, uint32_t width)
{
    for (uint32_t i = 0; i < width && spans->stored != ROUNDING_NONE; i++) {
        y[i] = round_number((enum rounding_type)spans->stored, y[i]);
    }
}

/* Rows as they are computed: what is rounded for the file alone is what the file holds. arith[phase]: of these rows. */
static struct op_row *rows_unrounded(const struct rows *rows, struct arith arith[2])
{
    struct op_row *copy = xmalloc((rows->n + 1) * sizeof(*copy));
    for (uint32_t r = 0; r < rows->n; r++) {
        copy[r] = rows->rows[r];
        arith[copy[r].decode] = *copy[r].arith;
        arith[copy[r].decode].u_rounded = 0;
        copy[r].arith = &arith[copy[r].decode];
    }
    return copy;
}

static void span_compute(struct span *span, const struct step *step, const struct spans *spans, const struct rows *rows)
{
    const struct trace *trace = spans->trace;
    uint32_t width = step->width, at_once = rows_at_once(rows->n, width);
    struct arith arith[2];
    struct op_row *unrounded = rows_unrounded(rows, arith);
    double *y = xcalloc((uint64_t)at_once * width, sizeof(*y));
    double *bound = xcalloc((uint64_t)at_once * width, sizeof(*bound));
    for (uint32_t first = 0; first < rows->n; first += at_once) {
        struct op_batch batch = {.step = step,
                                 .weights_dtype = trace->weights_dtype,
                                 .n_rows = rows->n - first < at_once ? rows->n - first : at_once,
                                 .rows = unrounded + first,
                                 .y = y,
                                 .bound = spans->values_only ? NULL : bound};
        op_run(&batch);
        for (uint32_t r = 0; r < batch.n_rows; r++) {
            uint32_t position = batch.rows[r].position;
            round_computed(spans, y + (uint64_t)r * width, width);
            span_keep(span, position, batch.rows[r].arith, y + (uint64_t)r * width, bound + (uint64_t)r * width);
            span->origin[position] = spans->whole_run ? ORIGIN_TOKENS : rows->origin[first + r];
        }
    }
    free(bound);
    free(y);
    free(unrounded);
}

/* Whether a recorded row is further from the computed one than the span's bound: the row, or an input of it, is wrong.
 */
static bool strays(const float *computed, const double *error, const float *recorded, uint32_t width)
{
    for (uint32_t i = 0; i < width; i++) {
        if (judge(computed[i], recorded[i], error[i]) > 1) {
            return true;
        }
    }
    return false;
}

/* Replaces computed rows of an optional stage by recorded rows that stray. The error is then reported where it was
 * introduced, and later steps only inherit it. The recorded row may be another rounding of the row that was used, so
 * each of the two can be off by the span's error: the error doubles. A row that does not stray stays as computed; the
 * row that was used is within the span's error of it. */
static void span_adopt(struct span *span, const struct trace_stage *recorded, const uint8_t *asked,
                       uint32_t n_positions)
{
    uint32_t width = recorded->width;
    for (uint32_t p = 0; p < n_positions; p++) {
        const float *row = trace_row(recorded, p);
        float *computed = span->stage.rows + (uint64_t)p * width;
        double *error = span->error + (uint64_t)p * width;
        if (!asked[p] || !row || !span->stage.recorded[p] || !strays(computed, error, row, width)) {
            continue;
        }
        memcpy(computed, row, width * sizeof(*row));
        for (uint32_t i = 0; i < width; i++) {
            error[i] *= 2;
        }
    }
}

const struct span *spans_get(struct spans *spans, uint32_t step_index, const uint8_t *need)
{
    const struct step *step = &spans->plan->steps[step_index];
    const struct trace *trace = spans->trace;
    if (spans->base && !spans->touched[step_index]) {
        return spans_get(spans->base, step_index, need);
    }
    if (!spans->span[step_index]) {
        spans->span[step_index] = span_new(step, trace);
    }
    struct span *span = spans->span[step_index];
    uint8_t *asked = xcalloc(trace->n_positions, 1), *inherited = xcalloc(trace->n_positions, 1);
    bool any = false;
    for (uint32_t p = 0; p < trace->n_positions; p++) {
        any |= asked[p] = need[p] && !span->tried[p];
    }
    if (any) {
        struct rows rows;
        rows_gather_inputs(&rows, spans, step_index, asked, inherited);
        span_compute(span, step, spans, &rows);
        rows_free(&rows);
        for (uint32_t p = 0; p < trace->n_positions; p++) {
            span->tried[p] |= asked[p];
            if (!inherited[p]) {
                continue;
            }
            span->stage.rows[(uint64_t)p * step->width] = NAN; /* what reads it inherits it */
            span->stage.recorded[p] = 1;
        }
        const struct trace_stage *recorded = trace_find_step(trace, step);
        if (step->optional && recorded && recorded->n_recorded > 0) {
            span_adopt(span, recorded, asked, trace->n_positions);
        }
    }
    free(inherited);
    free(asked);
    return span;
}
