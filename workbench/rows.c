/* Which rows of a step can be judged, from what a trace holds, and how one value is judged. */
#include <float.h>
#include <math.h>
#include <stdlib.h>

#include "workbench/audit.h"

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

static unsigned find_inputs(struct input inputs[OP_MAX_INPUTS], const struct plan *plan, const struct step *step,
                            const struct trace *trace)
{
    unsigned n = 0;
    for (; n < OP_MAX_INPUTS && step->input[n] >= 0; n++) {
        const struct step *from = &plan->steps[step->input[n]];
        inputs[n] = (struct input){trace_find(trace, from->layer, from->stage), -1, -1};
    }
    return n;
}

void rows_gather(struct rows *rows, const struct plan *plan, uint32_t step_index, const struct trace *trace)
{
    const struct step *step = &plan->steps[step_index];
    const struct trace_stage *output = trace_find(trace, step->layer, step->stage);
    *rows = (struct rows){0};
    if (!output)
        return;
    struct input inputs[OP_MAX_INPUTS];
    unsigned n_inputs = find_inputs(inputs, plan, step, trace);
    rows->rows = xcalloc(trace->n_positions, sizeof *rows->rows);
    for (uint32_t p = 0; p < trace->n_positions; p++) {
        bool missing = false, nonfinite = false;
        struct op_row *row = &rows->rows[rows->n];
        *row = (struct op_row){.arith = &output->arith,
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
        }
        if (!output->recorded[p])
            continue;
        if (missing)
            rows->n_unaudited++;
        else if (nonfinite)
            rows->n_inherited++;
        else
            rows->n++;
    }
}
