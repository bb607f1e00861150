#include "workbench/audit/supposition.h"

#include "reference/integer_weights.h"
#include "workbench/audit/hypotheses.h"

/* The class of a step's products; NULL: it is in none. */
static struct supposed_class *find_class(const struct supposition *supposition, const struct step *step)
{
    for (uint32_t i = 0; i < supposition->n; i++) {
        const struct supposed_class *class = &supposition->products[i];
        if (class->op == step->op && class->weights == step_weights_dtype(step)) {
            return (struct supposed_class *)class;
        }
    }
    return NULL;
}

uint32_t supposition_class(const struct supposition *supposition, const struct step *step)
{
    const struct supposed_class *class = find_class(supposition, step);
    return class ? (uint32_t)(class - supposition->products) : SUPPOSED_MOST;
}

struct supposition supposition_none(const struct plan *plan, const uint8_t *known)
{
    struct supposition none = {0};
    for (uint32_t s = 0; s < plan->n_steps; s++) {
        const struct step *step = &plan->steps[s];
        if (op_is_product(step->op) && !known[s] && !find_class(&none, step) && none.n < SUPPOSED_MOST) {
            none.products[none.n++] = (struct supposed_class){.op = step->op, .weights = step_weights_dtype(step)};
        }
    }
    return none;
}

bool supposition_rounds(const struct supposition *supposition)
{
    bool any = roundings_any(&supposition->attention);
    for (uint32_t i = 0; i < supposition->n; i++) {
        any |= roundings_any(&supposition->products[i].roundings);
    }
    return any;
}

bool supposition_is_about(const struct step *step)
{
    return op_is_product(step->op) || op_is_attention(step->op);
}

void supposition_vary(struct supposition *supposition, unsigned part, const struct roundings *roundings)
{
    if (part == PART_ATTENTION) {
        supposition->attention = *roundings;
    }
    for (uint32_t i = 0; i < supposition->n; i++) {
        if (part == PART_PRODUCTS || part == PART_CLASS + i) {
            supposition->products[i].roundings = *roundings;
        }
    }
}

/* The 8-bit operands that ggml pairs with weights of a dtype; floats of 16 bits with floats of 16 bits. */
static uint8_t paired_operands(uint32_t weights)
{
    return weights == DTYPE_F16    ? ROUNDING_F16
           : weights == DTYPE_BF16 ? ROUNDING_BF16
                                   : (uint8_t)integer_operand_of(weights);
}

struct roundings supposition_of(const struct supposition *supposition, const struct step *step)
{
    if (!op_is_product(step->op)) {
        return supposition->attention;
    }
    const struct supposed_class *class = find_class(supposition, step);
    struct roundings roundings = class ? class->roundings : (struct roundings){0};
    if (roundings.operands > ROUNDING_BF16) {
        roundings.operands = paired_operands(step_weights_dtype(step));
        roundings.to_even &= roundings.operands > ROUNDING_BF16;
    }
    return roundings;
}
