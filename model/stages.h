/* The stages: the named outputs of a forward pass, in plan order. A stage's row is [heads * dim] or [width]. Files and
 * the prompt use these names, so they never change. */
#ifndef LOCKSTEP_MODEL_STAGES_H
#define LOCKSTEP_MODEL_STAGES_H

#include <stdbool.h>

/* name, what it is */
#define STAGES(X)                                                           \
    X(embed, "input of layer 0, scaled where the family scales")            \
    X(attn_norm, "normalised input of attention")                           \
    X(q_proj, "queries, bias included")                                     \
    X(k_proj, "keys, bias included")                                        \
    X(v_proj, "values, bias included")                                      \
    X(q_norm, "queries after their norm")                                   \
    X(k_norm, "keys after their norm")                                      \
    X(q_rope, "queries after rotary embedding")                             \
    X(k_rope, "keys after rotary embedding")                                \
    X(attn_probs, "attention probabilities, [heads * positions], optional") \
    X(attn_out, "attention output, heads joined, before o_proj")            \
    X(o_proj, "attention output projected")                                 \
    X(post_attn_norm, "norm after attention")                               \
    X(attn_resid, "residual stream after attention")                        \
    X(ffn_norm, "normalised input of the FFN")                              \
    X(ffn_gate, "gate projection")                                          \
    X(ffn_up, "up projection")                                              \
    X(ffn_act, "activation(gate) * up")                                     \
    X(ffn_down, "down projection")                                          \
    X(router_logits, "a score for each expert")                             \
    X(router_weights, "shares of the chosen experts, in descending order")  \
    X(router_indices, "the chosen experts, in the same order")              \
    X(moe_gate_up, "gate and up of the chosen experts, in turn, optional")  \
    X(moe_act, "activation of the chosen experts, optional")                \
    X(moe_down, "down projection of the chosen experts, optional")          \
    X(moe_out, "weighted sum of the experts")                               \
    X(post_ffn_norm, "norm after the FFN")                                  \
    X(layer_out, "residual stream after the layer")                         \
    X(final_norm, "norm before the LM head")                                \
    X(logits, "before the final softcap")                                   \
    X(logits_final, "after it: what sampling sees")                         \
    X(sample_probs, "what the next token is drawn from, optional")          \
    X(sample_token, "the id that was chosen, optional")

enum stage {
#define X(name, what) STAGE_##name,
    STAGES(X)
#undef X
        STAGE_COUNT
};

const char *stage_name(enum stage stage);
const char *stage_what(enum stage stage);

/* Finds a stage by name. STAGE_COUNT: there is none. */
enum stage stage_by_name(const char *name);

/* Whether the stage belongs to a layer; embed, final_norm and the stages after it do not. */
bool stage_in_layer(enum stage stage);

/* Whether a file may lack the stage and still be complete. The steps around it are then audited as a span of several
 * ops. */
bool stage_is_optional(enum stage stage);

/* Whether its values are integers: indices of experts, ids of tokens. */
bool stage_is_integer(enum stage stage);

#endif
