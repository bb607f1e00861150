/* Finds the rows of a step that can be judged from what a trace holds, and judges single values. */
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

/* Whether a float32 can hold the sum of squares of each group. Where it cannot, every kernel makes zeros of finite
 * values. The error is then that of the op upstream that made the values so large (a flipped exponent bit, say). */
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

/* What is gathered, and from what. */
struct gathering {
    const struct plan *plan;
    const struct step *step;
    const struct trace *trace;
    struct spans *spans;              /* NULL: rows->own, made when it is needed */
    const struct trace_stage *output; /* as recorded; NULL: the step's output is to be computed for a span */
    const uint8_t *need;              /* [n_positions] which rows */
};

/* One input of the step, while positions are walked in order. Attention needs its keys and values at every visible
 * position; any other input is needed only at the row's own position. */
struct input {
    const struct trace_stage *stage;
    const struct span *span;              /* NULL: no row of it was computed */
    const double *error;                  /* NULL: exact */
    int64_t last_missing, last_nonfinite; /* positions; -1: none so far */
};

/* Whether a computed row comes from tokens alone, through a layer before the step's (span.h forbids it). */
static bool crosses_a_layer(const struct span *span, const struct step *step, uint32_t position)
{
    return span && span->origin[position] >= 0 && span->origin[position] != step->layer;
}

static void input_advance(struct input *input, const struct step *step, uint32_t position)
{
    const float *row = input->stage ? trace_row(input->stage, position) : NULL;
    if (!row || crosses_a_layer(input->span, step, position)) {
        input->last_missing = position;
    } else if (!row_is_finite(row, input->stage->width) ||
               (step->op == OP_rms_norm && !squares_are_finite(row, &step->params.rms_norm))) {
        input->last_nonfinite = position;
    }
}

/* The first position at which the row of `position` needs an input; the last is its own. */
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
    uint32_t done = 0; /* of_input is final below this position */
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

/* Whether a stage is recorded at every position in need. stage NULL: it is recorded nowhere. */
static bool covers(const struct trace_stage *stage, const uint8_t *need, uint32_t n_positions)
{
    for (uint32_t p = 0; p < n_positions; p++) {
        if (need[p] && !(stage && stage->recorded[p])) {
            return false;
        }
    }
    return true;
}

/* Whether a recorded input may be rounded differently from what the run used. Fused kernels never store optional
 * stages, so a file's copy was computed separately. The step is then judged from the nearest required stages
 * (span_adopt in span.c has the exception). */
static bool may_differ_from_run(const struct gathering *gathering, const struct step *from)
{
    const struct trace *trace = gathering->trace;
    const struct trace_stage *stage = trace_find(trace, from->layer, from->stage);
    bool for_span = gathering->output == NULL;
    return from->optional && stage && stage->n_recorded > 0 &&
           (for_span || (trace->from_file && !gathering->step->optional));
}

/* The trial that the step is computed with; NULL: the right way. */
static const struct span_trial *trial_of(const struct gathering *gathering)
{
    const struct span_trial *trial = gathering->spans ? gathering->spans->trial : NULL;
    return trial && trial->steps[gathering->step - gathering->plan->steps] ? trial : NULL;
}

/* Whether a row of the prompt sees all of it, later positions included. */
static bool sees_whole_prompt(const struct gathering *gathering)
{
    const struct span_trial *trial = trial_of(gathering);
    return trial && trial->seen == SEEN_WHOLE_PROMPT;
}

/* What a trial changes of a row. */
static void apply_trial(const struct gathering *gathering, struct op_row *row)
{
    const struct span_trial *trial = trial_of(gathering);
    uint32_t own = row->position, first = trial ? first_needed(gathering->step, 1, own) : 0;
    if (!trial || (trial->decode_alone && !row->decode)) {
        return;
    }
    if (gathering->step->op == OP_rope) {
        row->rope = &trial->rope;
        return;
    }
    struct attention_trial *seen = &trial->attention[own];
    *seen = (struct attention_trial){.keys = trial->positions + first, .n_keys = own + 1 - first};
    if (trial->seen == SEEN_WHOLE_PROMPT && !row->decode) {
        *seen = (struct attention_trial){.keys = trial->positions, .n_keys = trial->prompt};
    } else if (trial->seen == SEEN_WITHOUT_OWN && own > first) {
        seen->n_keys--;
    } else if (trial->seen == SEEN_WITHOUT_FIRST && first == 0 && own > 0) {
        seen->keys++;
        seen->n_keys--;
    }
    row->attention = seen;
}

/* The spans to compute inputs in. */
static struct spans *spans_of(struct rows *rows, const struct gathering *gathering)
{
    if (gathering->spans) {
        return gathering->spans;
    }
    if (!rows->own) {
        rows->own = xcalloc(1, sizeof(*rows->own));
        spans_open(rows->own, gathering->plan, gathering->trace);
    }
    return rows->own;
}

/* Finds the inputs of a step as they are recorded, and computes those of which too little is. Returns their number. */
static unsigned find_inputs(struct input inputs[OP_MAX_INPUTS], struct rows *rows, const struct gathering *gathering)
{
    const struct step *step = gathering->step;
    uint32_t n_positions = gathering->trace->n_positions;
    unsigned n = 0;
    uint8_t *of_input = xcalloc(n_positions, 1);
    for (; n < OP_MAX_INPUTS && step->input[n] >= 0; n++) {
        const struct step *from = &gathering->plan->steps[step->input[n]];
        inputs[n] = (struct input){
            .stage = trace_find(gathering->trace, from->layer, from->stage), .last_missing = -1, .last_nonfinite = -1};
        rows_needed(step, n, gathering->need, n_positions, of_input);
        for (uint32_t p = 0; p < n_positions && n > 0 && sees_whole_prompt(gathering); p++) {
            of_input[p] |= gathering->trace->phase[p] == PHASE_PREFILL;
        }
        if (!may_differ_from_run(gathering, from) && covers(inputs[n].stage, of_input, n_positions)) {
            inputs[n].error = inputs[n].stage->error;
            continue;
        }
        const struct span *span = spans_get(spans_of(rows, gathering), (uint32_t)step->input[n], of_input);
        inputs[n].span = span;
        inputs[n].stage = &span->stage;
        inputs[n].error = span->error;
    }
    free(of_input);
    return n;
}

