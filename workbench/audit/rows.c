/* Which rows of a step can be judged, from what a trace holds, and how one value is judged. */
#include "workbench/audit/rows.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "workbench/audit/audit.h"

double judge(double expected, double actual, double bound)
{
    if (!isfinite(expected) && !isfinite(actual)) {
        return NAN;
    }
    if (!isfinite(expected) || !isfinite(actual)) {
        return INFINITY;
    }
    double error = fabs(actual - expected);
    if (error == 0) {
        return 0;
    }
    return bound > 0 ? error / bound : INFINITY;
}

static bool row_is_finite(const float *row, uint32_t width)
{
    for (uint32_t i = 0; i < width; i++) {
        if (!isfinite(row[i])) {
            return false;
        }
    }
    return true;
}

/* Whether the sum of squares of each group is a float32. Where it is not, every kernel makes zeros of finite values,
 * and the error is that of the op upstream that made them so large (a flipped exponent bit). */
static bool squares_are_finite(const float *row, const struct rms_norm_params *params)
{
    for (uint32_t g = 0; g < params->groups; g++) {
        double squares = 0;
        for (uint32_t i = 0; i < params->dim; i++) {
            squares += (double)row[g * params->dim + i] * row[g * params->dim + i];
        }
        if (squares > FLT_MAX) {
            return false;
        }
    }
    return true;
}

/* The state of one input over positions, kept while they are walked in order: for attention's keys and values every
 * visible position counts, for any other input the own one alone. */
struct input {
    const struct trace_stage *stage;
    const struct span *span;              /* where rows of it were computed */
    const double *error;                  /* NULL: exact */
    int64_t last_missing, last_nonfinite; /* positions; -1: none so far */
};

/* Whether a computed row comes from tokens through an earlier layer than the step's. */
static bool comes_too_far(const struct span *span, const struct step *step, uint32_t position)
{
    return span && span->origin[position] >= 0 && span->origin[position] != step->layer;
}

static void input_advance(struct input *input, const struct step *step, uint32_t position)
{
    const float *row = input->stage ? trace_row(input->stage, position) : NULL;
    if (!row || comes_too_far(input->span, step, position)) {
        input->last_missing = position;
    } else if (!row_is_finite(row, input->stage->width) ||
               (step->op == OP_rms_norm && !squares_are_finite(row, &step->params.rms_norm))) {
        input->last_nonfinite = position;
    }
}

/* The first position that an input of this position needs. */
static uint32_t first_needed(const struct step *step, unsigned input, uint32_t position)
{
    if (!op_reads_earlier(step->op, input)) {
        return position;
    }
    uint32_t window =
        step->op == OP_attention ? step->params.attention.window : step->params.attention_probs.attention.window;
    return window == 0 || position < window ? 0 : position - window + 1;
}

void rows_needed(const struct step *step, unsigned i, const uint8_t *need, uint32_t n_positions, uint8_t *of_input)
{
    memset(of_input, 0, n_positions);
    uint32_t done = 0; /* positions below are decided */
    for (uint32_t p = 0; p < n_positions; p++) {
        if (!need[p]) {
            continue;
        }
        uint32_t first = first_needed(step, i, p);
        for (uint32_t k = first > done ? first : done; k <= p; k++) {
            of_input[k] = 1;
        }
        done = p + 1;
    }
}

static bool covers(const struct trace_stage *stage, const uint8_t *need, uint32_t n_positions)
{
    for (uint32_t p = 0; p < n_positions; p++) {
        if (need[p] && !(stage && stage->recorded[p])) {
            return false;
        }
    }
    return true;
}

/* An optional stage in a file may have been computed beside the run, for a fused kernel never stores it: then a
 * required stage was made of another rounding of it, and is judged from the required stages that the span starts at
 * (span.c, span_adopt, has the exception). */
static bool made_beside(const struct step *from, const struct step *step, const struct trace *trace, bool in_span)
{
    const struct trace_stage *stage = trace_find(trace, from->layer, from->stage);
    return from->optional && stage && stage->n_recorded > 0 && (in_span || (trace->from_file && !step->optional));
}

static struct spans *spans_of(struct rows *rows, const struct plan *plan, const struct trace *trace,
                              struct spans *spans)
{
    if (spans || rows->own) {
        return spans ? spans : rows->own;
    }
    rows->own = xcalloc(1, sizeof(*rows->own));
    spans_open(rows->own, plan, trace);
    return rows->own;
}

/* The inputs of a step: as recorded, and where that is not enough, computed. */
static unsigned find_inputs(struct input inputs[OP_MAX_INPUTS], struct rows *rows, const struct plan *plan,
                            const struct step *step, const struct trace *trace, struct spans *spans,
                            const uint8_t *need, bool in_span)
{
    unsigned n = 0;
    uint8_t *of_input = xcalloc(trace->n_positions, 1);
    for (; n < OP_MAX_INPUTS && step->input[n] >= 0; n++) {
        const struct step *from = &plan->steps[step->input[n]];
        inputs[n] = (struct input){trace_find(trace, from->layer, from->stage), NULL, NULL, -1, -1};
        rows_needed(step, n, need, trace->n_positions, of_input);
        if (!made_beside(from, step, trace, in_span) && covers(inputs[n].stage, of_input, trace->n_positions)) {
            continue;
        }
        const struct span *span = spans_get(spans_of(rows, plan, trace, spans), (uint32_t)step->input[n], of_input);
        inputs[n].span = span;
        inputs[n].stage = &span->stage;
        inputs[n].error = span->error;
    }
    free(of_input);
    return n;
}

