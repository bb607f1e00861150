/* The user's choice among the kernels that can make a stage (placement/stage_kernels.h): what it allows. The
 * code that picks a kernel asks here; lower_plan.c drops a fused group that makes a stage otherwise. */
#ifndef LOCKSTEP_ENGINE_LOWERING_KERNEL_CHOICE_H
#define LOCKSTEP_ENGINE_LOWERING_KERNEL_CHOICE_H

#include "engine/schedule/builder.h"

/* The kernel chosen for a step; KERNEL_AUTO: none. */
enum stage_kernel kernel_choice_of(const struct builder *b, uint32_t step);

/* That of the first of steps [first, last] that has one. */
enum stage_kernel kernel_choice_in(const struct builder *b, uint32_t first, uint32_t last);

/* Whether a kernel makes a step: where the user chose none, if `suits`. */
bool kernel_choice_is(const struct builder *b, uint32_t step, enum stage_kernel kernel, bool suits);

/* Whether each step of a fused group is made by the kernel chosen for it. */
bool kernel_choice_allows(const struct builder *b, const struct entry *fused, uint32_t first);

/* The kernel by which an entry of a schedule makes a step. */
enum stage_kernel kernel_choice_made(const struct schedule *schedule, const struct entry *entry, uint32_t step);

#endif
