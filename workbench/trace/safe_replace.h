/* A file that is written completely or not at all. It is written beside its target and then renamed onto it, so an
 * earlier file stays as it was if anything fails (a full disk, a crash half-way). */
#ifndef LOCKSTEP_WORKBENCH_TRACE_SAFE_REPLACE_H
#define LOCKSTEP_WORKBENCH_TRACE_SAFE_REPLACE_H

#include "model/error.h"

struct replacement {
    char *target;    /* the final path, symbolic links resolved; owned */
    char *temporary; /* the path until then, in the same folder; owned */
    int fd;          /* of the temporary file, open for reading and writing */
};

/* Creates the temporary file. STATUS_IO: it cannot be created, or the target exists and is not a regular file; nothing
 * is left to end then. Otherwise replacement_commit or replacement_abort ends the replacement. */
enum status replacement_begin(struct replacement *replacement, const char *path, struct error *err);

/* Flushes the file to the disk, closes it and renames it onto the target. Ends the replacement; on failure (STATUS_IO)
 * the temporary file is removed. */
enum status replacement_commit(struct replacement *replacement, struct error *err);

/* Removes the temporary file and ends the replacement. */
void replacement_abort(struct replacement *replacement);

/* Writes a text in place of what the file held. "-": standard output. A pipe or a device is written to. STATUS_IO: it
 * cannot be written; an earlier file stays whole. */
enum status text_file_write(const char *text, const char *path, struct error *err);

/* Adds a text at the end of a file, which is made if it is not there. */
enum status text_file_append(const char *text, const char *path, struct error *err);

#endif
