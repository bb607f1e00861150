/* A comparison with a golden, from an open session to the verdict: what `diff` and `batch` run. */
#ifndef LOCKSTEP_WORKBENCH_SESSION_COMPARE_GOLDEN_H
#define LOCKSTEP_WORKBENCH_SESSION_COMPARE_GOLDEN_H

#include "workbench/session/comparison.h"
#include "workbench/session/session.h"

struct compare_options {
    struct trace *trace;      /* takes the engine's place, and is taken over; NULL: none */
    const char *golden_model; /* the model that the golden was made with; NULL: not given */
    bool strict;              /* as comparison.strict */
};

/* Says in options which sides run: by `on`, as --on gives it, else the engine and the reference; where a trace takes
 * the engine's place, the reference. STATUS_USAGE: they cannot, or a fault has no engine to be planted in. */
enum status compare_choose_sides(const char *on, bool has_trace, struct session_options *options, struct error *err);

struct golden_comparison {
    struct comparison comparison;
    struct model own_model; /* the golden's own, which the comparison borrows */
    struct plan own_plan;
    bool has_own;
};

/* Runs the golden's tokens on the session's sides, and judges them all. Takes golden and trace over; the
 * session must stay as long as the comparison. On failure nothing is left to free. */
enum status golden_compare(struct golden_comparison *compared, struct session *session, struct trace *golden,
                           const struct compare_options *options, struct error *err);

/* Judges one trace alone: what `audit` and `batch` run. Takes the trace over. plan and its model must stay. */
enum status trace_audit(struct comparison *comparison, const struct plan *plan, struct trace *trace, bool strict,
                        struct error *err);

void golden_comparison_free(struct golden_comparison *compared);

#endif
