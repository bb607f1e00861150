/* Scale and softcap of the scores, where both are wrong or one takes the other's place. config_numbers.c solves for
 * either alone. With s the scale and c the softcap, c tanh(s q k / c) is right. */
#include <math.h>
#include <stdio.h>

#include "workbench/diagnose/attention/attention_rows.h"

struct formula {
    double scale, softcap;
    const char *text;
};

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
        struct attention_params *p = solve->evidence->step->op == OP_attention_probs
                                         ? &step.params.attention_probs.attention
                                         : &step.params.attention;
        double worst;
        p->scale = (float)formulas[i].scale;
        p->softcap = (float)formulas[i].softcap;
        const struct candidate candidate = trial_candidate(solve->trial, &step);
        if (trial_explains(solve->trial, &candidate, solve->evidence, &worst)) {
            proof_tell(solve, &(struct proof){.worst = worst}, found, "%s.", formulas[i].text);
            return true;
        }
    }
    return false;
}
