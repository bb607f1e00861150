/* Values of the constants of a SPIR-V module. */
#ifndef LOCKSTEP_ENGINE_PROGRAM_PRUNE_CONSTANTS_H
#define LOCKSTEP_ENGINE_PROGRAM_PRUNE_CONSTANTS_H

#include "engine/program/prune_module.h"

/* Finds the values of the constants that the instruction at `at` declares, if they are known. */
void prune_constant(const struct prune_module *module, uint32_t at);

#endif
