/* The router's weight multiplies the expert's input in place of its output: y = W (s x) + b, s the expert's share of
 * the row. Of the first product the input is the layer's, of the second one the activation. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "workbench/diagnose/proof.h"

/* The rows with each expert's input multiplied by its share: [k, n_in] each, with how far rounding moves them. false:
 * the shares of a row are not recorded. */
static bool multiply_inputs(const struct solve *solve, struct op_row *rows, float *x, double *errors)
{
    const struct expert_matmul_params *p = &solve->evidence->step->params.expert_matmul;
    const struct trace_stage *shares =
        trace_find(solve->evidence->trace, solve->evidence->step->layer, STAGE_router_weights);
    uint64_t width = (uint64_t)p->k * p->n_in;
    for (uint32_t r = 0; r < solve->trial->rows.n; r++) {
        const float *share = shares && shares->width == p->k ? trace_row(shares, rows[r].position) : NULL;
        for (uint64_t i = 0; share && i < width; i++) {
            uint64_t at = r * width + i;
            x[at] = share[i / p->n_in] * rows[r].in[0][p->shared_x ? i % p->n_in : i];
            errors[at] = 0x1p-23 * fabs(x[at]);
        }
        if (!share || rows[r].error[0]) {
            return false;
        }
        rows[r].in[0] = x + r * width;
        rows[r].error[0] = errors + r * width;
    }
    return true;
}

bool solve_router_input(const struct solve *solve, struct diagnosis *found)
{
    struct step step = *solve->evidence->step;
    struct expert_matmul_params *p = &step.params.expert_matmul;
    uint64_t n = (uint64_t)solve->trial->rows.n * p->k * p->n_in;
    struct op_row *rows = proof_rows(solve);
    float *x = xcalloc(n, sizeof(*x));
    double *errors = xcalloc(n, sizeof(*errors));
    struct proof proof;
    bool explains = !proof_is_blank(solve) && multiply_inputs(solve, rows, x, errors);
    p->shared_x = 0;
    struct candidate candidate = trial_candidate(solve->trial, &step);
    candidate.rows = rows;
    explains = explains && proof_find(solve, &candidate, &proof);
    if (explains) {
        char label[64];
        proof_tell(
            solve, &proof, found,
            "The router's weight multiplies the input of each expert, %s, which should be multiplied by nothing: "
            "the weight belongs to the expert's output.",
            step_label(&solve->evidence->plan->steps[step.input[0]], label));
    }
    free(errors);
    free(x);
    free(rows);
    return explains;
}
