/* SHA-256 of files and of recorded rows. */
#ifndef LOCKSTEP_WORKBENCH_SESSION_DIGEST_FILE_DIGEST_H
#define LOCKSTEP_WORKBENCH_SESSION_DIGEST_FILE_DIGEST_H

#include "workbench/trace/trace.h"

/* In hex. STATUS_BAD_INPUT: it is no regular file, or cannot be read; STATUS_INTERRUPTED: Ctrl-C. */
enum status file_sha256(const char *path, char hex[65], struct error *err);

/* Of every recorded row of a trace, with its place. */
void trace_rows_sha256(const struct trace *trace, char hex[65]);

#endif
