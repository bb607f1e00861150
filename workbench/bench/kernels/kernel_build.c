/* Builds kernels of one op. */
#include "workbench/bench/kernels/kernel_build.h"

#include <math.h>

#include "workbench/bench/kernels/kernel_random.h"

/* The steps added from here on exist once a copy. */
static void begin_copy(struct kernel *kernel)
{
    kernel->copied = kernel->plan.n_steps;
}

void build_matmul(struct kernel *kernel, const struct kernel_case *row)
{
    const struct matmul_params *op = &row->params.matmul;
    uint32_t x = kernel_add_values(kernel, op->n_in);
    begin_copy(kernel);
    kernel_add_step(kernel, &(struct step){.op = OP_matmul,
                                           .stage = STAGE_ffn_down,
                                           .width = op->n_out,
                                           .input = {(int32_t)x, -1, -1},
                                           .weight = {kernel_add_tensor(kernel, kernel->dtype, op->n_out, op->n_in)},
                                           .params = row->params});
}

void build_rms_norm(struct kernel *kernel, const struct kernel_case *row)
{
    const struct rms_norm_params *op = &row->params.rms_norm;
    uint32_t x = kernel_add_values(kernel, op->groups * op->dim);
    begin_copy(kernel);
    kernel_add_step(kernel, &(struct step){.op = OP_rms_norm,
                                           .stage = op->groups > 1 ? STAGE_q_norm : STAGE_attn_norm,
                                           .width = op->groups * op->dim,
                                           .input = {(int32_t)x, -1, -1},
                                           .weight = {kernel_add_tensor(kernel, DTYPE_F32, 0, op->dim)},
                                           .params = row->params});
}

/* An op without weights; its inputs are random. inputs: [n_inputs] their widths. */
static void build_plain(struct kernel *kernel, const struct kernel_case *row, enum op op, enum stage stage,
                        uint32_t width, const uint32_t *inputs)
{
    struct step step = {.op = op, .stage = stage, .width = width, .input = {-1, -1, -1}, .params = row->params};
    for (unsigned i = 0; i < op_info(op)->n_inputs; i++) {
        step.input[i] = (int32_t)kernel_add_values(kernel, inputs[i]);
    }
    begin_copy(kernel);
    kernel_add_step(kernel, &step);
}

void build_rope(struct kernel *kernel, const struct kernel_case *row)
{
    uint32_t width = row->params.rope.heads * row->params.rope.dim;
    build_plain(kernel, row, OP_rope, STAGE_q_rope, width, &width);
}

void build_glu(struct kernel *kernel, const struct kernel_case *row)
{
    uint32_t width = row->params.glu.width;
    build_plain(kernel, row, OP_glu, STAGE_ffn_act, width, (uint32_t[]){width, width});
}

void build_add(struct kernel *kernel, const struct kernel_case *row)
{
    uint32_t width = row->params.add.width;
    build_plain(kernel, row, OP_add, STAGE_attn_resid, width, (uint32_t[]){width, width});
}

void build_softcap(struct kernel *kernel, const struct kernel_case *row)
{
    uint32_t width = row->params.softcap.width;
    build_plain(kernel, row, OP_softcap, STAGE_logits_final, width, &width);
}

void build_topk(struct kernel *kernel, const struct kernel_case *row)
{
    build_plain(kernel, row, OP_topk, STAGE_router_indices, row->params.topk.k, &row->params.topk.n);
}

void build_topk_softmax(struct kernel *kernel, const struct kernel_case *row)
{
    const struct topk_softmax_params *op = &row->params.topk_softmax;
    build_plain(kernel, row, OP_topk_softmax, STAGE_router_weights, op->k, &op->n);
}

void build_swiglu(struct kernel *kernel, const struct kernel_case *row)
{
    uint32_t width = row->params.swiglu.width;
    build_plain(kernel, row, OP_swiglu, STAGE_moe_act, width, (uint32_t[]){2 * width});
}

void build_expert_sum(struct kernel *kernel, const struct kernel_case *row)
{
    const struct expert_sum_params *op = &row->params.expert_sum;
    build_plain(kernel, row, OP_expert_sum, STAGE_moe_out, op->width, (uint32_t[]){op->k * op->width, op->k});
}

void build_attention(struct kernel *kernel, const struct kernel_case *row)
{
    const struct attention_params *op = &row->params.attention;
    uint32_t q = kernel_add_values(kernel, op->heads * op->dim);
    begin_copy(kernel);
    uint32_t k = kernel_add_values(kernel, op->kv_heads * op->dim),
             v = kernel_add_values(kernel, op->kv_heads * op->dim);
    kernel_add_step(
        kernel, &(struct step){.op = OP_attention,
                               .stage = STAGE_attn_out,
                               .width = op->heads * op->dim,
                               .input = {(int32_t)q, (int32_t)k, (int32_t)v},
                               .weight = {op->has_sinks ? kernel_add_tensor(kernel, DTYPE_F32, 0, op->heads) : NULL},
                               .params = row->params});
}

void build_embed(struct kernel *kernel, const struct kernel_case *row)
{
    const struct embed_params *op = &row->params.embed;
    for (uint32_t i = 0; i < kernel->n_rows; i++) {
        kernel->tokens[i] = (int32_t)(random_bits(&kernel->seed) % op->vocab);
    }
    begin_copy(kernel);
    kernel_add_step(kernel, &(struct step){.op = OP_embed,
                                           .stage = STAGE_embed,
                                           .width = op->width,
                                           .input = {-1, -1, -1},
                                           .weight = {kernel_add_tensor(kernel, kernel->dtype, op->vocab, op->width)},
                                           .params = row->params});
}

void build_expert_matmul(struct kernel *kernel, const struct kernel_case *row)
{
    const struct expert_matmul_params *op = &row->params.expert_matmul;
    uint32_t x = kernel_add_values(kernel, op->shared_x ? op->n_in : op->k * op->n_in);
    uint32_t places = kernel_add_indices(kernel, op->k, op->n_experts);
    begin_copy(kernel);
    kernel_add_step(kernel, &(struct step){.op = OP_expert_matmul,
                                           .stage = op->shared_x ? STAGE_moe_gate_up : STAGE_moe_down,
                                           .width = op->k * op->n_out,
                                           .input = {(int32_t)x, (int32_t)places, -1},
                                           .weight = {kernel_add_tensor(kernel, kernel->dtype,
                                                                        (uint64_t)op->n_experts * op->n_out, op->n_in),
                                                      kernel_add_tensor(kernel, DTYPE_F32, op->n_experts, op->n_out)},
                                           .params = row->params});
}
