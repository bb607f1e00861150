/* Wiring: the right formula of the wrong input, or with weights that are another step's. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/stop.h"
#include "workbench/diagnose/products/product_samples.h"
#include "workbench/diagnose/products/wiring_sources.h"
#include "workbench/diagnose/proof.h"

struct wiring {
    const struct solve *solve;
    const struct product_samples *samples; /* of a product; NULL: the op is none */
    struct op_row *rows;                   /* edited */
    struct proof proof;
};

static bool prove(struct wiring *wiring, const struct step *step)
{
    struct candidate candidate = trial_candidate(wiring->solve->trial, step);
    candidate.rows = wiring->rows;
    return (!wiring->samples || product_samples_fit_inputs(wiring->samples, wiring->rows)) &&
           proof_find(wiring->solve, &candidate, &wiring->proof);
}

/* Puts the right inputs back. */
static void restore(struct wiring *wiring)
{
    memcpy(wiring->rows, wiring->solve->trial->rows.rows, wiring->solve->trial->rows.n * sizeof(*wiring->rows));
}

static bool inputs_are_exchanged(struct wiring *wiring, struct diagnosis *found)
{
    const struct step *step = wiring->solve->evidence->step;
    const struct plan *plan = wiring->solve->evidence->plan;
    if (step->op != OP_glu) { /* an addition's two inputs are alike */
        return false;
    }
    for (uint32_t i = 0; i < wiring->solve->trial->rows.n; i++) {
        struct op_row *row = &wiring->rows[i];
        const float *first = row->in[0];
        const double *error = row->error[0];
        row->in[0] = row->in[1];
        row->error[0] = row->error[1];
        row->in[1] = first;
        row->error[1] = error;
    }
    bool explains = prove(wiring, step);
    if (explains) {
        char a[64], b[64];
        proof_tell(wiring->solve, &wiring->proof, found,
                   "The two inputs are exchanged: the activation is that of %s, and %s is the factor.",
                   step_label(&plan->steps[step->input[1]], a), step_label(&plan->steps[step->input[0]], b));
    }
    restore(wiring);
    return explains;
}

static bool is_source(struct wiring *wiring, const struct wiring_source *source, unsigned input,
                      struct diagnosis *found)
{
    const struct step *step = wiring->solve->evidence->step;
    wiring_source_use(source, wiring->solve, wiring->rows, input);
    bool explains = prove(wiring, step);
    if (explains) {
        char name[160], right[64];
        proof_tell(wiring->solve, &wiring->proof, found, "The op read another input than %s: it was computed from %s.",
                   step_label(&wiring->solve->evidence->plan->steps[step->input[input]], right),
                   wiring_source_name(source, name));
    }
    restore(wiring);
    return explains;
}

/* Element i of the attention's output, heads by dim, in another order of heads. ways: the heads inside each dim; the
 * heads that share a key head spread apart; and the reverse of either. */
static uint32_t reordered(const struct attention_params *params, unsigned way, uint32_t i)
{
    uint32_t dim = params->dim, heads = params->heads, shared = heads / params->kv_heads, head = i / dim;
    switch (way) {
    case 0:
        return i % heads * dim + i / heads;
    case 1:
        return i % dim * heads + head;
    case 2:
        return (head % params->kv_heads * shared + head / params->kv_heads) * dim + i % dim;
    default:
        return (head % shared * params->kv_heads + head / shared) * dim + i % dim;
    }
}

/* The heads of the attention's output are read in another order. */
static bool heads_are_reordered(struct wiring *wiring, struct diagnosis *found)
{
    static const char *const what[] = {"as if it were [dim, heads]", "as if it had been transposed to [dim, heads]",
                                       "with the heads of one key head spread apart",
                                       "with heads joined that belong to different key heads"};
    const struct step *step = wiring->solve->evidence->step;
    const struct step *from = step->input[0] >= 0 ? &wiring->solve->evidence->plan->steps[step->input[0]] : NULL;
    bool explains = false;
    if (!from || from->op != OP_attention || step->op != OP_matmul) {
        return false;
    }
    for (unsigned way = 0; way < 4 && !explains; way++) {
        float *x = proof_copy_input(wiring->solve, wiring->rows, 0, from->width);
        for (uint32_t r = 0; r < wiring->solve->trial->rows.n; r++) {
            for (uint32_t i = 0; i < from->width; i++) {
                x[(uint64_t)r * from->width + i] =
                    wiring->solve->trial->rows.rows[r].in[0][reordered(&from->params.attention, way, i)];
            }
        }
        explains = prove(wiring, step);
        free(x);
        restore(wiring);
        if (explains) {
            char label[64];
            found->kind = KIND_LAYOUT;
            proof_tell(wiring->solve, &wiring->proof, found, "The input %s is read %s: %u heads of %u.",
                       step_label(from, label), what[way], from->params.attention.heads, from->params.attention.dim);
        }
    }
    return explains;
}

