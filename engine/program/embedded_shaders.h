/* The shaders that the build embeds. The build generates the tables' definition (cmake/embed.cmake). Each table ends
 * with a row of zeros. */
#ifndef LOCKSTEP_ENGINE_PROGRAM_EMBEDDED_SHADERS_H
#define LOCKSTEP_ENGINE_PROGRAM_EMBEDDED_SHADERS_H

#include <stddef.h>
#include <stdint.h>

/* SPIR-V of a compute shader. */
struct shader_binary {
    const char *name; /* "matmul" */
    const uint32_t *words;
    size_t n_bytes;
};
extern const struct shader_binary shader_binaries[];

/* Source text of a file under shaders/. */
struct shader_text {
    const char *name; /* "matmul.comp", "params.h" */
    const char *text;
};
extern const struct shader_text shader_texts[];

#endif
