/* Completes the types of cooperative matrices in SPIR-V. */
#ifndef LOCKSTEP_ENGINE_PROGRAM_MATRIX_TYPES_H
#define LOCKSTEP_ENGINE_PROGRAM_MATRIX_TYPES_H

#include <stddef.h>
#include <stdint.h>

#include "model/error.h"

/* Replaces the placeholders that shaders/cooperative.glsl writes for component types. SPIR-V without cooperative
 * matrices stays as it is. *words is malloc'ed, and may be reallocated. shader: its name, for errors. */
enum status matrix_types_resolve(const char *shader, uint32_t **words, size_t *n_bytes, struct error *err);

#endif
