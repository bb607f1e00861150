/* The ops: every kind of step that a plan can hold. A new op is one row here; from it come the step's
 * parameter struct, the reference function's prototype and the shader's name, and what is missing fails the link. */
#ifndef LOCKSTEP_MODEL_OPS_H
#define LOCKSTEP_MODEL_OPS_H

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

enum op {
#define X(name, inputs, weights, what) OP_##name,
    OPS(X)
#undef X
        OP_COUNT
};

struct op_info {
    const char *name;
    unsigned n_inputs, n_weights;
    const char *what;
};

const struct op_info *op_info(enum op op);

/* The parameters of a step: the member that its op names. */
union step_params {
#define X(name, inputs, weights, what) struct name##_params name;
    OPS(X)
#undef X
};

#endif
