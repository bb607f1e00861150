/* The closed list of what engines round inside a matrix product or an attention. */
#ifndef LOCKSTEP_WORKBENCH_AUDIT_HYPOTHESES_H
#define LOCKSTEP_WORKBENCH_AUDIT_HYPOTHESES_H

#include "model/plan.h"
#include "reference/roundings.h"

bool op_is_product(enum op op);
bool op_is_attention(enum op op);

#define HYPOTHESES_MOST 2048

/* Lists the roundings that a matrix product or an attention may make, the simplest first. cache: what the file declares
 * keys and values to be kept in. Returns their number. */
uint32_t hypotheses_list(const struct step *step, uint32_t n_positions, uint8_t cache,
                         struct roundings list[HYPOTHESES_MOST]);

/* What is tried of ops whose stages are not recorded: shorter lists, because a whole span is computed for every line.
 * Products: nothing; operands in floats, alone and with the weights; operands of ROUNDING_Q8_0, which stands for the
 * 8-bit type of each format of weights. */
#define SPAN_PRODUCTS_MOST 7
uint32_t span_products_list(struct roundings list[SPAN_PRODUCTS_MOST]);

/* Attention, all in one type (ROUNDING_F16 or _BF16), or queries in the other one: inputs, probabilities, an
 * accumulator after each key as ggml has. Where the plan's scale is no power of two, also queries that are scaled
 * first. */
#define SPAN_ATTENTIONS_MOST 84 /* of both types */
uint32_t span_attentions_list(const struct plan *plan, uint8_t type, struct roundings *list);

#endif
