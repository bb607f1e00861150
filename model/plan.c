#include "model/plan.h"

#include <stdio.h>
#include <string.h>

#include "model/weights.h"

struct builder {
    struct plan *plan;
    const struct model *model;
    struct error *err;
    int32_t made[STAGE_COUNT]; /* step that made each stage of this layer; -1: not made yet */
    int32_t residual;          /* step whose output enters this layer */
};

static struct extent stage_extent(const struct config *config, enum stage stage)
{
    switch (stage) {
    case STAGE_q_proj:
    case STAGE_q_norm:
    case STAGE_q_rope:
    case STAGE_attn_out:
        return (struct extent){config->n_heads * config->head_dim, "num_attention_heads * head_dim"};
    case STAGE_k_proj:
    case STAGE_k_norm:
    case STAGE_k_rope:
    case STAGE_v_proj:
        return (struct extent){config->n_kv_heads * config->head_dim, "num_key_value_heads * head_dim"};
    case STAGE_ffn_gate:
    case STAGE_ffn_up:
    case STAGE_ffn_act:
        return (struct extent){config->ffn, "intermediate_size"};
    case STAGE_router_logits:
        return (struct extent){config->n_experts, "num_local_experts"};
    case STAGE_router_weights:
    case STAGE_router_indices:
        return (struct extent){config->top_k, "num_experts_per_tok"};
    case STAGE_moe_gate_up:
        return (struct extent){config->top_k * 2 * config->ffn, "num_experts_per_tok * 2 * intermediate_size"};
    case STAGE_moe_act:
        return (struct extent){config->top_k * config->ffn, "num_experts_per_tok * intermediate_size"};
    case STAGE_moe_down:
        return (struct extent){config->top_k * config->hidden, "num_experts_per_tok * hidden_size"};
    case STAGE_logits:
    case STAGE_logits_final:
        return (struct extent){config->vocab, "vocab_size"};
    default:
        return (struct extent){config->hidden, "hidden_size"};
    }
}

/* Heads of a q or k stage, whose norm and rope go head by head. */
static uint32_t stage_heads(const struct config *config, enum stage stage)
{
    bool is_key = stage == STAGE_k_norm || stage == STAGE_k_rope;
    return is_key ? config->n_kv_heads : config->n_heads;
}

static enum status matmul_weights(const struct builder *b, struct step *step, const char *prefix,
                                  const struct step_row *row)
{
    const struct config *config = &b->model->config;
    const struct step *input = &b->plan->steps[step->input[0]];
    struct extent out = stage_extent(config, step->stage), in = stage_extent(config, input->stage);
    bool wants_bias = row->weight[1] && weights_has_bias(config, row->weight[1]);
    step->params.matmul = (struct matmul_params){in.size, out.size, wants_bias};
    TRY(weights_matrix(b->model, &(struct weight_request){prefix, row->weight[0], out, in}, &step->weight[0], b->err));
    if (wants_bias) {
        TRY(weights_vector(b->model, &(struct weight_request){prefix, row->weight[1], .rows = out}, &step->weight[1],
                           b->err));
    }
    return STATUS_OK;
}

static enum status norm_weights(const struct builder *b, struct step *step, const char *prefix,
                                const struct step_row *row)
{
    const struct config *config = &b->model->config;
    bool by_head = step->stage == STAGE_q_norm || step->stage == STAGE_k_norm;
    struct extent dim =
        by_head ? (struct extent){config->head_dim, "head_dim"} : (struct extent){config->hidden, "hidden_size"};
    step->params.rms_norm = (struct rms_norm_params){by_head ? stage_heads(config, step->stage) : 1, dim.size,
                                                     config->norm_eps, config->norm_offset};
    return weights_vector(b->model, &(struct weight_request){prefix, row->weight[0], .rows = dim}, &step->weight[0],
                          b->err);
}

static void rope_step(const struct config *config, struct step *step)
{
    bool local = config->layer_is_local[step->layer];
    const struct rope *rope = local ? &config->rope_local : &config->rope_global;
    step->params.rope = (struct rope_params){stage_heads(config, step->stage),
                                             config->head_dim,
                                             rope->type,
                                             rope->theta,
                                             rope->factor,
                                             rope->low,
                                             rope->high,
                                             rope->original,
                                             rope->truncate,
                                             rope->scale};
}

