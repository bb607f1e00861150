/* The edits of parameters, variants and handling; and what they have in common. */
#include <math.h>
#include <string.h>

#include "workbench/fault/fault_edits.h"
#include "workbench/session/session.h"

static bool strikes_stage(const struct fault *fault, enum stage stage)
{
    for (const enum stage *at = fault->stages; *at != STAGE_COUNT; at++) {
        if (*at == stage) {
            return true;
        }
    }
    return false;
}

static bool edit_norm_offset(struct edit *edit)
{
    float old = edit->step.params.rms_norm.offset;
    return (edit->step.params.rms_norm.offset = (float)edit->fault->value) != old;
}

static bool edit_norm_offset_add(struct edit *edit)
{
    edit->step.params.rms_norm.offset += (float)edit->fault->value;
    return true;
}

static bool edit_embed_scale(struct edit *edit)
{
    float old = edit->step.params.embed.scale;
    return (edit->step.params.embed.scale = (float)edit->fault->value) != old;
}

static bool edit_query_scale(struct edit *edit)
{
    struct attention_params *params = &edit->step.params.attention;
    float old = params->scale;
    params->scale = (float)(edit->fault->value != 0 ? edit->fault->value : 1 / sqrt(params->dim));
    return fabsf(params->scale - old) > 1e-6f * old; /* else only rounded otherwise */
}

static bool edit_window(struct edit *edit)
{
    struct attention_params *params = &edit->step.params.attention;
    bool has_window = params->window != 0;
    params->window += has_window ? (uint32_t)edit->fault->value : 0;
    return has_window;
}

static bool edit_other_kind(struct edit *edit)
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

static bool edit_gelu_erf(struct edit *edit)
{
    bool is_tanh = edit->step.params.glu.activation == ACTIVATION_GELU_TANH;
    edit->step.params.glu.activation = ACTIVATION_GELU_ERF;
    return is_tanh;
}

static bool edit_activation(struct edit *edit)
{
    uint32_t old = edit->step.params.glu.activation;
    edit->step.params.glu.activation = (uint32_t)edit->fault->value;
    return (old == ACTIVATION_SILU) !=
           (edit->step.params.glu.activation == ACTIVATION_SILU); /* gelu-erf tells the rest */
}

static bool edit_no_bias(struct edit *edit)
{
    bool has_bias = edit->step.params.matmul.has_bias;
    edit->step.params.matmul.has_bias = 0;
    edit->step.weight[1] = NULL;
    return has_bias;
}

static bool edit_layer_before(struct edit *edit)
{
    int32_t before = edit->step.layer > 0 ? plan_find(edit->plan, edit->step.layer - 1, edit->step.stage) : -1;
    if (before < 0) {
        return false;
    }
    memcpy(edit->step.weight, edit->plan->steps[before].weight, sizeof(edit->step.weight));
    return true;
}

/* Whether a wrong formula can be asked of this step: a matrix that is not square cannot be read transposed. */
static bool edit_variant(struct edit *edit)
{
    struct step *step = &edit->step;
    uint32_t variant = (uint32_t)edit->fault->value;
    if (step->variant != VARIANT_NONE) {
        return false;
    }
    step->variant = variant;
    switch (variant) {
    case VARIANT_TRANSPOSE_B:
        return step->params.matmul.n_in == step->params.matmul.n_out;
    case VARIANT_SOFTMAX_SIZES_SWAPPED:
    case VARIANT_NO_MAXIMUM:
        return !step->params.attention.has_sinks;
    case VARIANT_ROPE_NEIGHBOURS:
        return step->params.rope.dim > 2;
    case VARIANT_KV_HEADS_IN_TURN:
        return step->params.attention.kv_heads > 1 && step->params.attention.kv_heads < step->params.attention.heads;
    case VARIANT_SCALE_UNSYNCED:
        return step->params.embed.scale != 1;
    case VARIANT_HALF_SUM:
        return step->params.rms_norm.dim > 16;
    case VARIANT_QUERY_AS_F32:
        return step->params.attention.heads * step->params.attention.dim % 2 == 0;
    case VARIANT_SOFTMAX_FIRST:
        return step->params.topk_softmax.k < step->params.topk_softmax.n;
    case VARIANT_LAST_EXPERT:
        return step->params.expert_sum.k > 1;
    default:
        return true;
    }
}

static bool edit_exchange(struct edit *edit)
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

static bool edit_no_sinks(struct edit *edit)
{
    bool has_sinks = edit->step.params.attention.has_sinks != 0;
    edit->step.params.attention.has_sinks = 0;
    edit->step.weight[0] = NULL;
    return has_sinks;
}

