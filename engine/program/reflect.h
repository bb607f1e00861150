/* Checks a shader against the layout that the engine is about to give it. */
#ifndef LOCKSTEP_ENGINE_PROGRAM_REFLECT_H
#define LOCKSTEP_ENGINE_PROGRAM_REFLECT_H

#include <stddef.h>
#include <stdint.h>

#include "engine/program/program_key.h"
#include "model/error.h"

/* STATUS_BAD_INPUT unless the SPIR-V is valid and declares exactly the key's bindings and push constants (postmortems
 * 2025-12-22 moe-explicit-layout and 2025-12-17 softmax-uniform-buffer). */
enum status reflect_check(const struct program_key *key, const uint32_t *words, size_t n_bytes, struct error *err);

#endif
