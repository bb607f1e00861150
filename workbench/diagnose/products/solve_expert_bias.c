/* The biases of experts: added another number of times than once, another layer's, or another expert's. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "workbench/diagnose/products/product_samples.h"
#include "workbench/diagnose/proof.h"

struct bias_edit {
    double times;
    uint64_t shift; /* expert e has the bias of e + shift */
    bool one;       /* every expert has that of `shift` */
};

static void edit_bias(const void *context, const struct tensor *bias, uint64_t row, float *values)
{
    const struct bias_edit *edit = context;
    uint64_t n = tensor_row_elems(bias), n_rows = tensor_rows(bias);
    weights_decode(bias, ((edit->one ? 0 : row) + edit->shift) % n_rows, 0, n, values);
    for (uint64_t i = 0; i < n; i++) {
        values[i] = (float)(edit->times * values[i]);
    }
}

static bool is_edited(const struct solve *solve, const struct tensor *bias, const struct bias_edit *edit,
                      struct proof *proof)
{
    struct arena arena = {0};
    struct step step = *solve->evidence->step;
    step.weight[1] = weights_expand(&arena, bias, edit_bias, edit);
    const struct candidate candidate = trial_candidate(solve->trial, &step);
    bool is = proof_find(solve, &candidate, proof);
    arena_free(&arena);
    return is;
}

/* How often the bias was added, by least squares over the samples. */
static double count_times(const struct evidence *evidence)
{
    struct product_samples samples;
    double product = 0, square = 0;
    if (product_samples_open(&samples, evidence)) {
        float *w = xmalloc(samples.n_in * sizeof(*w));
        for (uint32_t s = 0; s < samples.n; s++) {
            const struct product_sample *sample = &samples.samples[s];
            weights_as_stored(NULL, evidence->step->weight[0], sample->weight_row, w);
            double left = sample->recorded;
            for (uint32_t i = 0; i < samples.n_in; i++) {
                left -= (double)w[i] * sample->x[i];
            }
            product += left * sample->bias;
            square += sample->bias * sample->bias;
        }
        free(w);
    }
    product_samples_close(&samples);
    return product / square;
}

static bool is_own_again(const struct solve *solve, struct diagnosis *found)
{
    const struct tensor *bias = solve->evidence->step->weight[1];
    struct proof proof;
    struct bias_edit edit = {.times = count_times(solve->evidence)};
    if (!isfinite(edit.times)) {
        return false;
    }
    edit.times = fabs(edit.times - round(edit.times)) < 1e-3 ? round(edit.times) : edit.times;
    if (!is_edited(solve, bias, &edit, &proof)) {
        return false;
    }
    found->solved = solved_number("times that the bias is added", 1, edit.times);
    proof_tell(solve, &proof, found, "The experts' bias %.80s is added %.6g times instead of once.", bias->name,
               edit.times);
    return true;
}

static bool is_anothers(const struct solve *solve, struct diagnosis *found)
{
    const struct plan *plan = solve->evidence->plan;
    const struct step *step = solve->evidence->step;
    struct bias_edit edit = {.times = 1};
    struct proof proof;
    for (uint32_t s = 0; s < plan->n_steps; s++) {
        const struct step *other = &plan->steps[s];
        const struct tensor *bias = other->weight[1];
        char label[64];
        if (other->op != OP_expert_matmul || other == step || !bias ||
            tensor_rows(bias) != tensor_rows(step->weight[1]) ||
            tensor_row_elems(bias) != tensor_row_elems(step->weight[1]) || !is_edited(solve, bias, &edit, &proof)) {
            continue;
        }
        proof_tell(solve, &proof, found, "The experts' bias is that of %s.", step_label(other, label));
        return true;
    }
    uint64_t n_experts = tensor_rows(step->weight[1]);
    for (edit.shift = 1; edit.shift < n_experts; edit.shift++) {
        if (is_edited(solve, step->weight[1], &edit, &proof)) {
            found->solved = solved_number("expert whose bias expert 0 has", 0, (double)edit.shift);
            proof_tell(solve, &proof, found, "Experts have each other's bias: expert e has that of (e + %u) mod %u.",
                       (unsigned)edit.shift, (unsigned)n_experts);
            return true;
        }
    }
    edit.one = true;
    for (edit.shift = 0; edit.shift < n_experts; edit.shift++) {
        if (is_edited(solve, step->weight[1], &edit, &proof)) {
            proof_tell(solve, &proof, found, "Every expert has the bias of expert %u.", (unsigned)edit.shift);
            return true;
        }
    }
    return false;
}

bool solve_expert_bias(const struct solve *solve, struct diagnosis *found)
{
    return solve->evidence->step->weight[1] && (is_own_again(solve, found) || is_anothers(solve, found));
}
