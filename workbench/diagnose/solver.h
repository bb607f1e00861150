/* Solvers: each computes, from the recorded inputs and the recorded output of the op that failed, the explanation of
 * one kind of bug, and proves it as a mutant does: computed so, all rows come out as recorded, where the right op
 * fails.
 *
 * A new solver is one row of SOLVERS and the function solve_NAME in a file solve_NAME.c, in attention/, rope/,
 * products/ (of matrices) or values/ (of all else). They are tried in the order of the table, after the faults of
 * fault_table.c, until one succeeds: those that explain the most with the least first.
 * Candidates are proved by proof_find (proof.h). A solver writes the diagnosis's text and, where it solved for a
 * number, `solved`; it may write another fault's name, kind and postmortem where its answer is a bug with a story. */
#ifndef LOCKSTEP_WORKBENCH_DIAGNOSE_SOLVER_H
#define LOCKSTEP_WORKBENCH_DIAGNOSE_SOLVER_H

#include "workbench/diagnose/diagnose_internal.h"

/* Function, kind of bug, the op that it explains (COUNT: any). */
#define SOLVERS(X)                                               \
    X(saturation, SATURATION, COUNT)                             \
    X(visible_keys, VISIBLE_KEYS, attention)                     \
    X(visible_keys, VISIBLE_KEYS, attention_probs)               \
    X(softmax_denominator, SOFTMAX_DENOMINATOR, attention)       \
    X(softmax_denominator, SOFTMAX_DENOMINATOR, attention_probs) \
    X(masked_keys, SOFTMAX_DENOMINATOR, attention)               \
    X(masked_keys, SOFTMAX_DENOMINATOR, attention_probs)         \
    X(attention_formula, FORMULA, attention)                     \
    X(attention_formula, FORMULA, attention_probs)               \
    X(online_softmax, FORMULA, attention)                        \
    X(attention_heads, LAYOUT, attention)                        \
    X(attention_precision, PRECISION, attention)                 \
    X(attention_precision, PRECISION, attention_probs)           \
    X(block_cache, PRECISION, attention)                         \
    X(block_cache, PRECISION, attention_probs)                   \
    X(keys_rotated, POSITIONS, attention)                        \
    X(attention_wiring, WIRING, attention)                       \
    X(cache_positions, LAYOUT, attention)                        \
    X(rope_positions, POSITIONS, rope)                           \
    X(rope_precision, PRECISION, rope)                           \
    X(rope_frequencies, PARAMETER, rope)                         \
    X(additive, ADDITIVE, COUNT)                                 \
    X(expert_bias, ADDITIVE, expert_matmul)                      \
    X(router_input, WIRING, expert_matmul)                       \
    X(wiring, WIRING, COUNT)                                     \
    X(other_rows, WIRING, COUNT)                                 \
    X(token_rows, WIRING, embed)                                 \
    X(sum, CONSTANT_MULTIPLE, add)                               \
    X(norm, FORMULA, rms_norm)                                   \
    X(activation, FORMULA, glu)                                  \
    X(activation_tanh, FORMULA, glu)                             \
    X(swiglu, FORMULA, swiglu)                                   \
    X(softcap, FORMULA, softcap)                                 \
    X(router_weights, FORMULA, topk_softmax)                     \
    X(expert_weights, MISSING_TERMS, expert_sum)                 \
    X(rescaled, CONSTANT_MULTIPLE, COUNT)                        \
    X(decoding, WEIGHTS_DECODING, COUNT)                         \
    X(missing_terms, MISSING_TERMS, COUNT)                       \
    X(input_layout, LAYOUT, matmul)                              \
    X(weight_rows, LAYOUT, matmul)                               \
    X(weight_rows, LAYOUT, expert_matmul)                        \
    X(constant_vector, ADDITIVE, COUNT)

/* What a solver works on. */
struct solve {
    struct op_trial *trial; /* all rows of the step, the failing ones first; trial_explains proves a candidate */
    const struct evidence *evidence; /* the failing rows: recorded, expected, bounds */
};

/* mutants.c: the faults of the table that explain the error, written to found[max]. spares_some: their bug may have
 * spared rows that are right. Returns how many. */
uint32_t mutants_try(const struct solve *solve, bool spares_some, struct diagnosis *found, uint32_t max);

/* step_numbers.c: a number of the config that is not MODEL's. One failing row is too little: some eps explains any
 * factor of it. */
bool numbers_try(const struct solve *solve, struct diagnosis *found);

/* Returns whether it explains the error. `found` has its kind, and the kind as its name, already. */
typedef bool solve_function(const struct solve *solve, struct diagnosis *found);

#define SOLVER_PROTOTYPE(name, kind, op) solve_function solve_##name;
SOLVERS(SOLVER_PROTOTYPE)
#undef SOLVER_PROTOTYPE

/* Tries the solvers of the step's op in turn. Returns whether one explains the error. */
bool solvers_try(const struct solve *solve, struct diagnosis *found);

/* What one solver says, asked alone. */
struct solver_claim {
    const char *solver;   /* of SOLVERS */
    enum fault_kind kind; /* that it names */
};

/* Asks every solver of the step's op. Writes those that explain the error. Returns how many. */
#define SOLVERS_MOST 48
uint32_t solvers_ask(const struct solve *solve, struct solver_claim claims[SOLVERS_MOST]);

/* Row `index` of SOLVERS: returns its name. NULL: past the last. */
const char *solver_at(uint32_t index, enum fault_kind *kind, enum op *op);

#endif
