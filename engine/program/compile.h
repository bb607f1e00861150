/* Compiles GLSL to SPIR-V at run time, through libglslang: for the variant of a shader that a fault asks for, and for
 * shaders that the user edits. */
#ifndef LOCKSTEP_ENGINE_PROGRAM_COMPILE_H
#define LOCKSTEP_ENGINE_PROGRAM_COMPILE_H

#include <stddef.h>
#include <stdint.h>

#include "model/error.h"

/* Compiles NAME.comp with VARIANT defined as `variant`. shader_dir: folder of the source; NULL: the embedded text.
 * *words is malloc'ed. A compile error is STATUS_BAD_INPUT with file and line. */
enum status shader_compile(const char *name, uint32_t variant, const char *shader_dir, uint32_t **words,
                           size_t *n_bytes, struct error *err);

#endif
