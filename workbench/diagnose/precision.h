/* Precision as a diagnosis: the op comes out as recorded once its inputs or its output are rounded to a smaller type
 * than the trace declares. That is no bug; a declaration is missing. */
#ifndef LOCKSTEP_WORKBENCH_DIAGNOSE_PRECISION_H
#define LOCKSTEP_WORKBENCH_DIAGNOSE_PRECISION_H

#include "workbench/diagnose/relations/relations.h"
#include "workbench/diagnose/solver.h"

/* Writes every rounding that reproduces all rows of the evidence to found[max]. */
uint32_t precision_find(const struct evidence *evidence, struct diagnosis *found, uint32_t max);

/* The same of what an attention rounds inside (in attention/attention_arithmetic.c). Returns 0 or 1. */
uint32_t precision_of_attention(const struct solve *solve, struct diagnosis *found, uint32_t max);

/* The same of an activation that is looked up in a table of 16-bit floats. Returns 0 or 1. */
uint32_t precision_of_activation(const struct solve *solve, struct diagnosis *found, uint32_t max);

/* Where no known rounding reproduces the rows: whether their errors are of the size that roundings to f16 or bf16 at an
 * unknown place inside the op leave. A symptom, for another small error looks so, too. Returns 0 or 1. */
uint32_t precision_within(const struct evidence *evidence, struct diagnosis *found, uint32_t max);

#endif
