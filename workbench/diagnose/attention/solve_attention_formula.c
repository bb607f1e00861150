/* Scale and softcap of the scores, where both are wrong or one takes the other's place. config_numbers.c solves for
 * either alone. With s the scale and c the softcap, c tanh(s q k / c) is right. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "workbench/diagnose/attention/attention_rows.h"

struct formula {
    double scale, softcap;
    bool needs_cap;
    const char *text;
};

static void set_formula(struct step *step, double scale, double softcap)
{
    struct attention_params *p =
        step->op == OP_attention_probs ? &step->params.attention_probs.attention : &step->params.attention;
    p->scale = (float)scale;
    p->softcap = (float)softcap;
}

/* What is added to the score of a head for a key, given the score; `uncapped`: the score is not capped. */
typedef double added_function(const struct attention_params *p, uint32_t head, double distance, double score);

/* The score is clipped at the softcap. */
static double added_by_clip(const struct attention_params *p, uint32_t head, double distance, double score)
{
    (void)head;
    (void)distance;
    return fmin(fmax(score, -p->softcap), p->softcap) - score;
}

/* ALiBi (Press et al., 2021): 2^(-8 (head + 1) / heads) for each position that the key lies behind the query. */
static double added_by_alibi(const struct attention_params *p, uint32_t head, double distance, double score)
{
    (void)score;
    return -exp2(-8.0 * (head + 1) / p->heads) * distance;
}

static bool is_added(const struct solve *solve, added_function *function, bool uncapped, struct proof *proof)
{
    const struct attention_params *p = attention_params_of(solve->evidence->step);
    uint32_t n = solve->trial->rows.n;
    struct arena arena = {0};
    struct step step = *solve->evidence->step;
    struct op_row *rows = proof_rows(solve);
    set_formula(&step, p->scale, uncapped ? 0 : p->softcap);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t n_keys = row_keys(&step, &rows[i]);
        uint64_t n_scores = (uint64_t)p->heads * n_keys;
        struct attention_trial *trial = arena_alloc(&arena, sizeof(*trial));
        double *added = arena_alloc(&arena, n_scores * sizeof(*added));
        row_scores(&step, &rows[i], added);
        for (uint64_t k = 0; k < n_scores; k++) {
            added[k] = function(p, (uint32_t)(k / n_keys), n_keys - 1.0 - k % n_keys, added[k]);
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
        {s / c, 1, true, "The scores are tanh(scale q k / softcap), not multiplied by the softcap again"},
        {s * c, c, true, "The scores are softcap tanh(scale q k), not divided by the softcap first"},
        {s, c * s, true, "The scale comes after the softcap: scale softcap tanh(q k / softcap)"},
        {1, 0, true, "The scores are neither scaled nor capped"},
        {head, 0, true, "The scores are scaled by 1/sqrt(head_dim) and not capped"},
        {s * s, 0, true, "The scores are scaled twice and not capped"},
        {1, c, true, "The scores are capped and not scaled"},
        {s * s, c, true, "The scores are scaled twice"},
        {s * M_LN2, c, false, "exp(score ln 2) is taken, 2 to the power of the score"},
        {s / M_LN2, c, false,
         "exp(score / ln 2) is taken: the scores are multiplied by log2(e) and raised as powers of e"},
        {s / sqrt(right->dim), 0, true, "The scores are scaled by 1/sqrt(head_dim) besides, and not capped"},
    };
    for (size_t i = 0; i < sizeof(formulas) / sizeof(*formulas); i++) {
        struct step step = *solve->evidence->step;
        double worst;
        if (formulas[i].needs_cap && c == 0) {
            continue;
        }
        set_formula(&step, formulas[i].scale, formulas[i].softcap);
        const struct candidate candidate = trial_candidate(solve->trial, &step);
        if (trial_explains(solve->trial, &candidate, solve->evidence, &worst)) {
            proof_tell(solve, &(struct proof){.worst = worst}, found, "%s.", formulas[i].text);
            return true;
        }
    }
    struct proof proof;
    if (solve->trial->rows.rows[0].in[0] && is_added(solve, added_by_alibi, false, &proof)) {
        proof_tell(solve, &proof, found, "ALiBi's slopes are added to the scores, which this model does not have.");
        return true;
    }
    if (c != 0 && solve->trial->rows.rows[0].in[0] && is_added(solve, added_by_clip, true, &proof)) {
        proof_tell(solve, &proof, found, "Scores are clipped at %.6g and -%.6g where tanh should bend them.", c, c);
        return true;
    }
    return false;
}
