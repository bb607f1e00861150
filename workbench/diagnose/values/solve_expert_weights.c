/* The weighted sum over the chosen experts, y = sum of w_j x_j. The shares v_j that were used are solved for, row by
 * row, by least squares; then they are named: 0 for experts that are left out, the right ones in another order, all
 * alike, their squares. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "workbench/diagnose/proof.h"

#define MOST_EXPERTS 16 /* chosen by a row */

struct shares {
    const struct solve *solve;
    uint32_t k;
    double *solved; /* [failing rows, k] */
    float *used;    /* [trial rows, k] tried in place of the right ones */
    struct op_row *rows;
};

/* Solves a v = b, k unknowns, by elimination with pivots. false: the experts' outputs do not tell the shares. */
static bool solve_linear(double a[MOST_EXPERTS][MOST_EXPERTS], double *b, uint32_t k)
{
    for (uint32_t c = 0; c < k; c++) {
        uint32_t best = c;
        for (uint32_t r = c; r < k; r++) {
            best = fabs(a[r][c]) > fabs(a[best][c]) ? r : best;
        }
        if (!(fabs(a[best][c]) > 0)) {
            return false;
        }
        for (uint32_t i = 0; i < k; i++) {
            double swapped = a[c][i];
            a[c][i] = a[best][i];
            a[best][i] = swapped;
        }
        double swapped = b[c];
        b[c] = b[best];
        b[best] = swapped;
        for (uint32_t r = c + 1; r < k; r++) {
            double factor = a[r][c] / a[c][c];
            for (uint32_t i = c; i < k; i++) {
                a[r][i] -= factor * a[c][i];
            }
            b[r] -= factor * b[c];
        }
    }
    for (uint32_t c = k; c-- > 0;) {
        for (uint32_t i = c + 1; i < k; i++) {
            b[c] -= a[c][i] * b[i];
        }
        b[c] /= a[c][c];
    }
    return true;
}

static bool solve_row(const struct shares *shares, uint32_t i)
{
    const struct evidence *evidence = shares->solve->evidence;
    const float *x = evidence->rows[i].in[0], *y = evidence_actual(evidence, i);
    uint32_t width = evidence->stage->width, k = shares->k;
    double a[MOST_EXPERTS][MOST_EXPERTS] = {{0}}, *b = shares->solved + (uint64_t)i * k;
    for (uint32_t j = 0; j < k; j++) {
        for (uint32_t d = 0; d < width; d++) {
            b[j] += (double)x[(uint64_t)j * width + d] * y[d];
            for (uint32_t l = 0; l < k; l++) {
                a[j][l] += (double)x[(uint64_t)j * width + d] * x[(uint64_t)l * width + d];
            }
        }
    }
    return solve_linear(a, b, k);
}

static bool shares_open(struct shares *shares, const struct solve *solve)
{
    const struct step *step = solve->evidence->step;
    uint32_t k = step->params.expert_sum.k;
    *shares = (struct shares){.solve = solve, .k = k};
    if (k > MOST_EXPERTS || k < 2 || k >= step->width || solve->evidence->n < solve->trial->n_failing) {
        return false;
    }
    shares->solved = xcalloc((uint64_t)solve->evidence->n * k, sizeof(double));
    shares->rows = proof_rows(solve);
    shares->used = proof_copy_input(solve, shares->rows, 1, k);
    bool solved = true;
    for (uint32_t i = 0; i < solve->evidence->n && solved; i++) {
        solved = solve_row(shares, i);
    }
    return solved;
}

static void shares_close(struct shares *shares)
{
    free(shares->solved);
    free(shares->rows);
    free(shares->used);
}

/* The right shares of a row of the trial. */
static const float *right_shares(const struct shares *shares, uint32_t i)
{
    return shares->solve->trial->rows.rows[i].in[1];
}

static bool prove(const struct shares *shares, struct proof *proof)
{
    struct candidate candidate = trial_candidate(shares->solve->trial, shares->solve->evidence->step);
    candidate.rows = shares->rows;
    return proof_find(shares->solve, &candidate, proof);
}

