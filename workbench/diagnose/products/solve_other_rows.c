/* Rows that were computed from the inputs of another position, or to which another position's result was added. */
#include <math.h>
#include <stdlib.h>

#include "model/stop.h"
#include "workbench/diagnose/proof.h"

#define MOST_SHIFT 8

/* Edits a row's inputs. false: the trace does not hold them, or the run did not know them yet. */
static bool read_other(const struct solve *solve, struct op_row *row, int shift)
{
    const struct evidence *evidence = solve->evidence;
    int64_t position = (int64_t)row->position + shift;
    bool later = position > row->position;
    if (position < 0 || position >= evidence->trace->n_positions || (later && row->decode)) {
        return false;
    }
    for (unsigned i = 0; i < OP_MAX_INPUTS && evidence->step->input[i] >= 0; i++) {
        const struct step *from = &evidence->plan->steps[evidence->step->input[i]];
        const struct trace_stage *stage = trace_find_step(evidence->trace, from);
        const float *values = stage ? trace_row(stage, (uint32_t)position) : NULL;
        if (!values) {
            return false;
        }
        row->in[i] = values;
    }
    row->places = NULL;
    return true;
}

static bool reads_others(const struct solve *solve, int shift, struct proof *proof)
{
    struct op_row *rows = proof_rows(solve);
    bool can = true;
    for (uint32_t i = 0; i < solve->trial->rows.n && can; i++) {
        can = read_other(solve, &rows[i], shift) || i >= solve->trial->n_failing;
    }
    struct candidate candidate = trial_candidate(solve->trial, solve->evidence->step);
    candidate.rows = rows;
    bool explains = can && proof_find(solve, &candidate, proof);
    free(rows);
    return explains;
}

/* What the row before recorded is added to each: a sum that was not cleared. */
static bool adds_previous(const struct solve *solve, bool recorded, struct proof *proof)
{
    const struct op_trial *trial = solve->trial;
    uint32_t n = trial->rows.n, width = solve->evidence->step->width, n_positions = solve->evidence->trace->n_positions;
    double *right = xcalloc((uint64_t)n * width, sizeof(*right)), *bound = xcalloc((uint64_t)n * width, sizeof(*bound));
    double *y = xcalloc((uint64_t)n * width, sizeof(*y)), *error = xcalloc((uint64_t)n * width, sizeof(*error));
    uint32_t *row_at = xcalloc(n_positions, sizeof(*row_at)); /* 1 + the row of a position */
    op_run(&(struct op_batch){.step = solve->evidence->step,
                              .weights_dtype = trial->stage->weights_dtype,
                              .n_rows = n,
                              .rows = trial->rows.rows,
                              .y = right,
                              .bound = bound});
    for (uint32_t i = 0; i < n; i++) {
        row_at[trial->rows.rows[i].position] = i + 1;
    }
    float *bias = xcalloc(width, sizeof(*bias));
    if (solve->evidence->step->weight[1] && !recorded) {
        weights_decode(solve->evidence->step->weight[1], 0, 0, width, bias); /* it is added once */
    }
    bool can = true;
    for (uint64_t at = 0; at < (uint64_t)n * width; at++) {
        uint32_t i = (uint32_t)(at / width), position = trial->rows.rows[i].position;
        uint64_t before = position > 0 && row_at[position - 1] ? (uint64_t)(row_at[position - 1] - 1) * width : 0;
        bool any = position > 0 && row_at[position - 1];
        can &= any || i >= trial->n_failing;
        double added = !any       ? 0
                       : recorded ? trial->rows.rows[before / width].recorded[at % width]
                                  : right[before + at % width] - bias[at % width];
        y[at] = right[at] + added;
        error[at] = bound[at] + (any && !recorded ? bound[before + at % width] : 0) + 0x1p-23 * fabs(y[at]);
    }
    bool explains = can && n > 1 && proof_of_values(solve, y, error, proof);
    free(bias);
    free(row_at);
    free(error);
    free(y);
    free(bound);
    free(right);
    return explains;
}

bool solve_other_rows(const struct solve *solve, struct diagnosis *found)
{
    const struct step *step = solve->evidence->step;
    struct proof proof;
    if (step->input[0] < 0 || step->op == OP_attention || step->op == OP_attention_probs ||
        stage_is_integer(step->stage) || proof_is_blank(solve)) {
        return false;
    }
    for (int k = 2; k <= 2 * MOST_SHIFT + 1 && !stop_asked(); k++) {
        int shift = k % 2 ? k / 2 : -(k / 2);
        if (reads_others(solve, shift, &proof)) {
            found->solved = solved_number("position of the inputs, from the row's own", 0, shift);
            proof_tell(solve, &proof, found, "Each row reads the inputs of the position %d %s it.", abs(shift),
                       shift < 0 ? "before" : "behind");
            return true;
        }
    }
    for (int recorded = 0; recorded <= 1 && step->op == OP_matmul; recorded++) {
        if (adds_previous(solve, recorded, &proof)) {
            found->kind = KIND_ADDITIVE;
            proof_tell(solve, &proof, found,
                       "To each row %s the row before is added: the sum is not cleared between rows.",
                       recorded ? "what was recorded of" : "the right result of");
            return true;
        }
    }
    return false;
}
