/* A comparison: traces of the same tokens, audited together, with verdict, diagnoses and notes. `diff`, `audit` and
 * `faults --check` each make one. Zero-initialised but for `plan` and what is said of the golden; comparison_free
 * releases it. */
#ifndef LOCKSTEP_WORKBENCH_SESSION_COMPARISON_H
#define LOCKSTEP_WORKBENCH_SESSION_COMPARISON_H

#include "model/model.h"
#include "workbench/audit/arithmetic.h"
#include "workbench/audit/verdict.h"
#include "workbench/audit/weights/golden_weights.h"
#include "workbench/diagnose/diagnose.h"
#include "workbench/report/report.h"

#define COMPARISON_MOST_NOTES 24
#define COMPARISON_MOST_DIAGNOSES 32

struct comparison {
    const struct plan *plan; /* borrowed; once judged, `judged` */
    struct plan judged;
    uint32_t n_traces;
    struct trace traces[SOURCE_COUNT]; /* the golden last; owned */
    const struct trace *list[SOURCE_COUNT];
    enum source sources[SOURCE_COUNT];
    bool golden_differs;            /* the golden's digest of its weights is not the model's */
    const struct plan *golden_plan; /* of the model that the golden was made with, as `plan`; borrowed; NULL: none */
    struct golden_weights golden_weights;
    struct audit audit;
    struct arithmetic arithmetic[SOURCE_COUNT]; /* [n_traces] */
    bool storage[SOURCE_COUNT];                 /* [n_traces] storage_dtype was inferred */
    struct declaration declared[SOURCE_COUNT];  /* [n_traces] what each declared, before anything was inferred */
    struct verdict verdict;
    struct diagnosis diagnoses[COMPARISON_MOST_DIAGNOSES]; /* of the first divergence, then of further ones */
    uint32_t n_diagnoses;
    uint32_t n_unexplained;                   /* further introduced errors whose cause is not proven */
    struct report_run run;                    /* of which run the report is */
    const char *notes[COMPARISON_MOST_NOTES]; /* owned */
    uint32_t n_notes;
    uint32_t n_choices;        /* notes on next tokens that are not the golden's */
    bool blind_spots;          /* after parity, find the known bugs that these tokens cannot show */
    bool strict;               /* infer no arithmetic: what a file does not declare is a divergence */
    struct report_parts parts; /* of the report that is printed */
};

/* Adds a trace, which the comparison then owns: *trace becomes empty. The golden is added last. */
void comparison_add(struct comparison *comparison, enum source source, struct trace *trace);

/* Adds a line of at most 511 bytes to the report. Lines after the COMPARISON_MOST_NOTES-th are dropped. */
void comparison_note(struct comparison *comparison, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Audits, judges and diagnoses what was added. same_weights as in verdict_reach. */
void comparison_judge(struct comparison *comparison, bool same_weights, progress_function *progress);

/* Compares a trace's digests of weights and config with the model's, and notes each that is missing or differs. *same:
 * both are the same. */
enum status comparison_check_digests(struct comparison *comparison, const struct model *model,
                                     const struct trace *trace, bool *same, struct error *err);

/* Requires that a golden was made with this model, as far as it says: its digests are the model's. Adds the model's
 * plan, borrowed, to the comparison. STATUS_BAD_INPUT: they are not, or the model has other steps than the
 * comparison's. */
enum status comparison_set_golden_plan(struct comparison *comparison, const struct plan *plan,
                                       const struct trace *golden, struct error *err);

/* Prints the report. */
void comparison_print(const struct comparison *comparison, FILE *out);

/* The report of a judged comparison; it points into the comparison. */
struct report comparison_view(const struct comparison *comparison);

void comparison_free(struct comparison *comparison);

#endif
