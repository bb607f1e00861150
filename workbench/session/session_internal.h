/* What session_record.c and session_generate.c share. Only the session_*.c files include it. */
#ifndef LOCKSTEP_WORKBENCH_SESSION_SESSION_INTERNAL_H
#define LOCKSTEP_WORKBENCH_SESSION_SESSION_INTERNAL_H

#include "workbench/session/session.h"

/* STATUS_BAD_INPUT if the backend's KV cache holds fewer positions. */
enum status session_check_positions(const struct backend *backend, uint32_t n_positions, struct error *err);

/* STATUS_INTERRUPTED if Ctrl-C was pressed; called when a batch is done, whose last position the error names. */
enum status session_check_interrupt(const struct batch *batch, struct error *err);

#endif
