/* Gemma 3, the text model: norms multiply by (1 + weight), attention and FFN have a norm on both sides, q and k are
 * normalised head by head, embeddings are scaled by sqrt(hidden), most layers are local and have their own rope base.
 * Sources: transformers, models/gemma3/modeling_gemma3.py; llama.cpp, convert_hf_to_gguf.py, for the GGUF's names. */
#include "model/families/families.h"

static const struct step_row layer[] = {
    {OP_rms_norm, STAGE_attn_norm, {FROM_RESIDUAL}, {"input_layernorm.weight"}},
    {OP_matmul, STAGE_q_proj, {STAGE_attn_norm}, {"self_attn.q_proj.weight", "self_attn.q_proj.bias"}},
    {OP_matmul, STAGE_k_proj, {STAGE_attn_norm}, {"self_attn.k_proj.weight", "self_attn.k_proj.bias"}},
    {OP_matmul, STAGE_v_proj, {STAGE_attn_norm}, {"self_attn.v_proj.weight", "self_attn.v_proj.bias"}},
    {OP_rms_norm, STAGE_q_norm, {STAGE_q_proj}, {"self_attn.q_norm.weight"}},
    {OP_rms_norm, STAGE_k_norm, {STAGE_k_proj}, {"self_attn.k_norm.weight"}},
    {OP_rope, STAGE_q_rope, {STAGE_q_norm}, {NULL}},
    {OP_rope, STAGE_k_rope, {STAGE_k_norm}, {NULL}},
    {OP_attention, STAGE_attn_out, {STAGE_q_rope, STAGE_k_rope, STAGE_v_proj}, {NULL}},
    {OP_matmul, STAGE_o_proj, {STAGE_attn_out}, {"self_attn.o_proj.weight", "self_attn.o_proj.bias"}},
    {OP_rms_norm, STAGE_post_attn_norm, {STAGE_o_proj}, {"post_attention_layernorm.weight"}},
    {OP_add, STAGE_attn_resid, {FROM_RESIDUAL, STAGE_post_attn_norm}, {NULL}},
    {OP_rms_norm, STAGE_ffn_norm, {STAGE_attn_resid}, {"pre_feedforward_layernorm.weight"}},
    {OP_matmul, STAGE_ffn_gate, {STAGE_ffn_norm}, {"mlp.gate_proj.weight"}},
    {OP_matmul, STAGE_ffn_up, {STAGE_ffn_norm}, {"mlp.up_proj.weight"}},
    {OP_glu, STAGE_ffn_act, {STAGE_ffn_gate, STAGE_ffn_up}, {NULL}},
    {OP_matmul, STAGE_ffn_down, {STAGE_ffn_act}, {"mlp.down_proj.weight"}},
    /* Postmortem 2026-01-19 gemma3-postfeedforwardnorm: a loader that left out this norm cost days. */
    {OP_rms_norm, STAGE_post_ffn_norm, {STAGE_ffn_down}, {"post_feedforward_layernorm.weight"}},
    {OP_add, STAGE_layer_out, {STAGE_attn_resid, STAGE_post_ffn_norm}, {NULL}},
};

static const struct tensor_alias gguf_names[] = {
    {"attn_q_norm.weight", "self_attn.q_norm.weight"},
    {"attn_k_norm.weight", "self_attn.k_norm.weight"},
    {"post_attention_norm.weight", "post_attention_layernorm.weight"},
    {"ffn_norm.weight", "pre_feedforward_layernorm.weight"},
    {"ffn_gate.weight", "mlp.gate_proj.weight"},
    {"ffn_up.weight", "mlp.up_proj.weight"},
    {"ffn_down.weight", "mlp.down_proj.weight"},
    {"post_ffw_norm.weight", "post_feedforward_layernorm.weight"},
    {NULL, NULL},
};

/* "gemma3" is the model with a vision tower; its text model's config is nested under text_config. */
static const char *const model_types[] = {"gemma3_text", "gemma3", NULL};

const struct family family_gemma3 = {
    .name = "gemma3",
    .model_types = model_types,
    .gguf_architecture = "gemma3",
    .norm_offset = 1,
    .scales_embedding = true,
    .gguf_folds_norm_offset = true,
    .layer = layer,
    .n_layer = sizeof(layer) / sizeof(layer[0]),
    .gguf_names = gguf_names,
    .has_local_layers = true,
    .global_every = 6,
    .ropes_by_layer_type = true,
    .gguf_odd_layers = 62, /* Gemma 3 27B; llama.cpp, llama-model.cpp */
    .reads_query_scalar = true,
    .ties_by_default = true,
    .activation = "gelu_pytorch_tanh",
    .activation_key = "hidden_activation",
    .rope_theta = 1000000,
    .rope_theta_local = 10000,
};
