/* The table of known bugs. A new one is one row here: fault.h explains the fields. `lockstep faults`, --fault, the
 * prompt, `faults --check`, the diagnosis and the tests all follow from the row. */
#include <stddef.h>
#include <string.h>

#include "workbench/fault/fault_edits.h"

/* The steps that a fault can strike: STRIKES(OP_rope, STAGE_q_rope, STAGE_k_rope). */
#define STRIKES(op_, ...)                       \
    .op = (op_), .stages = (const enum stage[]) \
    {                                           \
        __VA_ARGS__, STAGE_COUNT                \
    }

/* A parameter of the step that it changes: NUMBER(attention.window, ADD, 1). */
#define NUMBER(field, change_, value_)                                                           \
    .number = {.change = NUMBER_##change_,                                                       \
               .is_float = _Generic(((union step_params *)NULL)->field, float : 1, default : 0), \
               .offset = offsetof(union step_params, field),                                     \
               .value = (value_)}

/* Stages whose matmul reads a weight matrix; stages of the norms. */
#define MATMUL_STAGES \
    STAGE_q_proj, STAGE_k_proj, STAGE_v_proj, STAGE_o_proj, STAGE_ffn_gate, STAGE_ffn_up, STAGE_ffn_down, STAGE_logits
#define LAYER_NORM_STAGES STAGE_attn_norm, STAGE_post_attn_norm, STAGE_ffn_norm, STAGE_post_ffn_norm, STAGE_final_norm
#define HEAD_NORM_STAGES STAGE_q_norm, STAGE_k_norm

/* For only_if: where the wrong formula is another than the right one, and can be computed. */

static bool matrix_is_square(const struct step *step)
{
    return step->params.matmul.n_in == step->params.matmul.n_out;
}

static bool has_no_sinks(const struct step *step)
{
    return !step->params.attention.has_sinks;
}

static bool has_window(const struct step *step)
{
    return step->params.attention.window != 0;
}

static bool shares_kv_heads(const struct step *step)
{
    const struct attention_params *params = &step->params.attention;
    return params->kv_heads > 1 && params->kv_heads < params->heads;
}

static bool queries_are_pairs(const struct step *step)
{
    return step->params.attention.heads * step->params.attention.dim % 2 == 0;
}

static bool has_several_pairs(const struct step *step)
{
    return step->params.rope.dim > 2;
}

static bool is_scaled(const struct step *step)
{
    return step->params.embed.scale != 1;
}

static bool needs_several_subgroups(const struct step *step)
{
    return step->params.rms_norm.dim > 16;
}

static bool chooses_experts(const struct step *step)
{
    return step->params.topk_softmax.k < step->params.topk_softmax.n;
}

static bool has_several_experts(const struct step *step)
{
    return step->params.expert_sum.k > 1;
}

static bool is_silu(const struct step *step)
{
    return step->params.glu.activation == ACTIVATION_SILU;
}

static bool is_gelu_tanh(const struct step *step)
{
    return step->params.glu.activation == ACTIVATION_GELU_TANH;
}

