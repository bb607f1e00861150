/* Which rows of a step can be judged, from what a trace holds, and how one value is judged. */
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "workbench/audit.h"

/* What computing a span's rows takes at once, at most. */
#define SPAN_BYTES ((uint64_t)64 << 20)

/* An optional stage between required ones. */
struct span {
    struct trace_stage stage; /* rows, recorded */
    double *error;            /* [n_positions, width] the most that each value can be off */
};
static struct span *span_compute(const struct plan *plan, uint32_t step_index, const struct trace *trace);

double judge(double expected, double actual, double bound)
{
    if (!isfinite(expected) && !isfinite(actual))
        return NAN;
    if (!isfinite(expected) || !isfinite(actual))
        return INFINITY;
    double error = fabs(actual - expected);
    if (error == 0)
        return 0;
    return bound > 0 ? error / bound : INFINITY;
}

static bool row_is_finite(const float *row, uint32_t width)
{
    for (uint32_t i = 0; i < width; i++)
        if (!isfinite(row[i]))
            return false;
    return true;
}

/* Whether the sum of squares of each group is a float32. Where it is not, every kernel makes zeros of finite values,
 * and the error is that of the op upstream that made them so large (a flipped exponent bit). */
static bool squares_are_finite(const float *row, const struct rms_norm_params *params)
{
    for (uint32_t g = 0; g < params->groups; g++) {
        double squares = 0;
        for (uint32_t i = 0; i < params->dim; i++)
            squares += (double)row[g * params->dim + i] * row[g * params->dim + i];
        if (squares > FLT_MAX)
            return false;
    }
    return true;
}

/* The state of one input over positions, kept while they are walked in order: for attention's keys and values every
 * visible position counts, for any other input the own one alone. */
struct input {
    const struct trace_stage *stage;
    int64_t last_missing, last_nonfinite; /* positions; -1: none so far */
};

static void input_advance(struct input *input, const struct step *step, uint32_t position)
{
    const float *row = input->stage ? trace_row(input->stage, position) : NULL;
    if (!row)
        input->last_missing = position;
    else if (!row_is_finite(row, input->stage->width) ||
             (step->op == OP_rms_norm && !squares_are_finite(row, &step->params.rms_norm)))
        input->last_nonfinite = position;
}

/* The first position that an input of this position needs. */
static uint32_t first_needed(const struct step *step, unsigned input, uint32_t position)
{
    if (step->op != OP_attention || input == 0)
        return position;
    uint32_t window = step->params.attention.window;
    return window == 0 || position < window ? 0 : position - window + 1;
}

static const float *input_rows(const struct step *step, unsigned input, const struct trace_stage *stage,
                               uint32_t position)
{
    bool from_start = step->op == OP_attention && input > 0;
    return stage->rows + (from_start ? 0 : (uint64_t)position * stage->width);
}

/* The inputs of a step. An optional stage that is missing is computed. One in a file may have been computed beside the
 * run, for a fused kernel never stores it: then a required stage was made of another rounding of it, and is judged from
 * the required stages that the span starts at (span_adopt has the exception). */
static unsigned find_inputs(struct input inputs[OP_MAX_INPUTS], struct rows *rows, const struct plan *plan,
                            const struct step *step, const struct trace *trace, bool in_span)
{
    unsigned n = 0;
    for (; n < OP_MAX_INPUTS && step->input[n] >= 0; n++) {
        const struct step *from = &plan->steps[step->input[n]];
        const struct trace_stage *stage = trace_find(trace, from->layer, from->stage);
        bool absent = !stage || stage->n_recorded == 0;
        if (from->optional && (absent || in_span || (trace->from_file && !step->optional))) {
            rows->spans[n] = span_compute(plan, (uint32_t)step->input[n], trace);
            stage = &rows->spans[n]->stage;
        }
        inputs[n] = (struct input){stage, -1, -1};
    }
    return n;
}

/* The rows of a step at the positions that its output holds (NULL: all, for a span). inherited[p], if asked for: an
 * input is not finite there. */
static void gather(struct rows *rows, const struct plan *plan, const struct step *step, const struct trace *trace,
                   const struct trace_stage *output, uint8_t *inherited)
{
    struct input inputs[OP_MAX_INPUTS];
    *rows = (struct rows){0};
    unsigned n_inputs = find_inputs(inputs, rows, plan, step, trace, output == NULL);
    rows->rows = xcalloc(trace->n_positions, sizeof *rows->rows);
    for (uint32_t p = 0; p < trace->n_positions; p++) {
        bool missing = false, nonfinite = false;
        struct op_row *row = &rows->rows[rows->n];
        *row = (struct op_row){.arith = output ? &output->arith : &trace->arith,
                               .recorded = output ? trace_row(output, p) : NULL,
                               .position = p,
                               .token = trace->tokens[p],
                               .decode = trace->phase[p] == PHASE_DECODE};
        for (unsigned i = 0; i < n_inputs; i++) {
            input_advance(&inputs[i], step, p);
            int64_t first = first_needed(step, i, p);
            missing |= inputs[i].last_missing >= first;
            nonfinite |= inputs[i].last_nonfinite >= first;
            if (inputs[i].stage)
                row->in[i] = input_rows(step, i, inputs[i].stage, p);
            if (rows->spans[i])
                row->error[i] = rows->spans[i]->error + (uint64_t)p * inputs[i].stage->width;
        }
        if (output && !output->recorded[p])
            continue;
        if (inherited)
            inherited[p] = !missing && nonfinite;
        if (missing)
            rows->n_unaudited++;
        else if (nonfinite)
            rows->n_inherited++;
        else
            rows->n++;
    }
}

