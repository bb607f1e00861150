/* What recording (session_record.c) and generating (session_generate.c) share. Not for anybody else. */
#ifndef LOCKSTEP_WORKBENCH_SESSION_INTERNAL_H
#define LOCKSTEP_WORKBENCH_SESSION_INTERNAL_H

#include "workbench/session.h"

/* STATUS_BAD_INPUT where the KV cache holds fewer positions. */
enum status session_check_positions(const struct backend *backend, uint32_t n_positions, struct error *err);

/* STATUS_INTERRUPTED where Ctrl-C was pressed, once a batch is done. */
enum status session_check_interrupt(const struct batch *batch, struct error *err);

/* The id that a backend's choice of a token leaves out: the padding's, with TAMPER_PAD_CHOSEN none (-1). */
int32_t session_chooser_masks(const struct session *session, const struct backend *backend);

#endif
