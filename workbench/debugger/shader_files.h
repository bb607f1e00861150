/* The GLSL files of a folder: which of them changed since the last time, and which shaders a change concerns. */
#ifndef LOCKSTEP_WORKBENCH_DEBUGGER_SHADER_FILES_H
#define LOCKSTEP_WORKBENCH_DEBUGGER_SHADER_FILES_H

#include <stdbool.h>
#include <stdint.h>

#include "model/error.h"

struct shader_file {
    char *name, *text;
    bool changed; /* shader_files_compare: the other files have another text, or none */
};

struct shader_files {
    uint32_t n;
    struct shader_file *files;
};

/* Those built into the program. */
void shader_files_built_in(struct shader_files *files);

/* Those of a folder, in no order. Files that end neither with .comp, .glsl nor .h are left out. On failure there are
 * none. */
enum status shader_files_read(struct shader_files *files, const char *folder, struct error *err);
void shader_files_free(struct shader_files *files);

/* Marks the files that changed. Returns how many. */
uint32_t shader_files_compare(struct shader_files *files, const struct shader_files *before);

/* Whether SHADER.comp is the file, or includes it, also through others. */
bool shader_files_concerns(const struct shader_files *files, const char *file, const char *shader);

/* A number that changes whenever a file of the folder is written, made or deleted. 0: the folder cannot be read. */
uint64_t shader_files_stamp(const char *folder);

#endif