static bool edit_no_softcap(struct edit *edit)
{
    union step_params *params = &edit->step.params;
    float *cap = edit->step.op != OP_softcap ? &params->attention.softcap : &params->softcap.cap;
    bool has_cap = *cap != 0;
    *cap = 0;
    return has_cap;
}

static bool edit_no_yarn(struct edit *edit)
{
    struct rope_params *rope = &edit->step.params.rope;
    bool has_yarn = rope->type == ROPE_TYPE_YARN;
    rope->type = ROPE_TYPE_DEFAULT;
    rope->factor = rope->scale = 1;
    return has_yarn;
}

static bool edit_no_experts(struct edit *edit)
{
    edit->step.params.expert_sum.k = 0;
    return true;
}

/* The number of heads whose width is the step's, or 0. */
static uint32_t heads_of(const struct step *step)
{
    return step->op == OP_rms_norm ? step->params.rms_norm.groups : step->op == OP_rope ? step->params.rope.heads : 0;
}

static bool edit_tamper(struct edit *edit)
{
    struct step *step = &edit->step;
    step->tamper.how = (enum tamper)edit->fault->value;
    switch (step->tamper.how) {
    case TAMPER_SHARED_SLOT: /* the buffer of odd layers */
        step->tamper.with = plan_find(edit->plan, step->layer + 1, STAGE_q_proj);
        return step->layer % 2 == 1 && step->tamper.with >= 0;
    case TAMPER_PAD_CHOSEN:
        return edit->plan->model && session_masked_id(&edit->plan->model->config) >= 0; /* else it is a kernel's plan */
    case TAMPER_HEADS_FIRST:
        step->tamper.with = (int32_t)heads_of(step);
        return step->tamper.with > 1;
    default:
        return true;
    }
}

static bool edit_nothing(struct edit *edit)
{
    (void)edit;
    return false;
}

static edit_function *const edits[EDIT_COUNT] = {
    [EDIT_NORM_OFFSET] = edit_norm_offset, [EDIT_NORM_OFFSET_ADD] = edit_norm_offset_add,
    [EDIT_EMBED_SCALE] = edit_embed_scale, [EDIT_QUERY_SCALE] = edit_query_scale,
    [EDIT_WINDOW] = edit_window,           [EDIT_OTHER_KIND] = edit_other_kind,
    [EDIT_GELU_ERF] = edit_gelu_erf,       [EDIT_ACTIVATION] = edit_activation,
    [EDIT_NO_BIAS] = edit_no_bias,         [EDIT_LAYER_BEFORE] = edit_layer_before,
    [EDIT_VARIANT] = edit_variant,         [EDIT_EXCHANGE] = edit_exchange,
    [EDIT_WRONG_DTYPE] = edit_wrong_dtype, [EDIT_ROW_TIMES] = edit_row_times,
    [EDIT_PAIR_ORDER] = edit_pair_order,   [EDIT_MIN_SIGN] = edit_min_sign,
    [EDIT_TAMPER] = edit_tamper,           [EDIT_PAD_BUFFERS] = edit_nothing,
    [EDIT_NO_SINKS] = edit_no_sinks,       [EDIT_NO_SOFTCAP] = edit_no_softcap,
    [EDIT_NO_YARN] = edit_no_yarn,         [EDIT_NO_EXPERT_BIAS] = edit_no_expert_bias,
    [EDIT_NO_EXPERTS] = edit_no_experts,   [EDIT_NIBBLES] = edit_nibbles,
    [EDIT_TO_Q4_K] = edit_to_q4_k,         [EDIT_ROW_BY_ROW] = edit_row_by_row,
};

/* Makes the edit to edit->step. false: it does not apply. */
static bool make_edit(struct edit *edit)
{
    const struct fault *fault = edit->fault;
    edit->step = edit->plan->steps[edit->index];
    /* what is wrong with attention is wrong with its probabilities, whose parameters begin with attention's */
    bool is_probs = edit->step.op == OP_attention_probs && fault->op == OP_attention;
    return (fault->op == OP_COUNT || fault->op == edit->step.op || is_probs) &&
           strikes_stage(fault, is_probs ? STAGE_attn_out : edit->step.stage) && edits[fault->edit](edit);
}

bool fault_applies(const struct fault *fault, const struct plan *plan, uint32_t step)
{
    struct edit edit = {.fault = fault, .plan = plan, .index = step};
    return make_edit(&edit);
}

struct step fault_mutant(const struct fault *fault, const struct plan *plan, uint32_t step, struct arena *arena)
{
    struct edit edit = {.fault = fault, .plan = plan, .index = step, .arena = arena};
    bool applies = make_edit(&edit);
    ASSERT(applies);
    return edit.step;
}
