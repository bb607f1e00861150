/* A session of the prompt in a file: `save` writes it, `resume` opens it. The file is JSON: model, golden and trace
 * with their digests, options and settings, tokens, place, breakpoints, patches, debug configuration. Rows are not in
 * it, as the sides make them again, bit for bit; rows that they would make otherwise (of an engine that was exchanged
 * or patched in the middle of the run) are in a trace file beside it. */
#ifndef LOCKSTEP_WORKBENCH_DEBUGGER_SAVED_SESSION_H
#define LOCKSTEP_WORKBENCH_DEBUGGER_SAVED_SESSION_H

#include <jansson.h>

#include "workbench/debugger/repl.h"

#define SESSION_FORMAT "lockstep-session"
#define SESSION_VERSION 1

/* Writes the session; an earlier one of this name is replaced. STATUS_USAGE: the file is there and is no session. */
enum status saved_session_write(struct repl *repl, const char *path, struct error *err);

/* Opens a prompt as it was saved; the session in it is malloc'ed. STATUS_BAD_INPUT: the file is no session, or a file
 * that it names is gone or has changed. What else is not as it was (the device, rows of a side) is noted on standard
 * error. On failure nothing is open. */
enum status saved_session_open(struct repl *repl, const char *path, struct error *err);

#endif
