/* Bugs of each kind that a solver explains, to prove that it does: a row of a table is one bug with numbers of its own.
 * It is planted in the recorded output of one step of a healthy trace, which is computed again with the bug in it: by
 * the op on edited inputs, parameters or weights, or by an edit of what the op gives. So it needs no engine, and
 * nothing of the solver's search. `faults --check` plants every one in every model. */
#ifndef LOCKSTEP_WORKBENCH_DIAGNOSE_KINDS_PLANT_H
#define LOCKSTEP_WORKBENCH_DIAGNOSE_KINDS_PLANT_H

#include <math.h>

#include "model/arena.h"
#include "workbench/diagnose/diagnose_internal.h"

/* A bug being planted. */
struct plant {
    const struct plan *plan;
    const struct trace *trace; /* healthy */
    const struct step *right;
    struct step step;    /* the one that is computed: edited, or the right one */
    uint32_t n;          /* rows */
    struct op_row *rows; /* [n] inputs as recorded, in order of position; edited */
    double *y;           /* [n, width]; plant_compute fills it */
    double number;       /* that the diagnosis must find; NAN: none */
    struct arena arena;  /* holds what edits point to */
};

/* Edits the plant and computes it. false: the bug does not fit this step. */
typedef bool plant_function(struct plant *plant);

/* A bug. */
struct kind_bug {
    const char *name;   /* "bias-twice" */
    const char *story;  /* for people: what the bug is */
    const char *solver; /* of SOLVERS */
    enum fault_kind kind;
    enum op op;
    plant_function *plant;
    const char *says; /* what the diagnosis says in words, or its name does; "": its number is enough */
};

const struct kind_bug *kind_bugs(uint32_t *n);
const struct kind_bug *kind_bug_by_name(const char *name); /* NULL: unknown */

/* Computes all rows by plant->step. */
void plant_compute(struct plant *plant);

/* A copy of an input of all rows, [n, width], that may be edited; the rows point to it. */
float *plant_copy_input(struct plant *plant, unsigned input, uint32_t width);

/* A row of a weight as f32, in the arena. */
float *plant_weights(struct plant *plant, const struct tensor *tensor, uint64_t row);

/* Attention and rope (plant_attention.c, plant_rope.c). */
plant_function plant_first_keys_lost, plant_padding_in_denominator, plant_masked_keys_count, plant_score_of_tanh,
    plant_running_maximum, plant_heads_reversed, plant_values_from_keys, plant_values_shifted, plant_cache_e4m3,
    plant_cache_q4_0, plant_keys_shifted, plant_value_unwritten;
plant_function plant_positions_shifted, plant_tables_bf16, plant_one_frequency;

/* Products, sums and the rest (plant_products.c, plant_values.c). */
plant_function plant_last_inputs_lost, plant_bias_twice, plant_other_vector, plant_unknown_vector,
    plant_experts_bias_thrice, plant_router_weight_on_input, plant_input_before_norm, plant_block_decoding,
    plant_scales_multiplied, plant_transposed, plant_row_before_read, plant_input_rolled, plant_fused_rows,
    plant_experts_shifted;
plant_function plant_clipped, plant_half_branch, plant_norm_offset, plant_norm_without_root, plant_relu,
    plant_swiglu_alpha, plant_swiglu_added, plant_capped_larger, plant_last_expert_lost, plant_next_token,
    plant_router_sigmoid, plant_router_temperature, plant_whole_biases, plant_other_tokens, plant_silu_of_thrice,
    plant_gelu_with_a_tenth;

#endif