/* Another stage, or a sum or norm of others, in place of an input. */
static bool input_is_another(struct wiring *wiring, struct diagnosis *found)
{
    const struct step *step = wiring->solve->evidence->step;
    const struct plan *plan = wiring->solve->evidence->plan;
    bool explains = false;
    for (unsigned input = 0; input < OP_MAX_INPUTS && step->input[input] >= 0 && !explains; input++) {
        struct wiring_sources sources;
        const struct step *from = &plan->steps[step->input[input]];
        if (stage_is_integer(from->stage)) {
            continue;
        }
        wiring_sources_open(&sources, wiring->solve, from->width, true);
        for (uint32_t s = 0; s < sources.n && !explains && !stop_asked(); s++) {
            bool same = s < sources.n_stages && sources.list[s].stage->layer == from->layer &&
                        sources.list[s].stage->stage == from->stage;
            explains = !same && is_source(wiring, &sources.list[s], input, found);
        }
        wiring_sources_close(&sources);
    }
    return explains;
}

/* A sum that is normalised as a whole: y = norm(residual + branch). */
static bool sum_is_normalised(struct wiring *wiring, struct diagnosis *found)
{
    const struct step *step = wiring->solve->evidence->step;
    const struct plan *plan = wiring->solve->evidence->plan;
    struct wiring_sources sources;
    bool explains = false;
    if (step->op != OP_add) {
        return false;
    }
    wiring_sources_open(&sources, wiring->solve, step->width, true);
    for (uint32_t n = 0; n < plan->n_steps; n++) {
        const struct step *norm = &plan->steps[n];
        bool fits = norm->op == OP_rms_norm && norm->width == step->width && norm->layer == step->layer;
        for (uint32_t s = 0; s < sources.n && fits && !explains; s++) {
            wiring_source_use(&sources.list[s], wiring->solve, wiring->rows, 0);
            explains = !sources.list[s].norm && prove(wiring, norm);
            if (explains) {
                char name[160], label[64];
                proof_tell(wiring->solve, &wiring->proof, found, "A norm is applied here: the rows are %s, of %s.",
                           step_label(norm, label), wiring_source_name(&sources.list[s], name));
            }
        }
    }
    wiring_sources_close(&sources);
    restore(wiring);
    return explains;
}

static bool same_shape(const struct tensor *a, const struct tensor *b)
{
    return a && b && tensor_rows(a) == tensor_rows(b) && tensor_row_elems(a) == tensor_row_elems(b);
}

/* Whether relation_stages_exchanged names it. */
static bool is_exchange(const struct step *step, const struct step *other)
{
    return other->op == step->op && other->layer == step->layer && other->op == OP_matmul &&
           memcmp(other->input, step->input, sizeof(step->input)) == 0;
}

/* The weights of another step, bias included or not. */
static bool weights_are_anothers(struct wiring *wiring, struct diagnosis *found)
{
    const struct step *right = wiring->solve->evidence->step;
    const struct plan *plan = wiring->solve->evidence->plan;
    for (uint32_t s = 0; s < plan->n_steps && right->weight[0] && !stop_asked(); s++) {
        const struct step *other = &plan->steps[s];
        const struct tensor *weight = other->weight[0];
        if (weight == right->weight[0] || !same_shape(weight, right->weight[0]) || is_exchange(right, other)) {
            continue;
        }
        for (int with_bias = same_shape(right->weight[1], other->weight[1]); with_bias >= 0; with_bias--) {
            struct step step = *right;
            step.weight[0] = weight;
            step.weight[1] = with_bias ? other->weight[1] : right->weight[1];
            const struct candidate candidate = trial_candidate(wiring->solve->trial, &step);
            char label[64];
            bool may =
                with_bias || !wiring->samples || product_samples_fit(wiring->samples, weight, weights_as_stored, NULL);
            if (may && proof_find(wiring->solve, &candidate, &wiring->proof)) {
                proof_tell(wiring->solve, &wiring->proof, found,
                           "The weights are another step's: %.80s, of %s, in place of %.80s%s.", weight->name,
                           step_label(other, label), right->weight[0]->name, with_bias ? ", and its bias" : "");
                return true;
            }
        }
    }
    return false;
}

bool solve_wiring(const struct solve *solve, struct diagnosis *found)
{
    const struct step *step = solve->evidence->step;
    struct product_samples samples;
    bool reads_row = step->op == OP_rms_norm || step->op == OP_glu || step->op == OP_add || step->op == OP_softcap ||
                     step->op == OP_swiglu || step->op == OP_matmul || step->op == OP_expert_matmul;
    if ((!reads_row && step->op != OP_embed) || step->variant != VARIANT_NONE || proof_is_blank(solve)) {
        return false;
    }
    bool is_product = product_samples_open(&samples, solve->evidence);
    struct wiring wiring = {
        .solve = solve, .samples = is_product && !samples.units ? &samples : NULL, .rows = proof_rows(solve)};
    bool explains = inputs_are_exchanged(&wiring, found) || heads_are_reordered(&wiring, found) ||
                    input_is_another(&wiring, found) || sum_is_normalised(&wiring, found) ||
                    weights_are_anothers(&wiring, found);
    free(wiring.rows);
    product_samples_close(&samples);
    return explains;
}
