/* Copies a plan and adds the steps that are judged but never run. */
#include "model/plan.h"

struct copier {
    struct plan *copy;
    int32_t *place; /* [steps of the plan] the step's index in the copy */
};

static int32_t add(struct copier *c, const struct step *step)
{
    c->copy->steps[c->copy->n_steps] = *step;
    return (int32_t)c->copy->n_steps++;
}

/* Adds the probabilities of the next attention, from the same queries and keys. */
static void add_attention_probs(struct copier *c, const struct step *attention, uint32_t n_positions)
{
    struct step step = {.op = OP_attention_probs,
                        .layer = attention->layer,
                        .stage = STAGE_attn_probs,
                        .width = attention->params.attention.heads * n_positions,
                        .input = {c->place[attention->input[0]], c->place[attention->input[1]], -1},
                        .weight = {attention->weight[0]},
                        .optional = true};
    step.params.attention_probs = (struct attention_probs_params){attention->params.attention, n_positions};
    add(c, &step);
}

/* Adds the probabilities that a token is drawn from, and the token, from the logits of the plan's last step. */
static void add_samples(struct copier *c, int32_t logits, int32_t masked_id)
{
    uint32_t vocab = c->copy->steps[logits].width;
    struct step probs = {.op = OP_sample_probs,
                         .layer = LAYER_NONE,
                         .stage = STAGE_sample_probs,
                         .width = vocab,
                         .input = {logits, -1, -1},
                         .optional = true};
    probs.params.sample_probs = (struct sample_probs_params){vocab, masked_id};
    struct step token = {.op = OP_sample_token,
                         .layer = LAYER_NONE,
                         .stage = STAGE_sample_token,
                         .width = 1,
                         .input = {logits, add(c, &probs), -1},
                         .optional = true};
    token.params.sample_token = (struct sample_token_params){vocab, masked_id};
    add(c, &token);
}

void plan_copy_judged(struct plan *copy, const struct plan *plan, const struct judged *judged)
{
    *copy = *plan;
    copy->arena = (struct arena){0};
    copy->n_steps = 0;
    copy->steps = arena_alloc(&copy->arena, ((size_t)plan->n_steps + plan->n_layers + 2) * sizeof(*copy->steps));
    struct copier c = {copy, arena_alloc(&copy->arena, plan->n_steps * sizeof(int32_t))};
    for (uint32_t i = 0; i < plan->n_steps; i++) {
        struct step step = plan->steps[i];
        if (judged->attn_probs && step.op == OP_attention) {
            add_attention_probs(&c, &step, judged->n_positions);
        }
        for (unsigned k = 0; k < OP_MAX_INPUTS; k++) {
            step.input[k] = step.input[k] < 0 ? -1 : c.place[step.input[k]];
        }
        c.place[i] = add(&c, &step);
    }
    if (judged->samples) {
        add_samples(&c, (int32_t)copy->n_steps - 1, judged->masked_id);
    }
}
