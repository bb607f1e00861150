/* Llama 1 to 3 and every model with model_type "llama" (SmolLM2, TinyLlama). Sources: transformers,
 * models/llama/modeling_llama.py; llama.cpp, convert_hf_to_gguf.py, for the GGUF's names. */
#include "model/families/families.h"

static const struct step_row layer[] = {
    {OP_rms_norm, STAGE_attn_norm, {FROM_RESIDUAL}, {"input_layernorm.weight"}},
    {OP_matmul, STAGE_q_proj, {STAGE_attn_norm}, {"self_attn.q_proj.weight", "self_attn.q_proj.bias"}},
    {OP_matmul, STAGE_k_proj, {STAGE_attn_norm}, {"self_attn.k_proj.weight", "self_attn.k_proj.bias"}},
    {OP_matmul, STAGE_v_proj, {STAGE_attn_norm}, {"self_attn.v_proj.weight", "self_attn.v_proj.bias"}},
    {OP_rope, STAGE_q_rope, {STAGE_q_proj}, {NULL}},
    {OP_rope, STAGE_k_rope, {STAGE_k_proj}, {NULL}},
    {OP_attention, STAGE_attn_out, {STAGE_q_rope, STAGE_k_rope, STAGE_v_proj}, {NULL}},
    {OP_matmul, STAGE_o_proj, {STAGE_attn_out}, {"self_attn.o_proj.weight", "self_attn.o_proj.bias"}},
    {OP_add, STAGE_attn_resid, {FROM_RESIDUAL, STAGE_o_proj}, {NULL}},
    /* In spite of its name this norm precedes the FFN; in Gemma it follows attention. */
    {OP_rms_norm, STAGE_ffn_norm, {STAGE_attn_resid}, {"post_attention_layernorm.weight"}},
    {OP_matmul, STAGE_ffn_gate, {STAGE_ffn_norm}, {"mlp.gate_proj.weight", "mlp.gate_proj.bias"}},
    {OP_matmul, STAGE_ffn_up, {STAGE_ffn_norm}, {"mlp.up_proj.weight", "mlp.up_proj.bias"}},
    {OP_glu, STAGE_ffn_act, {STAGE_ffn_gate, STAGE_ffn_up}, {NULL}},
    {OP_matmul, STAGE_ffn_down, {STAGE_ffn_act}, {"mlp.down_proj.weight", "mlp.down_proj.bias"}},
    {OP_add, STAGE_layer_out, {STAGE_attn_resid, STAGE_ffn_down}, {NULL}},
};

static const struct tensor_alias gguf_names[] = {
    {"ffn_norm.weight", "post_attention_layernorm.weight"},
    {"ffn_gate.weight", "mlp.gate_proj.weight"},
    {"ffn_gate.bias", "mlp.gate_proj.bias"},
    {"ffn_up.weight", "mlp.up_proj.weight"},
    {"ffn_up.bias", "mlp.up_proj.bias"},
    {"ffn_down.weight", "mlp.down_proj.weight"},
    {"ffn_down.bias", "mlp.down_proj.bias"},
    {NULL, NULL},
};

static const char *const model_types[] = {"llama", NULL};

const struct family family_llama = {
    .name = "llama",
    .model_types = model_types,
    .gguf_architecture = "llama",
    .gguf_permutes_qk = true,
    .layer = layer,
    .n_layer = sizeof(layer) / sizeof(layer[0]),
    .gguf_names = gguf_names,
    .gguf_rope_factors = true,
    .activation = "silu",
    .activation_key = "hidden_act",
    .rope_theta = 10000,
    .rope_theta_local = 10000,
};
