/* GPT-OSS: a mixture of experts, whose router chooses top_k of them and weighs them by a softmax over the chosen;
 * attention has a sink for each head; everything has biases; even layers are local. Sources: transformers,
 * models/gpt_oss/modeling_gpt_oss.py; llama.cpp, convert_hf_to_gguf.py, for the GGUF's names. */
#include "model/families/families.h"

static const struct step_row layer[] = {
    {OP_rms_norm, STAGE_attn_norm, {FROM_RESIDUAL}, {"input_layernorm.weight"}},
    {OP_matmul, STAGE_q_proj, {STAGE_attn_norm}, {"self_attn.q_proj.weight", "self_attn.q_proj.bias"}},
    {OP_matmul, STAGE_k_proj, {STAGE_attn_norm}, {"self_attn.k_proj.weight", "self_attn.k_proj.bias"}},
    {OP_matmul, STAGE_v_proj, {STAGE_attn_norm}, {"self_attn.v_proj.weight", "self_attn.v_proj.bias"}},
    {OP_rope, STAGE_q_rope, {STAGE_q_proj}, {NULL}},
    {OP_rope, STAGE_k_rope, {STAGE_k_proj}, {NULL}},
    {OP_attention, STAGE_attn_out, {STAGE_q_rope, STAGE_k_rope, STAGE_v_proj}, {"self_attn.sinks"}},
    {OP_matmul, STAGE_o_proj, {STAGE_attn_out}, {"self_attn.o_proj.weight", "self_attn.o_proj.bias"}},
    {OP_add, STAGE_attn_resid, {FROM_RESIDUAL, STAGE_o_proj}, {NULL}},
    /* In spite of its name this norm precedes the FFN; in Gemma it follows attention. */
    {OP_rms_norm, STAGE_ffn_norm, {STAGE_attn_resid}, {"post_attention_layernorm.weight"}},
    {OP_matmul, STAGE_router_logits, {STAGE_ffn_norm}, {"mlp.router.weight", "mlp.router.bias"}},
    {OP_topk_softmax, STAGE_router_weights, {STAGE_router_logits}, {NULL}},
    {OP_topk, STAGE_router_indices, {STAGE_router_logits}, {NULL}},
    {OP_expert_matmul,
     STAGE_moe_gate_up,
     {STAGE_ffn_norm, STAGE_router_indices},
     {"mlp.experts.gate_up_proj", "mlp.experts.gate_up_proj_bias"}},
    {OP_swiglu, STAGE_moe_act, {STAGE_moe_gate_up}, {NULL}},
    {OP_expert_matmul,
     STAGE_moe_down,
     {STAGE_moe_act, STAGE_router_indices},
     {"mlp.experts.down_proj", "mlp.experts.down_proj_bias"}},
    {OP_expert_sum, STAGE_moe_out, {STAGE_moe_down, STAGE_router_weights}, {NULL}},
    {OP_add, STAGE_layer_out, {STAGE_attn_resid, STAGE_moe_out}, {NULL}},
};

/* gguf_experts.c joins gate and up, row by row in turn. */
static const struct tensor_alias gguf_names[] = {
    {"attn_sinks.weight", "self_attn.sinks"},
    {"post_attention_norm.weight", "post_attention_layernorm.weight"},
    {"ffn_gate_inp.weight", "mlp.router.weight"},
    {"ffn_gate_inp.bias", "mlp.router.bias"},
    {"ffn_gate_exps.weight", "mlp.experts.gate_proj"},
    {"ffn_gate_exps.bias", "mlp.experts.gate_proj_bias"},
    {"ffn_up_exps.weight", "mlp.experts.up_proj"},
    {"ffn_up_exps.bias", "mlp.experts.up_proj_bias"},
    {"ffn_down_exps.weight", "mlp.experts.down_proj"},
    {"ffn_down_exps.bias", "mlp.experts.down_proj_bias"},
    {NULL, NULL},
};

static const char *const model_types[] = {"gpt_oss", NULL};

const struct family family_gpt_oss = {
    .name = "gpt_oss",
    .model_types = model_types,
    .gguf_architecture = "gpt-oss",
    .layer = layer,
    .n_layer = sizeof(layer) / sizeof(layer[0]),
    .gguf_names = gguf_names,
    .has_local_layers = true,
    .global_every = 2,
    .has_experts = true,
    .swiglu_limit = 7,
    .swiglu_alpha = 1.702f,
    .gguf_yarn_untruncated = true, /* its config.json says so; llama.cpp truncates */
    .activation = "silu",
    .activation_key = "hidden_act",
    .rope_theta = 150000,
    .rope_theta_local = 150000,
};
