/* The audit: does each op's output follow from its own inputs?
 *
 * Each step of the plan is computed in double precision from the inputs that the trace recorded, and compared with the
 * output that the trace recorded. An op that only inherits an error passes; the op that introduces it fails.
 * ratio = error / the most that rounding can cause; above 1 is a divergence.
 *
 * Where a trace lacks an op's input, the input is computed from stages that the trace holds, with a bound on its error.
 * The audit then judges all ops on the way at once (workbench/audit/span.h). */
#ifndef LOCKSTEP_WORKBENCH_AUDIT_AUDIT_H
#define LOCKSTEP_WORKBENCH_AUDIT_AUDIT_H

#include "workbench/audit/rows.h"
#include "workbench/trace/trace.h"

enum finding_state {
    FINDING_AUDITED,   /* rows were judged; the numbers of the finding are valid */
    FINDING_MISSING,   /* the trace does not hold this stage */
    FINDING_UNAUDITED, /* the trace holds the stage, but not every input that is needed to judge it */
};

/* How recorded rows of one phase follow from what they were computed of. */
struct fit {
    uint32_t n_rows, n_judged, n_failed;
    double error; /* sum over the rows, judged or not, of their sum of squared errors / sum of squares expected */
};

/* Adds one row to a fit. bound NULL: it is not judged. */
void fit_add(struct fit *fit, uint32_t width, const float *actual, const double *expected, const double *bound);

/* What the audit says of one step of one trace. */
struct finding {
    enum finding_state state;
    uint32_t rows_recorded;
    uint32_t rows_judged;
    uint32_t rows_inherited;   /* not judged: an input is not finite */
    uint32_t rows_unaudited;   /* not judged: an input is not there, or the row is undecidable */
    uint32_t rows_undecidable; /* not judged: the bound is so wide that zeros would pass */
    bool span;                 /* judged over ops whose stages the trace lacks; span_path_find lists them */
    bool other_precision;      /* of the golden: its weights are MODEL's in another precision, and its error is that of
                                  their rounding (golden_weights.h): no failure */
    uint32_t rows_failed;      /* positions with a ratio above 1 */
    struct fit fit[2];         /* of each phase */
    double max_ratio;          /* over all judged rows; infinity where only one of expected and actual is finite */
    double max_abs_error;
    /* The value to look at: at the lowest failing position, the dim with the worst ratio. If nothing fails, the worst
     * ratio of all. */
    uint32_t position, dim;
    double expected, actual, bound, abs_error, ratio;
    uint32_t worst_position, worst_dim; /* where max_ratio is */
    /* For the gain ledger: sums of squares over the rows that the last trace holds, too. */
    double introduced_squares; /* of recorded - expected */
    double inherited_squares;  /* of expected - last trace */
    double golden_squares;     /* of the last trace */
    /* Of all recorded values. */
    double rms, max_abs;
    uint64_t nonfinite;
};

struct audit {
    const struct plan *plan;
    uint32_t n_traces;
    struct finding *findings; /* [n_steps, n_traces] */
    double *relative_rms;     /* [n_steps, n_traces] rms of (trace - last trace) / rms of the last trace; NaN: no common
                                 row */
};

/* Is called now and then during long work; may be NULL. */
typedef void progress_function(void *context, uint32_t done, uint32_t total);

/* Audits traces of one plan together; each weight is decoded once for all. By custom the golden is the last trace. If
 * the user interrupts (stop_asked() in model/stop.h), the findings are not valid; the caller asks. */
void audit_run(struct audit *audit, const struct plan *plan, const struct trace *const *traces, uint32_t n_traces,
               progress_function *progress, void *context);

/* Audits one trace for as long as goes_on says so of each failing step. Returns whether it came to the end; if not, the
 * later findings are empty. */
typedef bool audit_goes_on(void *context, const struct step *step, const struct finding *finding);
bool audit_while(struct audit *audit, const struct plan *plan, const struct trace *trace, audit_goes_on *goes_on,
                 void *context);

/* Audits steps of the traces again, after the arithmetic of one of them was inferred: those in steps[n_steps]; NULL:
 * all. */
void audit_again(struct audit *audit, const struct trace *const *traces, const uint8_t *steps);

/* Judges nothing. Fills only rms, max_abs, nonfinite and the state of each finding; the audit is freed as any other. */
void audit_measure(struct audit *audit, const struct plan *plan, const struct trace *const *traces, uint32_t n_traces);

/* Audits one step of one trace: the prompt's `audit STAGE@LAYER`. */
struct finding audit_step(const struct plan *plan, uint32_t step, const struct trace *trace);

/* The ratio of one value: |actual - expected| / bound. 0 if they are equal. Infinity if they differ and the bound is 0,
 * or if only one of them is finite. NaN, not judged, if neither is finite: a weight is not. NaN never counts as equal.
 */
double judge(double expected, double actual, double bound);

/* Whether the bounds are so wide that a row of zeros would pass. The span is then too long to judge the row. */
bool tells_nothing(const double *expected, const double *bound, uint32_t width);

/* Whether a computed row cannot be judged: its bounds tell nothing, and no recorded value is NaN or infinity that the
 * arithmetic does not make. */
bool row_is_undecidable(const struct op_row *row, uint32_t width, const float *actual, const double *expected,
                        const double *bound);

const struct finding *audit_finding(const struct audit *audit, uint32_t step, uint32_t trace);
bool finding_failed(const struct finding *finding);
void audit_free(struct audit *audit);

#endif
