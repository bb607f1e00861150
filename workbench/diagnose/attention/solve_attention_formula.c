/* Scale and softcap of the scores, where both are wrong or one takes the other's place. config_numbers.c solves for
 * either alone. With s the scale and c the softcap, c tanh(s q k / c) is right. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "workbench/diagnose/attention/attention_rows.h"

struct formula {
    double scale, softcap;
    const char *text;
};

static void set_formula(struct step *step, double scale, double softcap)
{
    struct attention_params *p =
        step->op == OP_attention_probs ? &step->params.attention_probs.attention : &step->params.attention;
    p->scale = (float)scale;
    p->softcap = (float)softcap;
}

/* Scores are clipped at the softcap: to those that are not capped, what the clip takes away is added. */
static bool is_clipped(const struct solve *solve, struct proof *proof)
{
    const struct attention_params *p = attention_params_of(solve->evidence->step);
    uint32_t n = solve->trial->rows.n;
    struct arena arena = {0};
    struct step step = *solve->evidence->step;
    struct op_row *rows = proof_rows(solve);
    set_formula(&step, p->scale, 0);
    for (uint32_t i = 0; i < n; i++) {
        uint64_t n_scores = (uint64_t)p->heads * row_keys(&step, &rows[i]);
        struct attention_trial *trial = arena_alloc(&arena, sizeof(*trial));
        double *added = arena_alloc(&arena, n_scores * sizeof(*added));
        row_scores(&step, &rows[i], added);
        for (uint64_t k = 0; k < n_scores; k++) {
            added[k] = fmin(fmax(added[k], -p->softcap), p->softcap) - added[k];
        }
        *trial = (struct attention_trial){.added = added};
        rows[i].attention = trial;
    }
    struct candidate candidate = trial_candidate(solve->trial, &step);
    candidate.rows = rows;
    bool explains = proof_find(solve, &candidate, proof);
    free(rows);
    arena_free(&arena);
    return explains;
}

bool solve_attention_formula(const struct solve *solve, struct diagnosis *found)
{
    const struct attention_params *right = attention_params_of(solve->evidence->step);
    double s = right->scale, c = right->softcap, head = 1 / sqrt(right->dim);
    const struct formula formulas[] = {
        {s / c, 1, "The scores are tanh(scale q k / softcap), not multiplied by the softcap again"},
        {s * c, c, "The scores are softcap tanh(scale q k), not divided by the softcap first"},
        {s, c * s, "The scale comes after the softcap: scale softcap tanh(q k / softcap)"},
        {1, 0, "The scores are neither scaled nor capped"},
        {head, 0, "The scores are scaled by 1/sqrt(head_dim) and not capped"},
        {s * s, 0, "The scores are scaled twice and not capped"},
        {1, c, "The scores are capped and not scaled"},
        {s * s, c, "The scores are scaled twice"},
        {s / sqrt(right->dim), 0, "The scores are scaled by 1/sqrt(head_dim) besides, and not capped"},
    };
    for (size_t i = 0; i < sizeof(formulas) / sizeof(*formulas) && c != 0; i++) {
        struct step step = *solve->evidence->step;
        double worst;
        set_formula(&step, formulas[i].scale, formulas[i].softcap);
        const struct candidate candidate = trial_candidate(solve->trial, &step);
        if (trial_explains(solve->trial, &candidate, solve->evidence, &worst)) {
            proof_tell(solve, &(struct proof){.worst = worst}, found, "%s.", formulas[i].text);
            return true;
        }
    }
    struct proof proof;
    if (c != 0 && solve->trial->rows.rows[0].in[0] && is_clipped(solve, &proof)) {
        proof_tell(solve, &proof, found, "Scores are clipped at %.6g and -%.6g where tanh should bend them.", c, c);
        return true;
    }
    return false;
}
