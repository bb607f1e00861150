/* Compiles GLSL to SPIR-V at run time, through libglslang: for the variant of a shader that a fault asks for, and for
 * shaders that the user edits. */
#ifndef LOCKSTEP_ENGINE_PROGRAM_COMPILE_H
#define LOCKSTEP_ENGINE_PROGRAM_COMPILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "model/error.h"

/* Whether NAME.comp and all that it includes are in the folder as they were when the program was built. */
bool shader_is_unedited(const char *name, const char *shader_dir);

/* Compiles NAME.comp with VARIANT defined as `variant`. shader_dir: folder of the source; NULL: the embedded text.
 * *words is malloc'ed. A compile error is STATUS_BAD_INPUT with file, line,
 * and a caret below the line's text. A text that was compiled before is not compiled again. */
enum status shader_compile(const char *name, uint32_t variant, const char *shader_dir, uint32_t **words,
                           size_t *n_bytes, struct error *err);

#endif