/* The expert in slot j of a row of the trial; -1: not recorded. */
static int32_t expert_of(const struct shares *shares, uint32_t i, uint32_t j)
{
    const struct evidence *evidence = shares->solve->evidence;
    const struct trace_stage *indices = trace_find(evidence->trace, evidence->step->layer, STAGE_router_indices);
    const float *row = indices ? trace_row(indices, shares->rows[i].position) : NULL;
    return row && indices->width == shares->k ? (int32_t)row[j] : -1;
}

/* Which experts are left out: the same slots in all failing rows, or the same experts. */
static void tell_missing(const struct shares *shares, bool renormalised, const struct proof *proof,
                         struct diagnosis *found)
{
    uint32_t n_failing = shares->solve->trial->n_failing, k = shares->k, n_left_out = 0, lowest = UINT32_MAX;
    uint32_t highest = 0, slots = 0, slot_list = 0;
    bool same_slots = true;
    for (uint32_t i = 0; i < n_failing; i++) {
        uint32_t mine = 0;
        for (uint32_t j = 0; j < k; j++) {
            if (shares->used[(uint64_t)i * k + j] != 0) {
                continue;
            }
            int32_t expert = expert_of(shares, i, j);
            mine |= 1u << j;
            n_left_out++;
            lowest = expert >= 0 && (uint32_t)expert < lowest ? (uint32_t)expert : lowest;
            highest = expert >= 0 && (uint32_t)expert > highest ? (uint32_t)expert : highest;
        }
        same_slots &= i == 0 || mine == slots;
        slots = mine;
    }
    char which[128] = "", part[12];
    for (uint32_t j = 0; j < k && same_slots; j++) {
        if (slots & 1u << j) {
            snprintf(part, sizeof(part), "%s%u", slot_list++ ? ", " : "", j);
            strncat(which, part, sizeof(which) - strlen(which) - 1);
        }
    }
    if (!same_slots && lowest != UINT32_MAX) {
        snprintf(which, sizeof(which), " They are experts %u to %u.", lowest, highest);
    }
    found->solved = solved_number("experts in the sum", (double)n_failing * k, (double)n_failing * k - n_left_out);
    proof_tell(shares->solve, proof, found, "The sum over the experts is not complete: %s%s%s%s",
               same_slots ? "of each row's chosen experts, those in place " : "some are left out.", which,
               same_slots ? " are left out." : "",
               renormalised ? " The shares of the others are scaled to sum to 1." : "");
}

/* Shares of 0, the others as they should be, or scaled so that they sum to 1 again. */
static bool is_incomplete(const struct shares *shares, struct diagnosis *found)
{
    const struct op_trial *trial = shares->solve->trial;
    uint32_t k = shares->k, n_zero = 0, n_left = 0;
    struct proof proof;
    for (int renormalised = 0; renormalised < 2; renormalised++) {
        n_zero = n_left = 0;
        for (uint32_t i = 0; i < trial->n_failing; i++) {
            const float *right = right_shares(shares, i);
            double sum = 0;
            for (uint32_t j = 0; j < k; j++) {
                bool zero = fabs(shares->solved[(uint64_t)i * k + j]) < 0.05 * fabs(right[j]);
                shares->used[(uint64_t)i * k + j] = zero ? 0 : right[j];
                sum += zero ? 0 : right[j];
                n_zero += zero;
                n_left += !zero;
            }
            for (uint32_t j = 0; j < k && renormalised; j++) {
                shares->used[(uint64_t)i * k + j] = (float)(shares->used[(uint64_t)i * k + j] / sum);
            }
        }
        if (n_zero > 0 && n_left > 0 && prove(shares, &proof)) {
            tell_missing(shares, renormalised, &proof, found);
            return true;
        }
    }
    return false;
}

/* The right shares, at other experts: each solved share is the nearest of the right ones, and each is used once. */
static bool is_permuted(const struct shares *shares, struct diagnosis *found)
{
    uint32_t k = shares->k;
    struct proof proof;
    for (uint32_t i = 0; i < shares->solve->trial->n_failing; i++) {
        const float *right = right_shares(shares, i);
        uint32_t taken = 0;
        for (uint32_t j = 0; j < k; j++) {
            uint32_t best = k;
            for (uint32_t l = 0; l < k; l++) {
                double distance = fabs(right[l] - shares->solved[(uint64_t)i * k + j]);
                if (!(taken & 1u << l) &&
                    (best == k || distance < fabs(right[best] - shares->solved[(uint64_t)i * k + j]))) {
                    best = l;
                }
            }
            taken |= 1u << best;
            shares->used[(uint64_t)i * k + j] = right[best];
        }
    }
    if (!prove(shares, &proof)) {
        return false;
    }
    found->kind = KIND_LAYOUT;
    proof_tell(shares->solve, &proof, found,
               "The experts' shares are in another order than their outputs: each expert has the share of another one "
               "of the %u that were chosen.",
               k);
    return true;
}