/* Mutants are tried in this order, and `faults --check` lists in it. */
static const struct fault faults[] = {
    {.name = "softmax-sizes-swapped",
     .kind = KIND_FORMULA,
     .story = "The softmax's innerSize and outerSize are swapped. The scores of a query, [heads][keys], are normalised "
              "in runs of `heads` values, across keys of several heads.",
     .postmortem = "2025-12-17-softmax-uniform-buffer",
     STRIKES(OP_attention, STAGE_attn_out),
     .only_if = has_no_sinks,
     .variant = VARIANT_SOFTMAX_SIZES_SWAPPED,
     .every_layer = true,
     .found = {"tiny-gemma3", 0, STAGE_attn_out}},
    {.name = "qk-norm-no-offset",
     .kind = KIND_PARAMETER,
     .story = "q_norm and k_norm multiply by the weight w where this family multiplies by 1 + w.",
     .postmortem = "2025-12-25-gemma3-qknorm-offset",
     STRIKES(OP_rms_norm, HEAD_NORM_STAGES),
     .edit = edit_no_offset,
     .every_layer = true,
     .found = {"tiny-gemma3", 0, STAGE_q_norm}},
    {.name = "norm-no-offset",
     .kind = KIND_PARAMETER,
     .story = "The layer norms multiply by the weight w where this family multiplies by 1 + w.",
     .postmortem = "triage: exploding values",
     STRIKES(OP_rms_norm, LAYER_NORM_STAGES),
     .edit = edit_no_offset,
     .every_layer = true,
     .found = {"tiny-gemma3", 0, STAGE_attn_norm}},
    {.name = "post-ffn-norm-skipped",
     .kind = KIND_WIRING,
     .story = "The norm after the FFN is skipped and its input is passed on. The config denies the norm, although its "
              "tensor exists.",
     .postmortem = "2026-01-19-gemma3-postfeedforwardnorm",
     STRIKES(OP_rms_norm, STAGE_post_ffn_norm),
     .variant = VARIANT_COPY,
     .every_layer = true,
     .found = {"tiny-gemma3", 0, STAGE_post_ffn_norm}},
    {.name = "embed-scale-missing",
     .kind = KIND_PARAMETER,
     .story = "The embedding is not multiplied by sqrt(hidden_size), which this family requires.",
     .postmortem = "2025-12-21-gemma3-magnitude-gap",
     STRIKES(OP_embed, STAGE_embed),
     NUMBER(embed.scale, SET, 1),
     .every_layer = true,
     .found = {"tiny-gemma3", LAYER_NONE, STAGE_embed}},
    {.name = "kv-stale",
     .kind = KIND_VISIBLE_KEYS,
     .story = "Decode uses the previous token's key instead of its own: the KV cache is read before the new key is "
              "written. The text begins to repeat.",
     .postmortem = "triage: repeating tokens",
     STRIKES(OP_attention, STAGE_attn_out),
     .variant = VARIANT_KV_STALE,
     .decode_only = true,
     .found = {"tiny-llama", 0, STAGE_attn_out}},
    {.name = "transpose-b",
     .kind = KIND_LAYOUT,
     .story = "A square weight matrix is read transposed. No shape check can notice it.",
     .postmortem = "fix: transposeB",
     STRIKES(OP_matmul, STAGE_q_proj, STAGE_k_proj, STAGE_v_proj, STAGE_o_proj),
     .only_if = matrix_is_square,
     .variant = VARIANT_TRANSPOSE_B,
     .found = {"tiny-llama", 0, STAGE_q_proj}},
    {.name = "norm-double-offset",
     .kind = KIND_PARAMETER,
     .story = "1 is added to the norms' weights once too often. GGUF files of this family already contain it.",
     .postmortem = "2025-12-25-gemma3-qknorm-offset",
     STRIKES(OP_rms_norm, LAYER_NORM_STAGES, HEAD_NORM_STAGES),
     NUMBER(rms_norm.offset, ADD, 1),
     .every_layer = true,
     .found = {"tiny-gemma3", 0, STAGE_attn_norm}},
    {.name = "f16-overflow",
     .kind = KIND_SATURATION,
     .story = "The residual stream is stored as f16, whose largest number is 65,504. Larger values become infinite.",
     .postmortem = "2026-01-05-gemma2-f16-end-to-end",
     STRIKES(OP_COUNT, STAGE_embed, STAGE_attn_resid, STAGE_layer_out),
     .variant = VARIANT_STORE_F16,
     .every_layer = true,
     .nonfinite = true,
     .found = {"tiny-gemma3-loud", 0, STAGE_layer_out}},
    {.name = "f16-half-plumbed",
     .kind = KIND_LAYOUT,
     .story = "Queries are stored as f16, but attention reads the buffer as f32. Each pair of halves becomes one "
              "number, and zeros follow past the buffer's end.",
     .postmortem = "2026-01-05-gemma2-f16-end-to-end",
     STRIKES(OP_attention, STAGE_attn_out),
     .only_if = queries_are_pairs,
     .variant = VARIANT_QUERY_AS_F32,
     .exact_input = true,
     .found = {"tiny-gemma2", 0, STAGE_attn_out}},
    {.name = "f16-kernel-on-f32",
     .kind = KIND_LAYOUT,
     .story = "The f16 matmul runs on f32 activations and reads each number as two halves.",
     .postmortem = "2026-01-04-gemma2-activation-dtype-mismatch",
     STRIKES(OP_matmul, MATMUL_STAGES),
     .variant = VARIANT_READ_AS_F16,
     .exact_input = true,
     .found = {"tiny-gemma2", 0, STAGE_q_proj}},
    {.name = "attention-phase",
     .kind = KIND_VISIBLE_KEYS,
     .story = "Decode runs the attention kernel of the prefill and sees only the new token.",
     .postmortem = "2026-01-04-gemma2-activation-dtype-mismatch",
     STRIKES(OP_attention, STAGE_attn_out),
     .variant = VARIANT_OWN_KEY_ONLY,
     .decode_only = true,
     .found = {"tiny-gemma2", 0, STAGE_attn_out}},
    {.name = "params-evicted",
     .kind = KIND_WIRING,
     .story = "Several tokens are decoded in one submit with fewer parameter blocks than tokens. Blocks are "
              "overwritten before they are read, so a row belongs to a later token.",
     .postmortem = "2026-01-03-batched-decode-repetition",
     STRIKES(OP_embed, STAGE_embed),
     .tamper = TAMPER_LATER_TOKENS,
     .relation = "equals-other-row",
     .decode_only = true,
     .found = {"tiny-llama", LAYER_NONE, STAGE_embed}},
    {.name = "pingpong-release",
     .kind = KIND_WIRING,
     .story = "Of two alternating buffers, the second is released after odd layers while the next layer still reads "
              "it. The next layer's queries overwrite the residual.",
     .postmortem = "2025-12-31-pingpong-buffer-release",
     STRIKES(OP_COUNT, STAGE_layer_out),
     .tamper = TAMPER_SHARED_SLOT,
     .edit = edit_shared_slot,
     .relation = "equals-other-stage",
     .found = {"tiny-gemma3", 1, STAGE_layer_out}},
    {.name = "scale-unsynced",
     .kind = KIND_CONSTANT_MULTIPLE,
     .story = "The embedding is gathered in two dispatches and scaled between them. The second part is not scaled.",
     .postmortem = "2025-12-21-gemma3-magnitude-gap",
     STRIKES(OP_embed, STAGE_embed),
     .only_if = is_scaled,
     .variant = VARIANT_SCALE_UNSYNCED,
     .relation = "part-scaled",
     .found = {"tiny-gemma3", LAYER_NONE, STAGE_embed}},
    {.name = "dispatch-2d-x-only",
     .kind = KIND_UNTOUCHED,
     .story = "A dispatch has two dimensions, but its shader counts workgroups along x only. Everything past the first "
              "row of workgroups is left undone.",
     .postmortem = "2025-12-20-bf16-2d-dispatch",
     STRIKES(OP_matmul, STAGE_logits),
     .variant = VARIANT_GROUPS_BY_X,
     .relation = "tail-unwritten",
     .found = {"tiny-gemma3", LAYER_NONE, STAGE_logits}},
    {.name = "residual-dropped",
     .kind = KIND_MISSING_TERMS,
     .story = "The residual is not added. The stream holds only the last branch's output and becomes too small.",
     .postmortem = "2025-12-18-hidden-state-underaccumulation",
     STRIKES(OP_add, STAGE_layer_out),
     .variant = VARIANT_DROP_RESIDUAL,
     .found = {"tiny-gemma3", 0, STAGE_layer_out}},
    {.name = "q4k-format",
     .kind = KIND_WEIGHTS_DECODING,
     .story = "A block's minimum is used with the wrong sign: added where the format subtracts it, or the reverse.",
     .postmortem = "2025-12-16-gemma3-debug",
     STRIKES(OP_matmul, MATMUL_STAGES),
     .edit = edit_min_sign,
     .found = {"tiny-llama-q4_1.gguf", 0, STAGE_q_proj}},
    {.name = "subgroup-columns-mixed",
     .kind = KIND_ADDITIVE,
     .story = "A workgroup computes several columns, and its subgroups each span two of them. The sums of both "
              "columns are mixed.",
     .postmortem = "fix: subgroup column mixing",
     STRIKES(OP_matmul, MATMUL_STAGES),
     .variant = VARIANT_COLUMNS_MIXED,
     .relation = "columns-mixed",
     .found = {"tiny-llama-q4_1.gguf", 0, STAGE_q_proj}},
    {.name = "layernorm-for-rmsnorm",
     .kind = KIND_FORMULA,
     .story = "LayerNorm is used where the model was trained with RMSNorm: the row's mean is subtracted first.",
     .postmortem = "wiring",
     STRIKES(OP_rms_norm, LAYER_NORM_STAGES, HEAD_NORM_STAGES),
     .variant = VARIANT_MEAN_SUBTRACTED,
     .every_layer = true,
     .found = {"tiny-llama", 0, STAGE_attn_norm}},
    {.name = "wg-sums-short",
     .kind = KIND_MISSING_TERMS,
     .story = "The array of a workgroup's partial sums is half as long as its subgroups need. Half of the squares are "
              "lost.",
     .postmortem = "fix: wg_sums overflow",
     STRIKES(OP_rms_norm, STAGE_attn_norm, STAGE_ffn_norm, STAGE_final_norm),
     .only_if = needs_several_subgroups,
     .variant = VARIANT_HALF_SUM,
     .found = {"tiny-llama", 0, STAGE_attn_norm}},
    {.name = "mask-off-by-one",
     .kind = KIND_VISIBLE_KEYS,
     .story = "The causal mask begins one key too late. Each position of the prompt sees the next token, which it "
              "should predict.",
     .postmortem = "triage: repeating tokens",
     STRIKES(OP_attention, STAGE_attn_out),
     .variant = VARIANT_NEXT_KEY,
     .every_layer = true,
     .found = {"tiny-llama", 0, STAGE_attn_out}},
    {.name = "attn-array-256",
     .kind = KIND_VISIBLE_KEYS,
     .story = "Attention stores its scores in an array of 256 and ignores further keys.",
     .postmortem = "fix: attention decode array",
     STRIKES(OP_attention, STAGE_attn_out),
     .variant = VARIANT_KEYS_256,
     .found = {"tiny-llama-long", 0, STAGE_attn_out}},
    {.name = "gather-dtype",
     .kind = KIND_WEIGHTS_DECODING,
     .story = "The gather reads rows of the embedding as another dtype than they are stored in.",
     .postmortem = "fix: gather dtype",
     STRIKES(OP_embed, STAGE_embed),
     .edit = edit_wrong_dtype,
     .found = {"tiny-llama", LAYER_NONE, STAGE_embed}},
    {.name = "readback-early",
     .kind = KIND_UNTOUCHED,
     .story = "Captured stages are copied to the host before the submit that computes them.",
     .postmortem = "CommandRecorder gotcha",
     STRIKES(OP_embed, STAGE_embed),
     .tamper = TAMPER_READ_EARLY,
     .breaks_engine = true,
     .found = {"tiny-llama", LAYER_NONE, STAGE_COUNT}},
    {.name = "weight-spike",
     .kind = KIND_WEIGHTS_DECODING,
     .story = "One row of a weight matrix is a thousand times too large: the tensor is corrupt, or an index is off.",
     .postmortem = "triage: single-dimension spike",
     STRIKES(OP_matmul, MATMUL_STAGES),
     .edit = edit_row_times,
     .value = 1000,
     .relation = "one-dim-multiple",
     .larger_than = 10,
     .found = {"tiny-gemma3", 0, STAGE_q_proj}},
    {.name = "attn-overflow",
     .kind = KIND_NONFINITE,
     .story = "The softmax does not subtract the maximum. The exponential of a large score is infinite.",
     .postmortem = "triage: NaN or Inf",
     STRIKES(OP_attention, STAGE_attn_out),
     .only_if = has_no_sinks,
     .variant = VARIANT_NO_MAXIMUM,
     .every_layer = true,
     .nonfinite = true,
     .found = {"tiny-gemma3-loud", 0, STAGE_attn_out}},
    {.name = "query-scale",
     .kind = KIND_PARAMETER,
     .story = "Attention scores are scaled by 1/sqrt(head_dim) where the config gives query_pre_attn_scalar.",
     .postmortem = "resolution: attention scaling",
     STRIKES(OP_attention, STAGE_attn_out),
     .edit = edit_query_scale,
     .every_layer = true,
     .found = {"tiny-gemma3-odd", 0, STAGE_attn_out}},
    {.name = "window-off-by-one",
     .kind = KIND_VISIBLE_KEYS,
     .story = "The sliding window shows one key more than the config says.",
     .postmortem = "resolution: sliding window",
     STRIKES(OP_attention, STAGE_attn_out),
     .only_if = has_window,
     NUMBER(attention.window, ADD, 1),
     .every_layer = true,
     .found = {"tiny-gemma3", 0, STAGE_attn_out}},
    {.name = "window-layers-swapped",
     .kind = KIND_VISIBLE_KEYS,
     .story = "Layers with a sliding window and layers that see everything are confused with each other.",
     .postmortem = "resolution: sliding window",
     STRIKES(OP_attention, STAGE_attn_out),
     .edit = edit_other_kind,
     .every_layer = true,
     .alone = "wrong-sliding-window",
     .found = {"tiny-gemma3", 0, STAGE_attn_out}},
    {.name = "rope-theta-swapped",
     .kind = KIND_PARAMETER,
     .story = "The rope bases of local and global layers are exchanged.",
     .postmortem = "rope local/global",
     STRIKES(OP_rope, STAGE_q_rope, STAGE_k_rope),
     .edit = edit_other_kind,
     .every_layer = true,
     .found = {"tiny-gemma3", 0, STAGE_q_rope}},
    {.name = "rope-interleaved",
     .kind = KIND_LAYOUT,
     .story = "Rope rotates neighbours, (2i, 2i + 1), where the weights are made for halves, (i, i + dim/2).",
     .postmortem = "layout",
     STRIKES(OP_rope, STAGE_q_rope, STAGE_k_rope),
     .only_if = has_several_pairs,
     .variant = VARIANT_ROPE_NEIGHBOURS,
     .every_layer = true,
     .found = {"tiny-llama", 0, STAGE_q_rope}},
    {.name = "kv-heads-in-turn",
     .kind = KIND_LAYOUT,
     .story = "Query head h reads key head h mod kv_heads instead of h / (heads / kv_heads): the keys were repeated as "
              "a whole block, not head by head.",
     .postmortem = "layout",
     STRIKES(OP_attention, STAGE_attn_out),
     .only_if = shares_kv_heads,
     .variant = VARIANT_KV_HEADS_IN_TURN,
     .every_layer = true,
     .found = {"tiny-llama", 0, STAGE_attn_out}},
    {.name = "attention-unscaled",
     .kind = KIND_PARAMETER,
     .story = "Attention scores are not scaled.",
     .postmortem = "resolution: attention scaling",
     STRIKES(OP_attention, STAGE_attn_out),
     NUMBER(attention.scale, SET, 1),
     .every_layer = true,
     .found = {"tiny-llama", 0, STAGE_attn_out}},
    {.name = "attn-scale-twice",
     .kind = KIND_PARAMETER,
     .story = "Attention scores are scaled twice: the queries are scaled in advance, and the kernel scales the scores "
              "again. The softmax is too flat.",
     .postmortem = "resolution: attention scaling",
     STRIKES(OP_attention, STAGE_attn_out),
     NUMBER(attention.scale, POWER, 2),
     .every_layer = true,
     .found = {"tiny-llama", 0, STAGE_attn_out}},
    {.name = "silu-for-gelu",
     .kind = KIND_FORMULA,
     .story = "The FFN's activation is SiLU where the model was trained with GELU.",
     .postmortem = "gelu",
     STRIKES(OP_glu, STAGE_ffn_act),
     NUMBER(glu.activation, SET, ACTIVATION_SILU),
     .every_layer = true,
     .found = {"tiny-gemma3", 0, STAGE_ffn_act}},
    {.name = "gelu-for-silu",
     .kind = KIND_FORMULA,
     .story = "The FFN's activation is GELU where the model was trained with SiLU.",
     .postmortem = "gelu",
     STRIKES(OP_glu, STAGE_ffn_act),
     .only_if = is_silu,
     NUMBER(glu.activation, SET, ACTIVATION_GELU_TANH),
     .every_layer = true,
     .found = {"tiny-llama", 0, STAGE_ffn_act}},
    {.name = "bias-missing",
     .kind = KIND_ADDITIVE,
     .story = "The bias is not added, although the model has one.",
     .postmortem = "wiring",
     STRIKES(OP_matmul, STAGE_q_proj, STAGE_k_proj, STAGE_v_proj, STAGE_o_proj, STAGE_router_logits, STAGE_ffn_gate,
             STAGE_ffn_up, STAGE_ffn_down),
     .edit = edit_no_bias,
     .found = {"tiny-gpt-oss", 0, STAGE_q_proj}},
    {.name = "weights-of-layer-before",
     .kind = KIND_WIRING,
     .story = "The weights are those of the previous layer: an index is off by one.",
     .postmortem = "wiring",
     STRIKES(OP_matmul, STAGE_q_proj, STAGE_k_proj, STAGE_v_proj, STAGE_o_proj, STAGE_ffn_gate, STAGE_ffn_up,
             STAGE_ffn_down),
     .edit = edit_layer_before,
     .found = {"tiny-llama", 1, STAGE_q_proj}},
    {.name = "gelu-erf",
     .kind = KIND_FORMULA,
     .story = "GELU is computed exactly, with erf, where the model was trained with the tanh approximation.",
     .postmortem = "gelu",
     STRIKES(OP_glu, STAGE_ffn_act),
     .only_if = is_gelu_tanh,
     NUMBER(glu.activation, SET, ACTIVATION_GELU_ERF),
     .every_layer = true,
     .found = {"tiny-gemma3", 0, STAGE_ffn_act}},
    {.name = "qk-permute-missing",
     .kind = KIND_LAYOUT,
     .story = "GGUF stores the q and k rows of llama models as adjacent pairs. They are used as if they were in "
              "transformers' order of halves.",
     .postmortem = "GGUF llama",
     STRIKES(OP_matmul, STAGE_q_proj, STAGE_k_proj),
     .edit = edit_pair_order,
     .relation = "pair-order",
     .mutant_in_spans = true,
     .every_layer = true,
     .found = {"tiny-llama", 0, STAGE_q_proj}},
    {.name = "heads-positions-exchanged",
     .kind = KIND_RECORDING,
     .story = "[heads, positions, dim] is recorded as if it were [positions, heads * dim].",
     .postmortem = "layout",
     STRIKES(OP_COUNT, STAGE_q_norm, STAGE_q_rope, STAGE_k_norm, STAGE_k_rope),
     .tamper = TAMPER_HEADS_FIRST,
     .edit = edit_heads_first,
     .relation = "heads-exchanged",
     .found = {"tiny-gemma3", 0, STAGE_q_norm}},
    {.name = "gate-up-swapped",
     .kind = KIND_WIRING,
     .story = "The gate's weights are used for the up projection, and the reverse.",
     .postmortem = "wiring",
     STRIKES(OP_matmul, STAGE_ffn_gate, STAGE_ffn_up),
     .edit = edit_exchange,
     .relation = "stages-exchanged",
     .mutant_in_spans = true,
     .whole_layer = true,
     .found = {"tiny-gemma3", 0, STAGE_ffn_gate}},
    {.name = "final-softcap-missing",
     .kind = KIND_PARAMETER,
     .story = "The logits are not capped: cap tanh(x / cap) is left out. The order of the tokens is right, their "
              "probabilities are wrong.",
     .postmortem = "triage: wrong probabilities",
     STRIKES(OP_softcap, STAGE_logits_final),
     NUMBER(softcap.cap, SET, 0),
     .found = {"tiny-gemma2", LAYER_NONE, STAGE_logits_final}},
    {.name = "attn-softcap-missing",
     .kind = KIND_PARAMETER,
     .story = "Attention scores are not capped: cap tanh(s / cap) is left out.",
     .postmortem = "resolution: softcapping",
     STRIKES(OP_attention, STAGE_attn_out),
     NUMBER(attention.softcap, SET, 0),
     .every_layer = true,
     .found = {"tiny-gemma2", 0, STAGE_attn_out}},
    {.name = "q4k-rowwise",
     .kind = KIND_WEIGHTS_DECODING,
     .story = "Q4_K is stored as one stream of 256-value blocks but read row by row. Where a row begins inside a "
              "block, it is read from the next block's start.",
     .postmortem = "2025-12-18-gemma3-q4k-garbage-output",
     STRIKES(OP_matmul, MATMUL_STAGES),
     .edit = edit_row_by_row,
     .found = {"llama-q4_k-packed", 0, STAGE_q_proj}},
    {.name = "sinks-missing",
     .kind = KIND_SOFTMAX_DENOMINATOR,
     .story = "Attention's sinks are left out: one logit per head that takes its share of the softmax.",
     .postmortem = "gpt-oss",
     STRIKES(OP_attention, STAGE_attn_out),
     .edit = edit_no_sinks,
     .every_layer = true,
     .found = {"tiny-gpt-oss", 0, STAGE_attn_out}},
    {.name = "topk-after-softmax",
     .kind = KIND_FORMULA,
     .story = "The router takes the softmax over all experts and then the largest shares, which do not sum to 1. It "
              "should take the softmax of the largest logits.",
     .postmortem = "gpt-oss",
     STRIKES(OP_topk_softmax, STAGE_router_weights),
     .only_if = chooses_experts,
     .variant = VARIANT_SOFTMAX_FIRST,
     .every_layer = true,
     .found = {"tiny-gpt-oss", 0, STAGE_router_weights}},
    {.name = "router-quantised",
     .kind = KIND_PRECISION,
     .story = "The router's weights were quantised to Q4_K, although modules_to_not_convert excludes them.",
     .postmortem = "fix: router quantised",
     STRIKES(OP_matmul, STAGE_router_logits),
     .edit = edit_to_q4_k,
     .every_layer = true,
     .found = {"tiny-gpt-oss-wide", 0, STAGE_router_logits}},
    {.name = "mxfp4-nibbles",
     .kind = KIND_WEIGHTS_DECODING,
     .story = "The two nibbles of each MXFP4 byte are exchanged: the high one is taken for the first element.",
     .postmortem = "gpt-oss",
     STRIKES(OP_expert_matmul, STAGE_moe_gate_up, STAGE_moe_down),
     .edit = edit_nibbles,
     .every_layer = true,
     .found = {"tiny-gpt-oss", 0, STAGE_moe_gate_up}},
    {.name = "expert-bias-missing",
     .kind = KIND_ADDITIVE,
     .story = "The experts' biases are not added.",
     .postmortem = "gpt-oss",
     STRIKES(OP_expert_matmul, STAGE_moe_gate_up, STAGE_moe_down),
     .edit = edit_no_expert_bias,
     .every_layer = true,
     .found = {"tiny-gpt-oss", 0, STAGE_moe_gate_up}},
    {.name = "swiglu-plain",
     .kind = KIND_FORMULA,
     .story = "The experts' activation is plain SwiGLU, silu(gate) up: without the limit, alpha and the 1 added to up.",
     .postmortem = "gpt-oss",
     STRIKES(OP_swiglu, STAGE_moe_act),
     .variant = VARIANT_PLAIN_SWIGLU,
     .every_layer = true,
     .found = {"tiny-gpt-oss", 0, STAGE_moe_act}},
    {.name = "gate-up-halves",
     .kind = KIND_LAYOUT,
     .story = "The first half of the columns is taken for gate and the second for up. They are interleaved: even "
              "columns are gate, odd ones up.",
     .postmortem = "gpt-oss",
     STRIKES(OP_swiglu, STAGE_moe_act),
     .variant = VARIANT_GATE_UP_HALVES,
     .every_layer = true,
     .found = {"tiny-gpt-oss", 0, STAGE_moe_act}},
    {.name = "moe-unbound-counts",
     .kind = KIND_UNTOUCHED,
     .story = "The buffer with each expert's number of tokens is not bound to the gather. No token reaches an expert.",
     .postmortem = "2025-12-22-moe-explicit-layout",
     STRIKES(OP_expert_sum, STAGE_moe_out),
     NUMBER(expert_sum.k, SET, 0),
     .relation = "zeros",
     .found = {"tiny-gpt-oss", 0, STAGE_moe_out}},
    {.name = "scatter-add-overwrites",
     .kind = KIND_MISSING_TERMS,
     .story = "The experts' outputs for a token are stored where they should be added. The last one wins.",
     .postmortem = "kernel test: scatter-add FAIL",
     STRIKES(OP_expert_sum, STAGE_moe_out),
     .only_if = has_several_experts,
     .variant = VARIANT_LAST_EXPERT,
     .every_layer = true,
     .found = {"tiny-gpt-oss", 0, STAGE_moe_out}},
    {.name = "yarn-off",
     .kind = KIND_PARAMETER,
     .story = "Rope runs without YaRN: frequencies are not stretched, and cos and sin are not scaled.",
     .postmortem = "gpt-oss",
     STRIKES(OP_rope, STAGE_q_rope, STAGE_k_rope),
     .edit = edit_no_yarn,
     .every_layer = true,
     .found = {"tiny-gpt-oss", 0, STAGE_q_rope}},
    {.name = "pad-not-masked",
     .kind = KIND_SYMPTOM,
     .story = "The padding token is not masked before sampling, so it can be chosen. No text contains it.",
     .postmortem = "triage: PAD wins",
     STRIKES(OP_COUNT, STAGE_logits_final, STAGE_sample_token),
     .tamper = TAMPER_PAD_CHOSEN,
     .edit = edit_pad_chosen,
     .relation = "pad-chosen",
     .shows_at = STAGE_sample_token,
     .found = {"tiny-gemma3-loud", LAYER_NONE, STAGE_sample_token}},
    {.name = "chunk-offset-lost",
     .kind = KIND_POSITIONS,
     .story = "A prompt that runs in chunks runs each of them at position 0: its keys overwrite those of the chunk "
              "before. In one batch nothing is wrong.",
     .postmortem = "chunked prefill",
     STRIKES(OP_embed, STAGE_embed),
     .tamper = TAMPER_CHUNKS_AT_0,
     .silent = true,
     .in_chunks = true,
     .found = {"tiny-llama", LAYER_NONE, STAGE_COUNT}},
    {.name = "pool-padding",
     .kind = KIND_RECORDING,
     .story = "Pooled buffers are larger than their shapes, with garbage in the rest. A trace that reads past the "
              "shape sees explosions that are not there.",
     .postmortem = "2025-12-30-buffer-pool-trace-false-positives",
     STRIKES(OP_COUNT, STAGE_COUNT), /* no step */
     .pads_buffers = true,
     .silent = true,
     .found = {"tiny-gemma3", LAYER_NONE, STAGE_COUNT}},
};

const struct fault *fault_list(uint32_t *n_faults)
{
    *n_faults = sizeof(faults) / sizeof(*faults);
    return faults;
}

const struct fault *fault_by_name(const char *name)
{
    for (size_t i = 0; i < sizeof(faults) / sizeof(*faults); i++) {
        if (strcmp(faults[i].name, name) == 0) {
            return &faults[i];
        }
    }
    return NULL;
}

const char *fault_kind_name(enum fault_kind kind)
{
    static const char *const names[] = {"none",
#define FAULT_KIND_NAME(code, name) name,
                                        FAULT_KINDS(FAULT_KIND_NAME)
#undef FAULT_KIND_NAME
    };
    ASSERT((unsigned)kind < sizeof(names) / sizeof(*names));
    return names[kind];
}
