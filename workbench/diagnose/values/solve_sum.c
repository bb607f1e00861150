/* The residual sum with factors: y = a residual + b branch, solved for by least squares. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "workbench/diagnose/proof.h"

struct factors {
    double of[2]; /* of residual and branch */
};

static struct factors solve_factors(const struct evidence *evidence)
{
    double rr = 0, rb = 0, bb = 0, ry = 0, by = 0;
    for (uint32_t i = 0; i < evidence->n; i++) {
        for (uint32_t d = 0; d < evidence->stage->width; d++) {
            double r = evidence->rows[i].in[0][d], b = evidence->rows[i].in[1][d], y = evidence_actual(evidence, i)[d];
            rr += r * r;
            rb += r * b;
            bb += b * b;
            ry += r * y;
            by += b * y;
        }
    }
    double determinant = rr * bb - rb * rb;
    return (struct factors){{(ry * bb - by * rb) / determinant, (by * rr - ry * rb) / determinant}};
}

static double near_round(double value)
{
    double near = round(value * 64) / 64;
    return fabs(value - near) < 1e-4 ? near : value;
}

static bool prove(const struct solve *solve, const struct factors *factors, struct proof *proof)
{
    uint64_t width = solve->evidence->step->width, n = solve->trial->rows.n * width;
    struct op_row *rows = proof_rows(solve);
    float *inputs[2];
    double *errors = xcalloc(2 * n, sizeof(*errors));
    for (unsigned k = 0; k < 2; k++) {
        inputs[k] = proof_copy_input(solve, rows, k, (uint32_t)width);
        for (uint64_t at = 0; at < n; at++) {
            inputs[k][at] = (float)(factors->of[k] * inputs[k][at]);
            errors[k * n + at] = factors->of[k] == 1 ? 0 : 0x1p-23 * fabs(inputs[k][at]);
        }
        for (uint32_t i = 0; i < solve->trial->rows.n; i++) {
            rows[i].error[k] = errors + k * n + i * width;
        }
    }
    struct candidate candidate = trial_candidate(solve->trial, solve->evidence->step);
    candidate.rows = rows;
    bool explains = proof_find(solve, &candidate, proof);
    free(inputs[0]);
    free(inputs[1]);
    free(errors);
    free(rows);
    return explains;
}

bool solve_sum(const struct solve *solve, struct diagnosis *found)
{
    struct factors factors = solve_factors(solve->evidence);
    struct proof proof;
    factors.of[0] = near_round(factors.of[0]);
    factors.of[1] = near_round(factors.of[1]);
    bool is_copy = (factors.of[0] == 1 && factors.of[1] == 0) || (factors.of[0] == 0 && factors.of[1] == 1);
    if (!isfinite(factors.of[0]) || !isfinite(factors.of[1]) || factors.of[0] == factors.of[1] || is_copy ||
        proof_is_blank(solve) || !prove(solve, &factors, &proof)) {
        return false; /* a relation names a copied input, and one factor for both */
    }
    unsigned which = factors.of[0] != 1 ? 0 : 1;
    found->kind = factors.of[which] == 0 ? KIND_MISSING_TERMS : found->kind;
    found->solved = solved_number(which ? "factor of the branch" : "factor of the residual", 1, factors.of[which]);
    proof_tell(solve, &proof, found, "The sum is %.9g times the residual plus %.9g times the branch.", factors.of[0],
               factors.of[1]);
    return true;
}