/* Shares that are a function of the right ones alone. */
static bool is_function(const struct shares *shares, struct diagnosis *found)
{
    static const char *const what[] = {
        "The experts' outputs are added without their shares.",
        "The mean of the experts' outputs is taken, without their shares.",
        "The experts' shares are multiplied twice.",
    };
    struct proof proof;
    for (unsigned f = 0; f < sizeof(what) / sizeof(*what); f++) {
        for (uint32_t i = 0; i < shares->solve->trial->rows.n; i++) {
            for (uint32_t j = 0; j < shares->k; j++) {
                float right = right_shares(shares, i)[j];
                shares->used[(uint64_t)i * shares->k + j] = f == 0 ? 1 : f == 1 ? 1 / (float)shares->k : right * right;
            }
        }
        if (prove(shares, &proof)) {
            found->kind = KIND_FORMULA;
            proof_tell(shares->solve, &proof, found, "%s", what[f]);
            return true;
        }
    }
    return false;
}

/* Adds to y what biases lack that are not multiplied by the shares: (1 - share) bias. false: a row's experts are not
 * recorded. */
static bool add_whole_biases(const struct shares *shares, const struct tensor *bias, double *y, double *error)
{
    uint32_t n = shares->solve->trial->rows.n, width = shares->solve->evidence->step->width;
    float *b = xmalloc(width * sizeof(*b));
    bool can = true;
    for (uint32_t i = 0; i < n && can; i++) {
        for (uint32_t j = 0; j < shares->k && can; j++) {
            int32_t expert = expert_of(shares, i, j);
            can = expert >= 0 && (uint64_t)expert < tensor_rows(bias);
            if (!can) {
                continue;
            }
            weights_decode(bias, (uint64_t)expert, 0, width, b);
            for (uint32_t d = 0; d < width; d++) {
                double added = (1 - (double)right_shares(shares, i)[j]) * b[d];
                y[(uint64_t)i * width + d] += added;
                error[(uint64_t)i * width + d] += 0x1p-22 * (fabs(added) + fabs(b[d]));
            }
        }
    }
    free(b);
    return can;
}

/* The experts' biases are added after the shares are multiplied. */
static bool biases_are_whole(const struct shares *shares, struct diagnosis *found)
{
    const struct solve *solve = shares->solve;
    const struct step *step = solve->evidence->step;
    const struct tensor *bias = solve->evidence->plan->steps[step->input[0]].weight[1];
    uint64_t n_values = (uint64_t)solve->trial->rows.n * step->width;
    if (!bias || tensor_row_elems(bias) != step->width) {
        return false;
    }
    double *y = xcalloc(n_values, sizeof(*y)), *error = xcalloc(n_values, sizeof(*error));
    struct proof proof;
    op_run(&(struct op_batch){.step = step,
                              .weights_dtype = solve->trial->stage->weights_dtype,
                              .n_rows = solve->trial->rows.n,
                              .rows = solve->trial->rows.rows,
                              .y = y,
                              .bound = error});
    bool explains = add_whole_biases(shares, bias, y, error) && proof_of_values(solve, y, error, &proof);
    if (explains) {
        found->kind = KIND_ADDITIVE;
        proof_tell(solve, &proof, found,
                   "The experts' bias %.80s is not multiplied by their shares: it is added after them.", bias->name);
    }
    free(error);
    free(y);
    return explains;
}

bool solve_expert_weights(const struct solve *solve, struct diagnosis *found)
{
    struct shares shares;
    bool explains = shares_open(&shares, solve) && (is_incomplete(&shares, found) || is_permuted(&shares, found) ||
                                                    is_function(&shares, found) || biases_are_whole(&shares, found));
    shares_close(&shares);
    return explains;
}