/* The probabilities that a trace recorded for a row of attention; NULL: none, or not all are finite. */
static const float *recorded_probs(const struct step *step, const struct trace *trace, uint32_t position)
{
    if (step->op != OP_attention) {
        return NULL;
    }
    const struct trace_stage *stage = trace_find(trace, step->layer, STAGE_attn_probs);
    const float *row = stage ? trace_row(stage, position) : NULL;
    return row && row_is_finite(row, stage->width) ? row : NULL;
}

/* The experts that a trace recorded beside a row of router weights, or NULL. */
static const float *recorded_places(const struct step *step, const struct trace *trace, uint32_t position)
{
    const struct trace_stage *stage =
        step->op == OP_topk_softmax ? trace_find(trace, step->layer, STAGE_router_indices) : NULL;
    return stage ? trace_row(stage, position) : NULL;
}

/* Whether a row can be computed. */
enum row_state {
    ROW_COMPLETE,
    ROW_MISSING,   /* an input is not there */
    ROW_NONFINITE, /* an input is not finite */
};

/* Fills in the row's pointers into its inputs. */
static enum row_state row_fill(struct op_row *row, struct input *inputs, unsigned n_inputs, const struct step *step)
{
    uint32_t position = row->position;
    bool missing = step->op == OP_embed && row->token < 0, nonfinite = false, no_scores = false;
    for (unsigned i = 0; i < n_inputs; i++) {
        struct input *input = &inputs[i];
        input_advance(input, step, position);
        int64_t first = first_needed(step, i, position);
        bool replaced = row->probs && i < 2; /* recorded probabilities replace queries and keys */
        *(replaced ? &no_scores : &missing) |= input->last_missing >= first;
        nonfinite |= input->last_nonfinite >= first;
        uint64_t at = input->stage && !op_reads_earlier(step->op, i) ? (uint64_t)position * input->stage->width : 0;
        if (input->stage) {
            row->in[i] = input->stage->rows + at;
        }
        if (input->error) {
            row->error[i] = input->error + at;
        }
    }
    if (no_scores) {
        row->in[0] = row->in[1] = NULL;
        row->error[0] = row->error[1] = NULL;
    }
    return missing ? ROW_MISSING : nonfinite ? ROW_NONFINITE : ROW_COMPLETE;
}

/* Whether attention can also be computed as if it saw the next position (a wrong mask). */
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
        if (!row || crosses_a_layer(inputs[i].span, step, next) || !row_is_finite(row, inputs[i].stage->width)) {
            return false;
        }
    }
    return true;
}

/* Where the inputs of a row begin: ORIGIN_, or a layer. */
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

/* Fills *rows. inherited[p] is set where a row has a nonfinite input; NULL: not wanted. */
static void gather(struct rows *rows, const struct gathering *gathering, uint8_t *inherited)
{
    const struct step *step = gathering->step;
    const struct trace *trace = gathering->trace;
    const struct trace_stage *output = gathering->output;
    struct input inputs[OP_MAX_INPUTS];
    *rows = (struct rows){0};
    unsigned n_inputs = find_inputs(inputs, rows, gathering);
    rows->rows = xcalloc((uint64_t)trace->n_positions + 1, sizeof(*rows->rows));
    rows->origin = xcalloc((uint64_t)trace->n_positions + 1, sizeof(*rows->origin));
    for (uint32_t p = 0; p < trace->n_positions; p++) {
        struct op_row *row = &rows->rows[rows->n];
        *row = (struct op_row){.arith = output ? trace_stage_arith(output, trace->phase[p])
                                               : trace_unrecorded_arith(trace, step, trace->phase[p]),
                               .recorded = output ? trace_row(output, p) : NULL,
                               .probs = recorded_probs(step, trace, p),
                               .places = recorded_places(step, trace, p),
                               .n_positions = trace->n_positions,
                               .sampling = &trace->sampling,
                               .position = p,
                               .token = trace->tokens[p],
                               .decode = trace->phase[p] == PHASE_DECODE};
        enum row_state state = row_fill(row, inputs, n_inputs, step);
        row->has_next = has_next(inputs, n_inputs, step, trace, p);
        apply_trial(gathering, row);
        if (!gathering->need[p]) {
            continue;
        }
        if (inherited) {
            inherited[p] = state == ROW_NONFINITE;
        }
        if (state == ROW_COMPLETE) {
            rows->origin[rows->n++] = find_origin(inputs, n_inputs, step, p);
        } else {
            rows->n_unaudited += state == ROW_MISSING;
            rows->n_inherited += state == ROW_NONFINITE;
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
        const struct gathering gathering = {plan, step, trace, spans, output, output->recorded};
        gather(rows, &gathering, NULL);
    }
}

void rows_gather_inputs(struct rows *rows, struct spans *spans, uint32_t step, const uint8_t *need, uint8_t *inherited)
{
    const struct gathering gathering = {spans->plan, &spans->plan->steps[step], spans->trace, spans, NULL, need};
    gather(rows, &gathering, inherited);
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
