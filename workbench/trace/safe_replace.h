/* A file that appears whole or not at all: written beside its target, then renamed onto it, so that an earlier file
 * stays as it was if anything fails (disk full, a crash halfway). */
#ifndef LOCKSTEP_WORKBENCH_TRACE_SAFE_REPLACE_H
#define LOCKSTEP_WORKBENCH_TRACE_SAFE_REPLACE_H

#include "model/error.h"

struct replacement {
    char *target;    /* what the file will be called; symbolic links followed */
    char *temporary; /* what it is called until then, in the same folder */
    int fd;          /* open for writing */
};

/* Creates the temporary file. STATUS_IO where that cannot be, or where the target is there and no regular file. */
enum status replacement_begin(struct replacement *replacement, const char *path, struct error *err);

/* Flushes to the disk, closes and renames; on failure (STATUS_IO) the temporary file is gone. Ends the replacement. */
enum status replacement_commit(struct replacement *replacement, struct error *err);

/* Removes the temporary file. Ends the replacement. */
void replacement_abort(struct replacement *replacement);

#endif
