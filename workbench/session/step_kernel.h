/* Which kernel made a stage, in words: for `step`, `info plan` and the report. */
#ifndef LOCKSTEP_WORKBENCH_SESSION_STEP_KERNEL_H
#define LOCKSTEP_WORKBENCH_SESSION_STEP_KERNEL_H

#include "engine/engine.h"
#include "workbench/session/comparison.h"

#define STEP_KERNEL_SIZE 160 /* bytes */

/* "head_norm_rope.comp" or, of a fault's variant, "rope.comp NO_SCALE". Empty if kernel->shader is NULL. Returns text.
 */
const char *step_kernel_write_name(const struct engine_kernel *kernel, char text[STEP_KERNEL_SIZE]);

/* The same with the dispatch and what else it makes: "head_norm_rope.comp, dispatch 7, fused: q_norm to k_rope". plan:
 * the engine's. */
const char *step_kernel_write(const struct engine_kernel *kernel, const struct plan *plan, char text[STEP_KERNEL_SIZE]);

/* That of a step in batches of n_rows. Empty: no batch of so many rows ran lately, or the engine doesn't run such a
 * step. by_itself: as in engine_kernel_of. */
const char *step_kernel_text(const struct backend *engine, uint32_t n_rows, const struct step *step, bool by_itself,
                             char text[STEP_KERNEL_SIZE]);

/* The number of rows of the batch in which a position was computed, when tokens ran in batches as large as possible.
 * phase: [n_positions]. */
uint32_t step_kernel_rows(const struct backend *engine, const uint8_t *phase, uint32_t n_positions, uint32_t position);

/* Sets run.kernel, if the first divergence is the engine's: the kernel that made its rows. engine: NULL where none ran.
 */
void step_kernel_find_first(struct comparison *comparison, const struct backend *engine);

/* Says in the comparison's run which engine ran: device, driver, and the kernel of the first divergence. */
void step_kernel_describe(struct comparison *comparison, const struct backend *engine);

#endif
