/* Text files that are written completely or not at all: JSON, and pages. */
#ifndef LOCKSTEP_WORKBENCH_TRACE_TEXT_FILE_H
#define LOCKSTEP_WORKBENCH_TRACE_TEXT_FILE_H

#include "model/error.h"

/* Writes a text in place of what the file held. "-": standard output. A pipe or a device is written to. STATUS_IO: it
 * cannot be written; an earlier file stays whole. */
enum status text_file_write(const char *text, const char *path, struct error *err);

/* Adds a text at the end of a file, which is made if it is not there. */
enum status text_file_append(const char *text, const char *path, struct error *err);

#endif