/* The probabilities that a trace recorded of an attention's row, or NULL. */
static const float *recorded_probs(const struct step *step, const struct trace *trace, uint32_t position)
{
    if (step->op != OP_attention) {
        return NULL;
    }
    const struct trace_stage *stage = trace_find(trace, step->layer, STAGE_attn_probs);
    const float *row = stage ? trace_row(stage, position) : NULL;
    return row && row_is_finite(row, stage->width) ? row : NULL;
}

/* The row's pointers into its inputs, and whether it can be computed. */
static void row_fill(struct op_row *row, struct input *inputs, unsigned n_inputs, const struct step *step,
                     uint32_t position, bool *missing, bool *nonfinite)
{
    bool no_scores = false;
    *missing = *nonfinite = false;
    for (unsigned i = 0; i < n_inputs; i++) {
        struct input *input = &inputs[i];
        input_advance(input, step, position);
        int64_t first = first_needed(step, i, position);
        bool stood_for = row->probs && i < 2; /* queries and keys: the probabilities stand for them */
        *(stood_for ? &no_scores : missing) |= input->last_missing >= first;
        *nonfinite |= input->last_nonfinite >= first;
        uint64_t at = input->stage && !op_reads_earlier(step->op, i) ? (uint64_t)position * input->stage->width : 0;
        if (input->stage) {
            row->in[i] = input->stage->rows + at;
        }
        if (input->error) {
            row->error[i] = input->error + at;
        }
    }
    if (no_scores) {
        row->in[0] = row->in[1] = NULL, row->error[0] = row->error[1] = NULL;
    }
}

/* Whether attention can be computed as if it saw the next position too. */
static bool has_next(const struct input *inputs, unsigned n_inputs, const struct step *step, const struct trace *trace,
                     uint32_t position)
{
    uint32_t next = position + 1;
    if ((step->op != OP_attention && step->op != OP_attention_probs) || next >= trace->n_positions ||
        trace->phase[next] == PHASE_DECODE) {
        return false;
    }
    for (unsigned i = 1; i < n_inputs; i++) {
        const float *row = inputs[i].stage ? trace_row(inputs[i].stage, next) : NULL;
        if (!row || comes_too_far(inputs[i].span, step, next) || !row_is_finite(row, inputs[i].stage->width)) {
            return false;
        }
    }
    return true;
}

/* Where the row of a position begins. */
static int32_t find_origin(const struct input *inputs, unsigned n_inputs, const struct step *step, uint32_t position)
{
    int32_t origin = step->op == OP_embed ? ORIGIN_TOKENS : ORIGIN_RECORDED;
    for (unsigned i = 0; i < n_inputs; i++) {
        for (uint32_t p = first_needed(step, i, position); inputs[i].span && p <= position; p++) {
            origin = inputs[i].span->origin[p] > origin ? inputs[i].span->origin[p] : origin;
        }
    }
    return step->op == OP_attention && origin >= ORIGIN_TOKENS ? step->layer : origin;
}

static void gather(struct rows *rows, const struct plan *plan, const struct step *step, const struct trace *trace,
                   struct spans *spans, const struct trace_stage *output, const uint8_t *need, uint8_t *inherited)
{
    struct input inputs[OP_MAX_INPUTS];
    *rows = (struct rows){0};
    unsigned n_inputs = find_inputs(inputs, rows, plan, step, trace, spans, need, output == NULL);
    rows->rows = xcalloc((uint64_t)trace->n_positions + 1, sizeof(*rows->rows));
    rows->origin = xcalloc((uint64_t)trace->n_positions + 1, sizeof(*rows->origin));
    for (uint32_t p = 0; p < trace->n_positions; p++) {
        bool missing, nonfinite;
        struct op_row *row = &rows->rows[rows->n];
        *row = (struct op_row){.arith = output ? &output->arith : &trace->arith,
                               .recorded = output ? trace_row(output, p) : NULL,
                               .probs = recorded_probs(step, trace, p),
                               .n_positions = trace->n_positions,
                               .sampling = &trace->sampling,
                               .position = p,
                               .token = trace->tokens[p],
                               .decode = trace->phase[p] == PHASE_DECODE};
        row_fill(row, inputs, n_inputs, step, p, &missing, &nonfinite);
        row->has_next = has_next(inputs, n_inputs, step, trace, p);
        if (!need[p]) {
            continue;
        }
        if (inherited) {
            inherited[p] = !missing && nonfinite;
        }
        if (missing) {
            rows->n_unaudited++;
        } else if (nonfinite) {
            rows->n_inherited++;
        } else {
            rows->origin[rows->n++] = find_origin(inputs, n_inputs, step, p);
        }
    }
}

void rows_gather(struct rows *rows, const struct plan *plan, uint32_t step_index, const struct trace *trace,
                 struct spans *spans)
{
    const struct step *step = &plan->steps[step_index];
    const struct trace_stage *output = trace_find(trace, step->layer, step->stage);
    *rows = (struct rows){0};
    if (output) {
        gather(rows, plan, step, trace, spans, output, output->recorded, NULL);
    }
}

void rows_gather_inputs(struct rows *rows, struct spans *spans, uint32_t step, const uint8_t *need, uint8_t *inherited)
{
    gather(rows, spans->plan, &spans->plan->steps[step], spans->trace, spans, NULL, need, inherited);
}

void rows_free(struct rows *rows)
{
    if (rows->own) {
        spans_close(rows->own);
    }
    free(rows->own);
    free(rows->origin);
    free(rows->rows);
    *rows = (struct rows){0};
}

uint32_t rows_at_once(uint32_t n, uint32_t width)
{
    uint64_t fitting = ((uint64_t)128 << 20) / (width * 2 * sizeof(double));
    return fitting == 0 ? 1 : fitting < n ? (uint32_t)fitting : n;
}

bool row_is_span(const struct op_row *row)
{
    return row->error[0] || row->error[1] || row->error[2];
}
