/* What recording (session_record.c) and generating (session_generate.c) share. Not for anybody else. */
#ifndef LOCKSTEP_WORKBENCH_SESSION_SESSION_INTERNAL_H
#define LOCKSTEP_WORKBENCH_SESSION_SESSION_INTERNAL_H

#include "workbench/session/session.h"

/* STATUS_BAD_INPUT where the KV cache holds fewer positions. */
enum status session_check_positions(const struct backend *backend, uint32_t n_positions, struct error *err);

/* STATUS_INTERRUPTED where Ctrl-C was pressed, once a batch is done. */
enum status session_check_interrupt(const struct batch *batch, struct error *err);

#endif
