/* The audit: does each op follow from its own inputs?
 *
 * For each step of the plan, compute the op in double precision from the trace's own recorded inputs, and compare with
 * the trace's own recorded output. An op that only inherits an error passes; the op that introduces it fails. An error
 * is reported as a ratio to the bound that rounding alone can reach; over 1 is a divergence.
 *
 * Where a trace lacks an op's input, that is computed from what it holds, with how far it can be off, and the audit is
 * one of all ops on the way (workbench/audit/span.h). */
#ifndef LOCKSTEP_WORKBENCH_AUDIT_AUDIT_H
#define LOCKSTEP_WORKBENCH_AUDIT_AUDIT_H

#include "workbench/audit/rows.h"
#include "workbench/trace/trace.h"

enum finding_state {
    FINDING_AUDITED,   /* rows were judged, and the numbers below hold */
    FINDING_MISSING,   /* the trace does not hold this stage */
    FINDING_UNAUDITED, /* it holds the stage, but not an input that judging needs */
};

/* What the audit says of one step of one trace. */
struct finding {
    enum finding_state state;
    uint32_t rows_judged, rows_inherited; /* inherited: a nonfinite input, not judged */
    uint32_t rows_unaudited; /* recorded, but an input is not, or is known so little that zeros would pass */
    bool span;               /* judged over ops whose stages the trace lacks: span_path_find tells which */
    uint32_t rows_failed;    /* positions with a ratio over 1 */
    double max_ratio;        /* over all rows judged; infinity where a finite result was due and none came */
    double max_abs_error;
    /* The place to look at: the lowest failing position and, there, the dim of the worst ratio. If nothing fails: the
     * worst ratio of all. */
    uint32_t position, dim;
    double expected, actual, bound, abs_error, ratio;
    uint32_t worst_position, worst_dim; /* where max_ratio is */
    /* For the gain ledger, over rows that the last trace holds too: of recorded minus expected, of expected minus the
     * last trace's, of the last trace's. */
    double introduced_squares, inherited_squares, golden_squares;
    /* Of the recorded values, over whole rows. */
    double rms, max_abs;
    uint64_t nonfinite;
};

struct audit {
    const struct plan *plan;
    uint32_t n_traces;
    struct finding *findings; /* [n_steps, n_traces] */
    double *relative_rms;     /* [n_steps, n_traces]: rms of (trace - last trace) / rms of the last trace; NaN if not
                                 comparable */
};

/* Tells how far long work is; may be NULL. */
typedef void progress_function(void *context, uint32_t done, uint32_t total);

/* Audits traces of one plan together, each weight decoded once for all. By custom the golden is the last one. If
 * stop_asked() (model/stop.h) meanwhile, the findings say nothing: the caller looks. */
void audit_run(struct audit *audit, const struct plan *plan, const struct trace *const *traces, uint32_t n_traces,
               progress_function *progress, void *context);

/* Audits one step of the traces again, after the arithmetic of one of them was inferred. */
void audit_again(struct audit *audit, const struct trace *const *traces, uint32_t step);

/* Judges nothing: of each finding only rms, max_abs, nonfinite, and whether the stage is missing. Freed likewise. */
void audit_measure(struct audit *audit, const struct plan *plan, const struct trace *const *traces, uint32_t n_traces);

/* Audits one step of one trace (the prompt's `audit STAGE@LAYER`); likewise. */
struct finding audit_step(const struct plan *plan, uint32_t step, const struct trace *trace);

/* How a recorded value stands to the expected one: |actual - expected| / bound. 0 where they are equal; infinity where
 * they differ and the bound is 0, or where one of them is finite and the other not. NaN: not judged, for neither is
 * finite (a weight that is not). Nothing compares NaN as equal. */
double judge(double expected, double actual, double bound);

const struct finding *audit_finding(const struct audit *audit, uint32_t step, uint32_t trace);
bool finding_failed(const struct finding *finding);
void audit_free(struct audit *audit);

#endif