/* An expert's matrices are [2 ffn, hidden] and [hidden, ffn]; its bias is one row of [experts, out]. */
static enum status expert_weights(const struct builder *b, struct step *step, const char *prefix,
                                  const struct step_row *row)
{
    const struct config *config = &b->model->config;
    const struct extent hidden = {config->hidden, "hidden_size"}, ffn = {config->ffn, "intermediate_size"};
    const struct extent both = {2 * config->ffn, "2 * intermediate_size"};
    const struct extent experts = {config->n_experts, "num_local_experts"};
    bool first = step->stage == STAGE_moe_gate_up;
    struct extent out = first ? both : hidden, in = first ? hidden : ffn;
    step->params.expert_matmul =
        (struct expert_matmul_params){config->n_experts, config->top_k, in.size, out.size, first, true};
    TRY(weights_experts(b->model, &(struct weight_request){prefix, row->weight[0], out, in}, &step->weight[0], b->err));
    TRY(weights_matrix(b->model, &(struct weight_request){prefix, row->weight[1], experts, out}, &step->weight[1],
                       b->err));
    return weights_plain(step->weight[1], b->err);
}

static enum status attention_step(const struct builder *b, struct step *step, const char *prefix,
                                  const struct step_row *row)
{
    const struct config *config = &b->model->config;
    step->params.attention = (struct attention_params){
        config->n_heads,       config->n_kv_heads,   config->head_dim,
        config->query_scale,   config->attn_softcap, config->layer_is_local[step->layer] ? config->sliding_window : 0,
        row->weight[0] != NULL};
    if (!row->weight[0]) {
        return STATUS_OK;
    }
    return weights_vector(
        b->model, &(struct weight_request){prefix, row->weight[0], .rows = {config->n_heads, "num_attention_heads"}},
        &step->weight[0], b->err);
}

/* Fills parameters and weights of a step whose op, stage, layer and inputs are set. */
static enum status fill_step(const struct builder *b, struct step *step, const char *prefix, const struct step_row *row)
{
    const struct config *config = &b->model->config;
    switch (step->op) {
    case OP_embed:
        step->params.embed = (struct embed_params){config->hidden, config->vocab, config->embed_scale};
        return weights_matrix(b->model,
                              &(struct weight_request){prefix, row->weight[0], stage_extent(config, STAGE_logits),
                                                       stage_extent(config, STAGE_embed)},
                              &step->weight[0], b->err);
    case OP_rms_norm:
        return norm_weights(b, step, prefix, row);
    case OP_matmul:
        return matmul_weights(b, step, prefix, row);
    case OP_rope:
        rope_step(config, step);
        return STATUS_OK;
    case OP_attention:
        return attention_step(b, step, prefix, row);
    case OP_glu:
        step->params.glu = (struct glu_params){step->width, config->activation};
        return STATUS_OK;
    case OP_add:
        step->params.add = (struct add_params){step->width};
        return STATUS_OK;
    case OP_softcap:
        step->params.softcap = (struct softcap_params){step->width, config->final_softcap};
        return STATUS_OK;
    case OP_topk_softmax:
        step->params.topk_softmax = (struct topk_softmax_params){config->n_experts, config->top_k};
        return STATUS_OK;
    case OP_topk:
        step->params.topk = (struct topk_params){config->n_experts, config->top_k};
        return STATUS_OK;
    case OP_expert_matmul:
        return expert_weights(b, step, prefix, row);
    case OP_swiglu:
        step->params.swiglu =
            (struct swiglu_params){step->width, config->swiglu_limit, config->swiglu_alpha, config->ffn};
        return STATUS_OK;
    case OP_expert_sum:
        step->params.expert_sum = (struct expert_sum_params){config->top_k, step->width};
        return STATUS_OK;
#define X(name, inputs, weights, what) case OP_##name:
        JUDGED_OPS(X) /* which no backend runs */
#undef X
    case OP_COUNT:
    case OP_END:
        break;
    }
    ASSERT(!"an op that the plan cannot fill");
    return STATUS_BAD_INPUT;
}

static enum status add_step(struct builder *b, int32_t layer, const char *prefix, const struct step_row *row)
{
    int32_t index = (int32_t)b->plan->n_steps++;
    struct step *step = &b->plan->steps[index];
    *step = (struct step){.op = row->op,
                          .layer = layer,
                          .stage = row->stage,
                          .input = {-1, -1, -1},
                          .optional = stage_is_optional(row->stage)};
    step->width = stage_extent(&b->model->config, row->stage).size;
    for (unsigned i = 0; i < op_info(row->op)->n_inputs; i++) {
        int from = row->input[i];
        step->input[i] = from == FROM_RESIDUAL ? b->residual : b->made[from];
        ASSERT(step->input[i] >= 0);
    }
    b->made[row->stage] = index;
    return fill_step(b, step, prefix, row);
}

