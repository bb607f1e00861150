/* A supposition: what the products and attentions round whose stages a file lacks. Products round class by class: an
 * engine may compute its experts, or weights of one dtype, by other kernels than the rest. */
#ifndef LOCKSTEP_WORKBENCH_AUDIT_SUPPOSITION_H
#define LOCKSTEP_WORKBENCH_AUDIT_SUPPOSITION_H

#include "model/plan.h"
#include "reference/roundings.h"

#define SUPPOSED_MOST 8 /* classes of products */
struct supposed_class {
    enum op op;
    uint32_t weights; /* DTYPE_ code */
    /* operands of ROUNDING_Q8_0: the 8-bit type that ggml pairs with the weights' dtype */
    struct roundings roundings;
};

struct supposition {
    struct roundings attention;
    uint32_t n;
    struct supposed_class products[SUPPOSED_MOST];
};

/* What is varied at once: the attention, all products, or one class of them: PART_CLASS + its number. */
enum { PART_ATTENTION, PART_PRODUCTS, PART_CLASS };

/* Nothing is rounded, in any class of a plan's products but those of known[n_steps]. */
struct supposition supposition_none(const struct plan *plan, const uint8_t *known);

bool supposition_rounds(const struct supposition *supposition);

/* Whether it covers the step: products and attentions. */
bool supposition_is_about(const struct step *step);

void supposition_vary(struct supposition *supposition, unsigned part, const struct roundings *roundings);

/* The number of a step's class of products; SUPPOSED_MOST: it is in none. */
uint32_t supposition_class(const struct supposition *supposition, const struct step *step);

/* What a step rounds under a supposition. */
struct roundings supposition_of(const struct supposition *supposition, const struct step *step);

#endif
