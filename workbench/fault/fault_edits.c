/* Edits of parameters, wiring and handling, and how a row's edits are made. */
#include <math.h>
#include <stddef.h>
#include <string.h>

#include "model/model.h"
#include "workbench/fault/fault_edits.h"

static bool strikes_stage(const struct fault *fault, enum stage stage)
{
    for (const enum stage *at = fault->stages; *at != STAGE_COUNT; at++) {
        if (*at == stage) {
            return true;
        }
    }
    return false;
}

/* Changes one number. false: the step has it already, but for a rounding. */
static bool change_number(struct step *step, const struct number_edit *edit)
{
    char *at = (char *)&step->params + edit->offset;
    uint32_t integer;
    float real;
    memcpy(&integer, at, sizeof(integer));
    memcpy(&real, at, sizeof(real));
    double old = edit->is_float ? (double)real : integer;
    double changed = edit->change == NUMBER_SET   ? edit->value
                     : edit->change == NUMBER_ADD ? old + edit->value
                                                  : pow(old, edit->value);
    if (edit->is_float) {
        real = (float)changed;
        memcpy(at, &real, sizeof(real));
        return fabs(real - old) > 1e-6 * fabs(old);
    }
    integer = (uint32_t)changed;
    memcpy(at, &integer, sizeof(integer));
    return integer != old;
}

bool edit_query_scale(struct edit *edit)
{
    struct attention_params *params = &edit->step.params.attention;
    const struct number_edit number = {NUMBER_SET, true, offsetof(union step_params, attention.scale),
                                       1 / sqrt(params->dim)};
    return change_number(&edit->step, &number);
}

bool edit_other_kind(struct edit *edit)
{
    const struct plan *plan = edit->plan;
    for (uint32_t i = 0; i < plan->n_steps; i++) {
        const struct step *other = &plan->steps[i];
        if (other->op != edit->step.op || other->stage != edit->step.stage ||
            memcmp(&other->params, &edit->step.params, sizeof(other->params)) == 0) {
            continue;
        }
        edit->step.params = other->params;
        return true;
    }
    return false;
}

bool edit_no_offset(struct edit *edit)
{
    float *offset = &edit->step.params.rms_norm.offset;
    const struct model *model = edit->plan->model; /* a kernel's plan has none */
    float of_family = model ? model->config.family->norm_offset : *offset;
    *offset -= of_family;
    return of_family != 0;
}

bool edit_no_bias(struct edit *edit)
{
    bool has_bias = edit->step.params.matmul.has_bias;
    edit->step.params.matmul.has_bias = 0;
    edit->step.weight[1] = NULL;
    return has_bias;
}

bool edit_layer_before(struct edit *edit)
{
    int32_t before = edit->step.layer > 0 ? plan_find(edit->plan, edit->step.layer - 1, edit->step.stage) : -1;
    if (before < 0) {
        return false;
    }
    memcpy(edit->step.weight, edit->plan->steps[before].weight, sizeof(edit->step.weight));
    return true;
}

bool edit_exchange(struct edit *edit)
{
    const struct plan *plan = edit->plan;
    for (uint32_t i = 0; i < plan->n_steps; i++) {
        const struct step *other = &plan->steps[i], *step = &edit->step;
        if (i == edit->index || other->op != step->op || other->layer != step->layer ||
            !strikes_stage(edit->fault, other->stage) || memcmp(other->input, step->input, sizeof(step->input)) != 0 ||
            memcmp(&other->params, &step->params, sizeof(step->params)) != 0) {
            continue;
        }
        memcpy(edit->step.weight, other->weight, sizeof(other->weight));
        return true;
    }
    return false;
}

bool edit_no_sinks(struct edit *edit)
{
    bool has_sinks = edit->step.params.attention.has_sinks != 0;
    edit->step.params.attention.has_sinks = 0;
    edit->step.weight[0] = NULL;
    return has_sinks;
}

bool edit_no_yarn(struct edit *edit)
{
    struct rope_params *rope = &edit->step.params.rope;
    bool has_yarn = rope->type == ROPE_TYPE_YARN;
    rope->type = ROPE_TYPE_DEFAULT;
    rope->factor = rope->scale = 1;
    return has_yarn;
}

bool edit_shared_slot(struct edit *edit)
{
    edit->step.tamper.with = plan_find(edit->plan, edit->step.layer + 1, STAGE_q_proj);
    return edit->step.layer % 2 == 1 && edit->step.tamper.with >= 0;
}

bool edit_heads_first(struct edit *edit)
{
    const struct step *step = &edit->step;
    uint32_t heads = step->op == OP_rms_norm ? step->params.rms_norm.groups
                     : step->op == OP_rope   ? step->params.rope.heads
                                             : 0;
    edit->step.tamper.with = (int32_t)heads;
    return heads > 1;
}

bool edit_pad_chosen(struct edit *edit)
{
    return edit->plan->model && config_masked_id(&edit->plan->model->config) >= 0; /* a kernel's plan has no model */
}

/* Makes every edit of the row to edit->step. false: one of them does not apply. */
static bool make_edits(struct edit *edit)
{
    const struct fault *fault = edit->fault;
    struct step *step = &edit->step;
    *step = edit->plan->steps[edit->index];
    /* A bug of attention is one of its probabilities, too. Their parameters begin with attention's. */
    bool is_probs = step->op == OP_attention_probs && fault->op == OP_attention;
    if ((fault->op != OP_COUNT && fault->op != step->op && !is_probs) ||
        !strikes_stage(fault, is_probs ? STAGE_attn_out : step->stage) ||
        (fault->only_if != NULL && !fault->only_if(step))) {
        return false;
    }
    if (fault->variant != VARIANT_NONE) {
        if (step->variant != VARIANT_NONE) { /* another fault's */
            return false;
        }
        step->variant = fault->variant;
    }
    if (fault->number.change != NUMBER_KEPT && !change_number(step, &fault->number)) {
        return false;
    }
    if (fault->tamper != TAMPER_NONE) {
        step->tamper.how = fault->tamper;
    }
    return fault->edit == NULL || fault->edit(edit);
}

bool fault_is_mutant(const struct fault *fault)
{
    return fault->relation == NULL && fault->tamper == TAMPER_NONE;
}

bool fault_applies(const struct fault *fault, const struct plan *plan, uint32_t step)
{
    struct edit edit = {.fault = fault, .plan = plan, .index = step};
    return make_edits(&edit);
}

struct step fault_mutant(const struct fault *fault, const struct plan *plan, uint32_t step, struct arena *arena)
{
    struct edit edit = {.fault = fault, .plan = plan, .index = step, .arena = arena};
    bool applies = make_edits(&edit);
    ASSERT(applies);
    return edit.step;
}
