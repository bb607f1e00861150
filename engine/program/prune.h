/* Removes from SPIR-V what its specialisation constants never let run. A shader holds the code of every weight format,
 * and a pipeline is for one. Mesa's llvmpipe inlines all of it before it looks at the constants: pruned, a matmul is
 * compiled in a tenth of the time. */
#ifndef LOCKSTEP_ENGINE_PROGRAM_PRUNE_H
#define LOCKSTEP_ENGINE_PROGRAM_PRUNE_H

#include <stddef.h>
#include <stdint.h>

/* Removes the branches that are not taken when constant_id i has constants[i], and functions that nothing calls then.
 * The constants themselves stay for the driver. What is not understood stays as it is. *words is malloc'ed, and may be
 * replaced. */
void prune(uint32_t **words, size_t *n_bytes, const uint32_t *constants, uint32_t n_constants);

#endif
