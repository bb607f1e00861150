/* Builds groups of ops, in the order in which a layer runs them. */
#include "workbench/bench/kernels/kernel_build.h"

static uint32_t add_matmul(struct kernel *kernel, enum stage stage, uint32_t x, uint32_t n_out)
{
    uint32_t n_in = kernel->plan.steps[x].width;
    return kernel_add_step(kernel, &(struct step){.op = OP_matmul,
                                                  .stage = stage,
                                                  .width = n_out,
                                                  .input = {(int32_t)x, -1, -1},
                                                  .weight = {kernel_add_tensor(kernel, kernel->dtype, n_out, n_in)},
                                                  .params.matmul = {n_in, n_out, 0}});
}

static uint32_t add_norm(struct kernel *kernel, const struct kernel_model *model, enum stage stage, uint32_t x,
                         uint32_t groups)
{
    uint32_t width = kernel->plan.steps[x].width, dim = width / groups;
    return kernel_add_step(kernel, &(struct step){.op = OP_rms_norm,
                                                  .stage = stage,
                                                  .width = width,
                                                  .input = {(int32_t)x, -1, -1},
                                                  .weight = {kernel_add_tensor(kernel, DTYPE_F32, 0, dim)},
                                                  .params.rms_norm = {groups, dim, 1e-6f, model->norms_after ? 1 : 0}});
}

/* [norm,] add, norm: what lies between attention and FFN, and between layers. Returns the last norm. */
static uint32_t add_residual(struct kernel *kernel, const struct kernel_model *model, enum stage after, enum stage sum,
                             enum stage before)
{
    uint32_t residual = kernel_add_values(kernel, model->hidden), branch = kernel_add_values(kernel, model->hidden);
    kernel->copied = kernel->plan.n_steps;
    if (model->norms_after) {
        branch = add_norm(kernel, model, after, branch, 1);
    }
    uint32_t x = kernel_add_step(kernel, &(struct step){.op = OP_add,
                                                        .stage = sum,
                                                        .width = model->hidden,
                                                        .input = {(int32_t)residual, (int32_t)branch, -1},
                                                        .params.add = {model->hidden}});
    return add_norm(kernel, model, before, x, 1);
}

void build_qkv_group(struct kernel *kernel, const struct kernel_case *row)
{
    const struct attention_params *op = &row->model->attention;
    uint32_t x = add_residual(kernel, row->model, STAGE_post_ffn_norm, STAGE_layer_out, STAGE_attn_norm);
    add_matmul(kernel, STAGE_q_proj, x, op->heads * op->dim);
    add_matmul(kernel, STAGE_k_proj, x, op->kv_heads * op->dim);
    add_matmul(kernel, STAGE_v_proj, x, op->kv_heads * op->dim);
}

void build_ffn_group(struct kernel *kernel, const struct kernel_case *row)
{
    const struct kernel_model *model = row->model;
    uint32_t x = add_residual(kernel, model, STAGE_post_attn_norm, STAGE_attn_resid, STAGE_ffn_norm);
    uint32_t gate = add_matmul(kernel, STAGE_ffn_gate, x, model->ffn);
    uint32_t up = add_matmul(kernel, STAGE_ffn_up, x, model->ffn);
    kernel_add_step(kernel, &(struct step){.op = OP_glu,
                                           .stage = STAGE_ffn_act,
                                           .width = model->ffn,
                                           .input = {(int32_t)gate, (int32_t)up, -1},
                                           .params.glu = {model->ffn, model->activation}});
}

void build_head_group(struct kernel *kernel, const struct kernel_case *row)
{
    const struct kernel_model *model = row->model;
    uint32_t x = add_residual(kernel, model, STAGE_post_ffn_norm, STAGE_layer_out, STAGE_final_norm);
    uint32_t logits = add_matmul(kernel, STAGE_logits, x, model->vocab);
    kernel_add_step(kernel, &(struct step){.op = OP_softcap,
                                           .stage = STAGE_logits_final,
                                           .width = model->vocab,
                                           .input = {(int32_t)logits, -1, -1},
                                           .params.softcap = {model->vocab, model->final_softcap}});
}

static uint32_t add_rope(struct kernel *kernel, const struct kernel_model *model, enum stage stage, uint32_t x)
{
    uint32_t width = kernel->plan.steps[x].width, dim = model->attention.dim;
    return kernel_add_step(kernel, &(struct step){.op = OP_rope,
                                                  .stage = stage,
                                                  .width = width,
                                                  .input = {(int32_t)x, -1, -1},
                                                  .params.rope = {.heads = width / dim,
                                                                  .dim = dim,
                                                                  .type = ROPE_TYPE_DEFAULT,
                                                                  .theta = model->theta,
                                                                  .factor = 1,
                                                                  .scale = 1}});
}

void build_attention_group(struct kernel *kernel, const struct kernel_case *row)
{
    const struct attention_params *op = &row->model->attention;
    uint32_t q = kernel_add_values(kernel, op->heads * op->dim);
    kernel->copied = kernel->plan.n_steps;
    uint32_t k = kernel_add_values(kernel, op->kv_heads * op->dim),
             v = kernel_add_values(kernel, op->kv_heads * op->dim);
    if (row->model->norms_heads) {
        q = add_norm(kernel, row->model, STAGE_q_norm, q, op->heads);
        k = add_norm(kernel, row->model, STAGE_k_norm, k, op->kv_heads);
    }
    q = add_rope(kernel, row->model, STAGE_q_rope, q);
    k = add_rope(kernel, row->model, STAGE_k_rope, k);
    uint32_t attention = kernel_add_step(kernel, &(struct step){.op = OP_attention,
                                                                .stage = STAGE_attn_out,
                                                                .width = op->heads * op->dim,
                                                                .input = {(int32_t)q, (int32_t)k, (int32_t)v},
                                                                .params.attention = *op});
    add_matmul(kernel, STAGE_o_proj, attention, row->model->hidden);
}
