/* What `diff` and the prompt share: running a golden's tokens on the session's sides, for a comparison. */
#ifndef LOCKSTEP_WORKBENCH_SESSION_COMPARE_RUN_H
#define LOCKSTEP_WORKBENCH_SESSION_COMPARE_RUN_H

#include "workbench/session/comparison.h"
#include "workbench/session/session.h"

/* Runs the golden's tokens on a side of the session, and adds the trace. Does nothing if the session has no such side.
 * quiet: no progress is shown. A stage that was not recorded is STATUS_DEVICE: the run failed, which is never a
 * divergence. */
enum status compare_record(struct session *session, struct comparison *comparison, enum source source,
                           const struct trace *golden, bool quiet, struct error *err);

/* Compares the golden's digests with MODEL's; or requires those of --golden-model, whose plan then judges it. own: that
 * model's plan, borrowed; NULL: not given. *same_weights: as comparison_judge wants it. */
enum status compare_check_golden(struct session *session, struct comparison *comparison, const struct trace *golden,
                                 const struct plan *own, bool *same_weights, struct error *err);

#endif
