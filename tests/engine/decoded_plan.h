/* A small model of two layers, built by hand, that the kernels for GPUs can decode. */
#ifndef LOCKSTEP_TESTS_ENGINE_DECODED_PLAN_H
#define LOCKSTEP_TESTS_ENGINE_DECODED_PLAN_H

#include "tests/engine/engine_fixture.h"

enum { HIDDEN = 64, HEADS = 4, KV_HEADS = 2, DIM = 16, FFN = 736, VOCAB = 1330, LAYERS = 2, POSITIONS = 48 };

struct model_shape {
    uint32_t dtype, head_dtype;
    bool post_norms, head_norms, softcap;
};

static inline int32_t add_norm(struct fixture *f, enum stage stage, int32_t layer, int32_t in, uint32_t groups)
{
    uint32_t width = f->plan.steps[in].width, dim = width / groups;
    int32_t step = fixture_stage(f, (struct step){.op = OP_rms_norm,
                                                  .stage = stage,
                                                  .layer = layer,
                                                  .width = width,
                                                  .input = {in, -1},
                                                  .params = {.rms_norm = {groups, dim, 1e-6f, 1}}});
    f->plan.steps[step].weight[0] = fixture_tensor(f, DTYPE_F32, 0, dim);
    return step;
}

static inline int32_t add_sum(struct fixture *f, enum stage stage, int32_t layer, int32_t residual, int32_t branch)
{
    return fixture_stage(f, (struct step){.op = OP_add,
                                          .stage = stage,
                                          .layer = layer,
                                          .width = HIDDEN,
                                          .input = {residual, branch},
                                          .params = {.add = {HIDDEN}}});
}

static inline int32_t add_rope(struct fixture *f, enum stage stage, int32_t layer, int32_t in, uint32_t heads)
{
    return fixture_stage(f, (struct step){.op = OP_rope,
                                          .stage = stage,
                                          .layer = layer,
                                          .width = heads * DIM,
                                          .input = {in, -1},
                                          .params = {.rope = {heads, DIM, ROPE_TYPE_DEFAULT, 1e4f, 1, .scale = 1}}});
}

static inline int32_t add_attention(struct fixture *f, const struct model_shape *shape, int32_t layer, int32_t norm)
{
    int32_t q = fixture_stage_matmul(
        f, (struct stage_matmul){STAGE_q_proj, layer, shape->dtype, norm, HEADS * DIM, layer == 0});
    int32_t k = fixture_stage_matmul(
        f, (struct stage_matmul){STAGE_k_proj, layer, shape->dtype, norm, KV_HEADS * DIM, layer == 0});
    int32_t v = fixture_stage_matmul(
        f, (struct stage_matmul){STAGE_v_proj, layer, shape->dtype, norm, KV_HEADS * DIM, layer == 0});
    if (shape->head_norms) {
        q = add_norm(f, STAGE_q_norm, layer, q, HEADS);
        k = add_norm(f, STAGE_k_norm, layer, k, KV_HEADS);
    }
    q = add_rope(f, STAGE_q_rope, layer, q, HEADS);
    k = add_rope(f, STAGE_k_rope, layer, k, KV_HEADS);
    struct attention_params params = {HEADS, KV_HEADS, DIM, 0.02f, shape->softcap ? 20 : 0, layer ? 0 : 40, layer};
    int32_t attention = fixture_stage(f, (struct step){.op = OP_attention,
                                                       .stage = STAGE_attn_out,
                                                       .layer = layer,
                                                       .width = HEADS * DIM,
                                                       .input = {q, k},
                                                       .params = {.attention = params}});
    f->plan.steps[attention].input[2] = v;
    f->plan.steps[attention].weight[0] = layer ? fixture_tensor(f, DTYPE_BF16, 0, HEADS) : NULL;
    return fixture_stage_matmul(
        f, (struct stage_matmul){STAGE_o_proj, layer, shape->dtype, attention, HIDDEN, layer == 0});
}

static inline int32_t add_layer(struct fixture *f, const struct model_shape *shape, int32_t layer, int32_t residual)
{
    int32_t norm = add_norm(f, STAGE_attn_norm, layer, residual, 1);
    int32_t branch = add_attention(f, shape, layer, norm);
    if (shape->post_norms) {
        branch = add_norm(f, STAGE_post_attn_norm, layer, branch, 1);
    }
    residual = add_sum(f, STAGE_attn_resid, layer, residual, branch);
    norm = add_norm(f, STAGE_ffn_norm, layer, residual, 1);
    int32_t gate =
        fixture_stage_matmul(f, (struct stage_matmul){STAGE_ffn_gate, layer, shape->dtype, norm, FFN, false});
    int32_t up = fixture_stage_matmul(f, (struct stage_matmul){STAGE_ffn_up, layer, shape->dtype, norm, FFN, false});
    int32_t act =
        fixture_stage(f, (struct step){.op = OP_glu,
                                       .stage = STAGE_ffn_act,
                                       .layer = layer,
                                       .width = FFN,
                                       .input = {gate, up},
                                       .params = {.glu = {FFN, layer ? ACTIVATION_SILU : ACTIVATION_GELU_TANH}}});
    branch = fixture_stage_matmul(f, (struct stage_matmul){STAGE_ffn_down, layer, shape->dtype, act, HIDDEN, false});
    if (shape->post_norms) {
        branch = add_norm(f, STAGE_post_ffn_norm, layer, branch, 1);
    }
    return add_sum(f, STAGE_layer_out, layer, residual, branch);
}

static inline void plan_by_hand(struct fixture *f, const struct model_shape *shape)
{
    fixture_init(f, POSITIONS);
    for (int i = 0; i < 64; i++) {
        f->tokens[i] = (i * 37 + 5) % VOCAB;
    }
    int32_t residual = (int32_t)fixture_step(f, OP_embed, HIDDEN, (union step_params){.embed = {HIDDEN, VOCAB, 2}});
    f->plan.steps[residual].weight[0] = fixture_tensor(f, shape->head_dtype, VOCAB, HIDDEN);
    for (int32_t layer = 0; layer < LAYERS; layer++) {
        residual = add_layer(f, shape, layer, residual);
    }
    int32_t norm = add_norm(f, STAGE_final_norm, LAYER_NONE, residual, 1);
    int32_t logits =
        fixture_stage_matmul(f, (struct stage_matmul){STAGE_logits, LAYER_NONE, shape->head_dtype, norm, VOCAB, false});
    fixture_stage(f, (struct step){.op = OP_softcap,
                                   .stage = STAGE_logits_final,
                                   .layer = LAYER_NONE,
                                   .width = VOCAB,
                                   .input = {logits, -1},
                                   .params = {.softcap = {VOCAB, 30}}});
}

#endif
