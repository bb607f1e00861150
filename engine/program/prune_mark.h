/* Which functions and blocks of a SPIR-V module may run. */
#ifndef LOCKSTEP_ENGINE_PROGRAM_PRUNE_MARK_H
#define LOCKSTEP_ENGINE_PROGRAM_PRUNE_MARK_H

#include "engine/program/prune_module.h"

/* Finds the constants, functions and blocks, and which may run. Returns false for a module that is left as it is. */
bool prune_mark(const struct prune_module *module);

/* Whether a block that may run still branches to block `id`. */
bool prune_branches_to(const struct prune_module *module, const struct prune_id *block, uint32_t id);

#endif
