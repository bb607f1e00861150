/* The closed list of what engines round inside a matrix product or an attention. */
#ifndef LOCKSTEP_WORKBENCH_AUDIT_HYPOTHESES_H
#define LOCKSTEP_WORKBENCH_AUDIT_HYPOTHESES_H

#include "model/plan.h"
#include "reference/roundings.h"

bool op_is_product(enum op op);

#define HYPOTHESES_MOST 2048

/* Lists the roundings that a matrix product or an attention may make, the simplest first. cache: what the file declares
 * keys and values to be kept in. Returns their number. */
uint32_t hypotheses_list(const struct step *step, uint32_t n_positions, uint8_t cache,
                         struct roundings list[HYPOTHESES_MOST]);

#endif
