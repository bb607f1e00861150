#include "workbench/diagnose/proof.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool proof_find(const struct solve *solve, const struct candidate *candidate, struct proof *proof)
{
    *proof = (struct proof){0};
    if (trial_explains(solve->trial, candidate, solve->evidence, &proof->worst)) {
        return true;
    }
    struct candidate part = *candidate;
    part.spares_some = proof->spares_some = true;
    return solve->trial->n_failing < solve->trial->rows.n &&
           trial_explains(solve->trial, &part, solve->evidence, &proof->worst);
}

/* Where a bug strikes that spares some rows: "the prefill", "decode", "positions 7 to 13". */
static void tell_where(const struct op_trial *trial, char where[64])
{
    const struct op_row *rows = trial->rows.rows;
    uint32_t n = trial->n_failing, n_decode = 0;
    bool others = false; /* right rows of the failing rows' phase */
    for (uint32_t i = 0; i < n; i++) {
        n_decode += rows[i].decode;
    }
    for (uint32_t i = n; i < trial->rows.n; i++) {
        others |= (rows[i].decode && n_decode > 0) || (!rows[i].decode && n_decode < n);
    }
    if (!others && (n_decode == 0 || n_decode == n)) {
        snprintf(where, 64, "%s", n_decode ? "decode" : "the prefill");
    } else {
        snprintf(where, 64, "positions %u to %u", rows[0].position, rows[n - 1].position);
    }
}

void proof_tell(const struct solve *solve, const struct proof *proof, struct diagnosis *found, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(found->text, sizeof(found->text), format, arguments);
    va_end(arguments);
    size_t length = strlen(found->text);
    char *end = found->text + length, where[64];
    const struct op_trial *trial = solve->trial;
    if (!proof->spares_some) {
        snprintf(end, sizeof(found->text) - length,
                 " Computed so, all %u rows come out as recorded (worst ratio %.3f); the right op fails in %u.",
                 trial->rows.n, proof->worst, trial->n_failing);
        return;
    }
    tell_where(trial, where);
    snprintf(end, sizeof(found->text) - length,
             " Computed so, the %u rows of %s come out as recorded (worst ratio %.3f), where the right op fails; the "
             "other %u are right.",
             trial->n_failing, where, proof->worst, trial->rows.n - trial->n_failing);
}

struct op_row *proof_rows(const struct solve *solve)
{
    uint32_t n = solve->trial->rows.n;
    struct op_row *rows = xcalloc(n, sizeof(*rows));
    memcpy(rows, solve->trial->rows.rows, n * sizeof(*rows));
    return rows;
}

float *proof_copy_input(const struct solve *solve, struct op_row *rows, unsigned input, uint32_t width)
{
    uint32_t n = solve->trial->rows.n;
    float *copy = xmalloc((uint64_t)n * width * sizeof(*copy));
    for (uint32_t i = 0; i < n; i++) {
        memcpy(copy + (uint64_t)i * width, rows[i].in[input], width * sizeof(*copy));
        rows[i].in[input] = copy + (uint64_t)i * width;
    }
    return copy;
}

bool proof_is_blank(const struct solve *solve)
{
    uint32_t width = solve->evidence->stage->width;
    for (uint32_t i = 0; i < solve->evidence->n; i++) {
        const float *row = evidence_actual(solve->evidence, i);
        bool same = true;
        for (uint32_t d = 0; d < width && same; d++) {
            same = row[d] == row[0] || !isfinite(row[d]);
        }
        if (same && width > 1) {
            return true;
        }
    }
    return false;
}

bool proof_of_roundings(const struct solve *solve, const struct roundings *roundings, struct proof *proof)
{
    uint32_t n = solve->trial->rows.n;
    struct op_row *rows = proof_rows(solve);
    struct arith *arith = xcalloc(n, sizeof(*arith));
    for (uint32_t i = 0; i < n; i++) {
        arith[i] = *rows[i].arith;
        arith[i].roundings = *roundings;
        rows[i].arith = &arith[i];
    }
    struct candidate candidate = trial_candidate(solve->trial, solve->evidence->step);
    candidate.rows = rows;
    bool explains = proof_find(solve, &candidate, proof);
    free(arith);
    free(rows);
    return explains;
}

/* A softcap of 0 copies its input. */
bool proof_of_values(const struct solve *solve, const double *y, const double *error, struct proof *proof)
{
    uint32_t n = solve->trial->rows.n, width = solve->evidence->step->width;
    struct step copies = {.op = OP_softcap, .width = width, .params.softcap = {.width = width}};
    struct op_row *rows = proof_rows(solve);
    float *values = xmalloc((uint64_t)n * width * sizeof(*values));
    double *off = xmalloc((uint64_t)n * width * sizeof(*off));
    for (uint64_t at = 0; at < (uint64_t)n * width; at++) {
        values[at] = (float)y[at];
        off[at] = error[at] + fabs(y[at] - values[at]);
    }
    for (uint32_t i = 0; i < n; i++) {
        rows[i].in[0] = values + (uint64_t)i * width;
        rows[i].error[0] = off + (uint64_t)i * width;
    }
    struct candidate candidate = trial_candidate(solve->trial, &copies);
    candidate.rows = rows;
    bool explains = proof_find(solve, &candidate, proof);
    free(off);
    free(values);
    free(rows);
    return explains;
}