/* Takes computed rows into a span: rounded to f32, which adds to how far they can be off. */
static void span_keep(struct span *span, const struct op_batch *batch)
{
    uint32_t width = span->stage.width;
    for (uint32_t r = 0; r < batch->n_rows; r++) {
        uint64_t to = (uint64_t)batch->rows[r].position * width, from = (uint64_t)r * width;
        for (uint32_t i = 0; i < width; i++) {
            float value = (float)batch->y[from + i];
            span->stage.rows[to + i] = value;
            span->error[to + i] = batch->bound[from + i] + fabs(batch->y[from + i] - value);
        }
        span->stage.recorded[batch->rows[r].position] = 1;
    }
}

/* Whether a recorded row is off by more than the span allows: it, or what it was made of, carries an error. */
static bool strays(const float *computed, const double *error, const float *recorded, uint32_t width)
{
    for (uint32_t i = 0; i < width; i++)
        if (judge(computed[i], recorded[i], error[i]) > 1)
            return true;
    return false;
}

/* A recorded row takes the place of the computed one where it strays: the error is told of where it was introduced, and
 * what follows only inherits it. The row may be another rounding of what was used, each off by the span's error. A row
 * that does not stray changes nothing: whatever rounding of it was used, it is within the error of the computed one,
 * once. */
static void span_adopt(struct span *span, const struct trace_stage *recorded, uint32_t n_positions)
{
    uint32_t width = recorded->width;
    for (uint32_t p = 0; p < n_positions; p++) {
        const float *row = trace_row(recorded, p);
        float *computed = span->stage.rows + (uint64_t)p * width;
        double *error = span->error + (uint64_t)p * width;
        if (!row || !span->stage.recorded[p] || !strays(computed, error, row, width))
            continue;
        memcpy(computed, row, width * sizeof *row);
        for (uint32_t i = 0; i < width; i++)
            error[i] *= 2;
    }
}

/* An optional stage, computed from its own inputs, which may be such spans again; and how far its values can be off,
 * from the required stages on. */
static struct span *span_compute(const struct plan *plan, uint32_t step_index, const struct trace *trace)
{
    const struct step *step = &plan->steps[step_index];
    uint64_t n_values = (uint64_t)trace->n_positions * step->width;
    struct span *span = xcalloc(1, sizeof *span);
    span->stage = (struct trace_stage){.layer = step->layer, .stage = step->stage, .width = step->width};
    span->stage.rows = xcalloc(n_values, sizeof *span->stage.rows);
    span->stage.recorded = xcalloc(trace->n_positions, 1);
    span->error = xcalloc(n_values, sizeof *span->error);

    struct rows rows;
    gather(&rows, plan, step, trace, NULL, span->stage.recorded);
    for (uint32_t p = 0; p < trace->n_positions; p++)
        span->stage.rows[(uint64_t)p * step->width] =
            span->stage.recorded[p] ? NAN : 0; /* passes on what it inherits */
    uint32_t at_once = (uint32_t)fmax(1, (double)SPAN_BYTES / (2.0 * sizeof(double) * step->width));
    at_once = at_once < rows.n ? at_once : rows.n;
    double *y = xcalloc((uint64_t)at_once * step->width, sizeof *y);
    double *bound = xcalloc((uint64_t)at_once * step->width, sizeof *bound);
    for (uint32_t first = 0; first < rows.n; first += at_once) {
        struct op_batch batch = {.step = step,
                                 .weights_dtype = trace->weights_dtype,
                                 .n_rows = rows.n - first < at_once ? rows.n - first : at_once,
                                 .rows = rows.rows + first,
                                 .y = y,
                                 .bound = bound};
        op_run(&batch);
        span_keep(span, &batch);
    }
    free(bound);
    free(y);
    rows_free(&rows);
    const struct trace_stage *recorded = trace_find(trace, step->layer, step->stage);
    if (recorded && recorded->n_recorded > 0)
        span_adopt(span, recorded, trace->n_positions);
    return span;
}

void rows_gather(struct rows *rows, const struct plan *plan, uint32_t step_index, const struct trace *trace)
{
    const struct step *step = &plan->steps[step_index];
    const struct trace_stage *output = trace_find(trace, step->layer, step->stage);
    *rows = (struct rows){0};
    if (output)
        gather(rows, plan, step, trace, output, NULL);
}

void rows_free(struct rows *rows)
{
    for (unsigned i = 0; i < OP_MAX_INPUTS; i++) {
        if (rows->spans[i]) {
            free(rows->spans[i]->stage.rows);
            free(rows->spans[i]->stage.recorded);
            free(rows->spans[i]->error);
            free(rows->spans[i]);
        }
    }
    free(rows->rows);
    *rows = (struct rows){0};
}