static enum status add_layer(struct builder *b, uint32_t layer)
{
    const struct family *family = b->model->config.family;
    char prefix[40];
    snprintf(prefix, sizeof(prefix), "model.layers.%u.", layer);
    b->residual = (int32_t)b->plan->n_steps - 1;
    for (uint32_t i = 0; i < family->n_layer; i++) {
        TRY(add_step(b, (int32_t)layer, prefix, &family->layer[i]));
    }
    return STATUS_OK;
}

static enum status add_steps(struct builder *b)
{
    const struct config *config = &b->model->config;
    const struct step_row embed = {OP_embed, STAGE_embed, {FROM_TOKENS}, {"model.embed_tokens.weight"}};
    const struct step_row tail[] = {
        {OP_rms_norm, STAGE_final_norm, {FROM_RESIDUAL}, {"model.norm.weight"}},
        {OP_matmul, STAGE_logits, {STAGE_final_norm}, {config->tied_embeddings ? embed.weight[0] : "lm_head.weight"}},
        {OP_softcap, STAGE_logits_final, {STAGE_logits}, {NULL}},
    };
    TRY(add_step(b, LAYER_NONE, "", &embed));
    for (uint32_t layer = 0; layer < config->n_layers; layer++) {
        TRY(add_layer(b, layer));
    }
    b->residual = (int32_t)b->plan->n_steps - 1;
    for (unsigned i = 0; i < sizeof(tail) / sizeof(tail[0]); i++) {
        TRY(add_step(b, LAYER_NONE, "", &tail[i]));
    }
    return STATUS_OK;
}

enum status plan_build(struct plan *plan, const struct model *model, struct error *err)
{
    memset(plan, 0, sizeof(*plan));
    plan->model = model;
    plan->n_layers = model->config.n_layers;
    plan->steps =
        arena_alloc(&plan->arena, ((size_t)plan->n_layers * model->config.family->n_layer + 4) * sizeof(*plan->steps));
    struct builder b = {.plan = plan, .model = model, .err = err};
    for (int i = 0; i < STAGE_COUNT; i++) {
        b.made[i] = -1;
    }
    enum status status = add_steps(&b);
    if (status != STATUS_OK) {
        plan_free(plan);
    }
    return status;
}

void plan_copy(struct plan *copy, const struct plan *plan)
{
    *copy = *plan;
    copy->arena = (struct arena){0};
    copy->steps = arena_alloc(&copy->arena, plan->n_steps * sizeof(*plan->steps));
    memcpy(copy->steps, plan->steps, plan->n_steps * sizeof(*plan->steps));
}

void plan_free(struct plan *plan)
{
    arena_free(&plan->arena);
    memset(plan, 0, sizeof(*plan));
}

uint32_t step_weights_dtype(const struct step *step)
{
    bool none = !step->weight[0] || step->op == OP_attention || step->op == OP_attention_probs;
    return none ? DTYPE_COUNT : step->weight[0]->dtype;
}

int32_t plan_find(const struct plan *plan, int32_t layer, enum stage stage)
{
    for (uint32_t i = 0; i < plan->n_steps; i++) {
        if (plan->steps[i].layer == layer && plan->steps[i].stage == stage) {
            return (int32_t)i;
        }
    }
    return -1;
}

uint32_t plan_layer_begin(const struct plan *plan, uint32_t layer)
{
    ASSERT(layer < plan->n_layers);
    uint32_t i = 0;
    while (plan->steps[i].layer != (int32_t)layer) {
        i++;
    }
    return i;
}

uint32_t plan_layer_end(const struct plan *plan, uint32_t layer)
{
    uint32_t i = plan_layer_begin(plan, layer);
    while (i < plan->n_steps && plan->steps[i].layer == (int32_t)layer) {
        i++;
    }
    return i;
}

const char *step_label(const struct step *step, char text[64])
{
    if (step->layer == LAYER_NONE) {
        snprintf(text, 64, "%s", stage_name(step->stage));
    } else {
        snprintf(text, 64, "layer %d %s", step->layer, stage_name(step->stage));
    }
    return text;
}
