/* The table of bugs: at least one for every solver. */
#include <string.h>

#include "workbench/diagnose/kinds/plant.h"

static const struct kind_bug bugs[] = {
    {"values-clipped", "Values above a limit, half of the largest one, are clipped to it.", "saturation",
     KIND_SATURATION, OP_matmul, plant_clipped, "clipped"},
    {"first-keys-lost", "Attention never sees the keys of the first two positions: they were dropped from the cache.",
     "visible_keys", KIND_VISIBLE_KEYS, OP_attention, plant_first_keys_lost, "position 2 on alone"},
    {"padding-in-softmax", "Three keys of padding count in the softmax's denominator, with a score of 0.",
     "softmax_denominator", KIND_SOFTMAX_DENOMINATOR, OP_attention, plant_padding_in_denominator, "padding"},
    {"mask-of-minus-two", "Masked keys are given a score of -2 in place of minus infinity.", "masked_keys",
     KIND_SOFTMAX_DENOMINATOR, OP_attention, plant_masked_keys_count, "Masked keys count"},
    {"score-of-tanh", "Scores are tanh(scale q k / softcap), and not multiplied by the softcap again.",
     "attention_formula", KIND_FORMULA, OP_attention, plant_score_of_tanh, "not multiplied by the softcap again"},
    {"maximum-not-rescaled", "The softmax goes over tiles of 4 keys, and nothing is rescaled when the maximum grows.",
     "online_softmax", KIND_FORMULA, OP_attention, plant_running_maximum, "running maximum"},
    {"kv-heads-reversed", "Heads of queries read the heads of keys and values in reverse order.", "attention_heads",
     KIND_LAYOUT, OP_attention, plant_heads_reversed, "read the key and value heads"},
    {"cache-in-e4m3", "The KV cache is kept in fp8 (e4m3), and nothing declares it.", "attention_precision",
     KIND_PRECISION, OP_attention, plant_cache_e4m3, "kv-cache-e4m3"},
    {"cache-in-q4_0", "The KV cache is kept in q4_0 and queries are rounded as well, and nothing declares it.",
     "block_cache", KIND_PRECISION, OP_attention, plant_cache_q4_0, "kv-cache-q4_0"},
    {"keys-shifted", "Attention reads keys that are rotated as positions 3 larger than their own.", "keys_rotated",
     KIND_POSITIONS, OP_attention, plant_keys_shifted, "3 larger"},
    {"values-from-keys", "Attention reads its keys in place of values.", "attention_wiring", KIND_WIRING, OP_attention,
     plant_values_from_keys, "its values are"},
    {"values-shifted", "Each position of the cache holds the value of the position before.", "cache_positions",
     KIND_LAYOUT, OP_attention, plant_values_shifted, "Values lie at other positions"},
    {"value-unwritten", "The value of position 2 was never written to the cache, which holds zeros there.",
     "cache_positions", KIND_UNTOUCHED, OP_attention, plant_value_unwritten, "never written"},
    {"positions-shifted", "Rope rotates every row as a position 5 larger than its own.", "rope_positions",
     KIND_POSITIONS, OP_rope, plant_positions_shifted, "5 too large"},
    {"rope-tables-rounded", "Rope's cos and sin are kept in bf16, and nothing declares it.", "rope_precision",
     KIND_PRECISION, OP_rope, plant_tables_bf16, "rope-tables-bf16"},
    {"rope-frequency", "One pair of each head turns at three quarters of its speed.", "rope_frequencies",
     KIND_PARAMETER, OP_rope, plant_one_frequency, "pairs 1-1"},
    {"bias-twice", "The bias is added twice.", "additive", KIND_ADDITIVE, OP_matmul, plant_bias_twice,
     "is added 2 times"},
    {"other-vector", "A vector that is another step's is added.", "additive", KIND_ADDITIVE, OP_matmul,
     plant_other_vector, "that is not this step's"},
    {"unknown-vector", "The same vector, which is none of the model's, is added to every row.", "constant_vector",
     KIND_ADDITIVE, OP_matmul, plant_unknown_vector, "none of this model's biases"},
    {"expert-bias-thrice", "The experts' bias is added three times.", "expert_bias", KIND_ADDITIVE, OP_expert_matmul,
     plant_experts_bias_thrice, "is added 3 times"},
    {"input-before-norm", "The product reads the input of the norm in place of its output.", "wiring", KIND_WIRING,
     OP_matmul, plant_input_before_norm, "read another input"},
    {"row-before-read", "Each row of a product reads the input of the row before.", "other_rows", KIND_WIRING,
     OP_matmul, plant_row_before_read, "before it"},
    {"next-token", "Every token has the embedding of the next id.", "token_rows", KIND_WIRING, OP_embed,
     plant_next_token, "id +1"},
    {"other-tokens", "Three rows of the embedding are those of other tokens.", "token_rows", KIND_WIRING, OP_embed,
     plant_other_tokens, "are other tokens'"},
    {"router-temperature", "The router's logits are divided by 4 before the softmax.", "router_weights", KIND_FORMULA,
     OP_topk_softmax, plant_router_temperature, "before the softmax"},
    {"router-sigmoid", "The router's weights are sigmoids of the logits, divided by their sum.", "router_weights",
     KIND_FORMULA, OP_topk_softmax, plant_router_sigmoid, "sigmoids of the logits"},
    {"input-rolled", "A product's input is rolled by one value.", "input_layout", KIND_LAYOUT, OP_matmul,
     plant_input_rolled, "is rolled"},
    {"fused-rows", "The rows of q are read from the second row of the fused matrix of q, k and v on.", "weight_rows",
     KIND_LAYOUT, OP_matmul, plant_fused_rows, "fused matrix"},
    {"experts-shifted", "Expert e has the matrix of expert e + 1.", "weight_rows", KIND_WIRING, OP_expert_matmul,
     plant_experts_shifted, "e + 1"},
    {"router-weight-on-input", "The router's weight multiplies the expert's input in place of its output.",
     "router_input", KIND_WIRING, OP_expert_matmul, plant_router_weight_on_input,
     "multiplies the input of each expert"},
    {"branch-halved", "Half of the branch is added to the residual.", "sum", KIND_CONSTANT_MULTIPLE, OP_add,
     plant_half_branch, "times the branch"},
    {"norm-offset", "The norm adds a quarter too much to its weight.", "norm", KIND_PARAMETER, OP_rms_norm,
     plant_norm_offset, "+ w"},
    {"norm-without-root", "The norm divides by the mean square, not by its root.", "norm", KIND_FORMULA, OP_rms_norm,
     plant_norm_without_root, "root of the mean square is not taken"},
    {"relu", "The FFN's activation is ReLU.", "activation", KIND_FORMULA, OP_glu, plant_relu, "it is ReLU"},
    {"silu-of-three-gates", "The FFN's activation is SiLU of three times the gate.", "activation", KIND_FORMULA, OP_glu,
     plant_silu_of_thrice, "of another input"},
    {"gelu-with-a-tenth", "The FFN's activation is GELU's tanh form with 0.1 in place of 0.044715.", "activation_tanh",
     KIND_FORMULA, OP_glu, plant_gelu_with_a_tenth, "with other numbers"},
    {"swiglu-alpha", "The experts' activation has an alpha of 1.", "swiglu", KIND_PARAMETER, OP_swiglu,
     plant_swiglu_alpha, "alpha is 1"},
    {"swiglu-added", "The experts' activation adds 0.5 to up in place of 1.", "swiglu", KIND_FORMULA, OP_swiglu,
     plant_swiglu_added, "added to up is 0.5"},
    {"softcap-of-three-x", "Logits are three times too large when they are capped.", "softcap", KIND_FORMULA,
     OP_softcap, plant_capped_larger, "multiplied by 3"},
    {"last-expert-lost", "The last of each row's chosen experts is left out of the sum.", "expert_weights",
     KIND_MISSING_TERMS, OP_expert_sum, plant_last_expert_lost, "are left out"},
    {"biases-not-shared", "The experts' biases are added after their outputs were multiplied by the shares.",
     "expert_weights", KIND_ADDITIVE, OP_expert_sum, plant_whole_biases, "not multiplied by their shares"},
    {"scales-multiplied", "The scales of a matrix's blocks are 1.3 times too large and stored in f16 again.",
     "rescaled", KIND_CONSTANT_MULTIPLE, OP_matmul, plant_scales_multiplied, "1.3 times"},
    {"blocks-misread", "Blocks of a quantised matrix are read with the scale of the next block.", "decoding",
     KIND_WEIGHTS_DECODING, OP_matmul, plant_block_decoding, "the next block"},
    {"expert-blocks-misread", "Blocks of the experts' matrices are read with the scale of the next block.", "decoding",
     KIND_WEIGHTS_DECODING, OP_expert_matmul, plant_block_decoding, "the next block"},
    {"matrix-transposed", "A matrix that is not square is read as if it were stored transposed.", "decoding",
     KIND_LAYOUT, OP_matmul, plant_transposed, "stored transposed"},
    {"last-inputs-lost", "The last third of the inputs is left out of the sum.", "missing_terms", KIND_MISSING_TERMS,
     OP_matmul, plant_last_inputs_lost, "are left out"},
};

const struct kind_bug *kind_bugs(uint32_t *n)
{
    *n = sizeof(bugs) / sizeof(*bugs);
    return bugs;
}

const struct kind_bug *kind_bug_by_name(const char *name)
{
    for (size_t i = 0; i < sizeof(bugs) / sizeof(*bugs); i++) {
        if (strcmp(bugs[i].name, name) == 0) {
            return &bugs[i];
        }
    }
    return NULL;
}
