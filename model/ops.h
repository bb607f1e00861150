/* The ops: every kind of step that a plan can hold. A new op is one row here. Its parameter struct, the prototype of
 * its reference function and its shader's name follow from the row; what is missing fails the build.
 *
 * Only the reference runs JUDGED_OPS; no backend does. Their stages are recorded in a file or made on the host beside a
 * run, and they are judged from the other stages (plan_copy_judged adds the steps). */
#ifndef LOCKSTEP_MODEL_OPS_H
#define LOCKSTEP_MODEL_OPS_H

#include <stdbool.h>

#include "shaders/params.h"

#define OP_MAX_INPUTS 3
#define OP_MAX_WEIGHTS 2

/* name (op, shader file, params struct, reference function), inputs, weights, what it computes */
#define OPS(X)                                                                             \
    X(embed, 0, 1, "y = scale * W[token]")                                                 \
    X(rms_norm, 1, 1, "y = x / sqrt(mean(x^2) + eps) * (offset + w)")                      \
    X(matmul, 1, 2, "y = W x + bias")                                                      \
    X(rope, 1, 0, "pairs (i, i + dim/2) rotated by position * frequency")                  \
    X(attention, 3, 1, "y = softmax(cap(scale * q k)) v over the visible keys")            \
    X(glu, 2, 0, "y = act(gate) * up")                                                     \
    X(add, 2, 0, "y = residual + branch")                                                  \
    X(softcap, 1, 0, "y = cap * tanh(x / cap)")                                            \
    X(topk_softmax, 1, 0, "y = softmax of the k largest x, in descending order")           \
    X(topk, 1, 0, "y = places of the k largest x, in descending order")                    \
    X(expert_matmul, 2, 2, "y[j] = W[e_j] x + bias[e_j], for each chosen expert e_j")      \
    X(swiglu, 1, 0, "y = (up + 1) gate sigmoid(alpha gate), clamped; gate and up in turn") \
    X(expert_sum, 2, 0, "y = sum over the chosen experts of w_j x_j")

#define JUDGED_OPS(X)                                                                                \
    X(attention_probs, 2, 1, "y = softmax(cap(scale * q k)) over the visible keys, 0 elsewhere")     \
    X(sample_probs, 1, 0, "y = softmax(logits / temperature) over what top-k, top-p and masks keep") \
    X(sample_token, 2, 0, "y = the largest logit's id, or one of those that sample_probs keeps")

enum op {
#define X(name, inputs, weights, what) OP_##name,
    OPS(X)
#undef X
        OP_COUNT,
#define X(name, inputs, weights, what) OP_##name,
    JUDGED_OPS(X)
#undef X
        OP_END
};

struct op_info {
    const char *name;
    unsigned n_inputs, n_weights;
    const char *what;
};

const struct op_info *op_info(enum op op);

/* Whether an op reads all visible positions of an input, not only its own: keys and values of an attention. */
bool op_reads_earlier(enum op op, unsigned input);

/* Parameters of the judged ops. How a token was sampled is declared by the trace, not by the plan. */
struct attention_probs_params {
    struct attention_params attention;
    uint32_t n_positions; /* values in a head's row: one for each position of the trace */
};
struct sample_probs_params {
    uint32_t n;
    int32_t masked_id; /* never chosen; -1: none */
};
struct sample_token_params {
    uint32_t n;
    int32_t masked_id;
};

/* The parameters of a step, in the member named after its op. */
union step_params {
#define X(name, inputs, weights, what) struct name##_params name;
    OPS(X)
    JUDGED_OPS(X)
#undef X
};

#endif
