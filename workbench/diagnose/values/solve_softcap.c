/* The softcap with another form: x scaled before it, or capped twice; a clip; a tanh that is not multiplied again. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "workbench/diagnose/proof.h"

/* By what x was multiplied ahead of the cap, read off the value that the cap bends the most but does not hide. */
static double read_factor(const struct evidence *evidence, double cap)
{
    double factor = NAN, best = 0;
    for (uint32_t i = 0; i < evidence->n; i++) {
        for (uint32_t d = 0; d < evidence->stage->width; d++) {
            double t = evidence_actual(evidence, i)[d] / cap, x = evidence->rows[i].in[0][d];
            if (fabs(t) < 0.7 && fabs(t) > best && x != 0) {
                best = fabs(t);
                factor = atanh(t) * cap / x;
            }
        }
    }
    return factor;
}

static bool prove(const struct solve *solve, double factor, bool twice, struct proof *proof)
{
    const struct step *step = solve->evidence->step;
    double cap = step->params.softcap.cap;
    uint64_t width = step->width, n = solve->trial->rows.n * width;
    struct op_row *rows = proof_rows(solve);
    float *x = proof_copy_input(solve, rows, 0, step->width);
    double *error = xcalloc(n, sizeof(*error));
    for (uint64_t at = 0; at < n; at++) {
        double value = twice ? cap * tanh(x[at] / cap) : factor * x[at];
        x[at] = (float)value;
        error[at] = (twice ? 8 : 2) * 0x1p-24 * fabs(value);
    }
    for (uint32_t i = 0; i < solve->trial->rows.n; i++) {
        rows[i].error[0] = error + i * width;
    }
    struct candidate candidate = trial_candidate(solve->trial, step);
    candidate.rows = rows;
    bool explains = proof_find(solve, &candidate, proof);
    free(error);
    free(x);
    free(rows);
    return explains;
}

/* A form without tanh's slope: min(max(x, -cap), cap); or tanh(x / cap) alone. */
static bool is_form(const struct solve *solve, bool clips, struct proof *proof)
{
    double cap = solve->evidence->step->params.softcap.cap;
    uint64_t width = solve->evidence->step->width, n = solve->trial->rows.n * width;
    double *y = xmalloc(n * sizeof(*y)), *error = xmalloc(n * sizeof(*error));
    for (uint64_t at = 0; at < n; at++) {
        double x = solve->trial->rows.rows[at / width].in[0][at % width];
        y[at] = clips ? fmin(fmax(x, -cap), cap) : tanh(x / cap);
        error[at] = clips ? 0 : 0x1p-24 * (4 + 3 * fabs(y[at]) + fabs(x / cap) * (1 - y[at] * y[at]));
    }
    bool explains = proof_of_values(solve, y, error, proof);
    free(error);
    free(y);
    return explains;
}

bool solve_softcap(const struct solve *solve, struct diagnosis *found)
{
    double cap = solve->evidence->step->params.softcap.cap;
    struct proof proof;
    if (cap == 0 || proof_is_blank(solve)) {
        return false;
    }
    if (prove(solve, 1, true, &proof)) {
        proof_tell(solve, &proof, found, "The softcap of %.6g is applied twice.", cap);
        return true;
    }
    if (is_form(solve, true, &proof)) {
        proof_tell(solve, &proof, found, "Values are clipped at %.6g and -%.6g where tanh should bend them.", cap, cap);
        return true;
    }
    if (is_form(solve, false, &proof)) {
        proof_tell(solve, &proof, found, "tanh(x / %.6g) is not multiplied by %.6g again.", cap, cap);
        return true;
    }
    double factor = read_factor(solve->evidence, cap);
    double near = fabs(factor - cap) < 1e-3 * cap       ? cap
                  : fabs(factor * cap - 1) < 1e-3       ? 1 / cap
                  : fabs(factor - round(factor)) < 1e-3 ? round(factor)
                                                        : factor;
    if (!isfinite(factor) || !prove(solve, near, false, &proof)) {
        return false;
    }
    found->solved = solved_number("factor of x ahead of the softcap", 1, near);
    proof_tell(solve, &proof, found, "x is multiplied by %.6g before the softcap of %.6g%s.", near, cap,
               near == cap ? ": its division by the cap is left out" : "");
    return true;
}
