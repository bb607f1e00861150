/* A comparison: the traces of one run of tokens, audited together, with verdict, diagnosis and notes. `diff`, `audit`
 * and `faults --check` are each one of these. */
#ifndef LOCKSTEP_WORKBENCH_SESSION_COMPARISON_H
#define LOCKSTEP_WORKBENCH_SESSION_COMPARISON_H

#include "model/model.h"
#include "workbench/audit/verdict.h"
#include "workbench/diagnose/diagnose.h"
#include "workbench/report/report.h"

#define COMPARISON_MOST_NOTES 24
#define COMPARISON_MOST_DIAGNOSES 24

struct comparison {
    const struct plan *plan; /* borrowed; once judged, `judged` */
    struct plan judged;
    uint32_t n_traces;
    struct trace traces[SOURCE_COUNT]; /* the golden last; owned */
    const struct trace *list[SOURCE_COUNT];
    enum source sources[SOURCE_COUNT];
    struct audit audit;
    struct verdict verdict;
    struct diagnosis diagnoses[COMPARISON_MOST_DIAGNOSES]; /* of the first divergence, then of further ones */
    uint32_t n_diagnoses;
    const char *notes[COMPARISON_MOST_NOTES]; /* owned */
    uint32_t n_notes;
    struct report_parts parts; /* of the report that is printed */
};

/* Adds a trace, and takes it over. */
void comparison_add(struct comparison *comparison, enum source source, struct trace *trace);

/* A line for the report. */
void comparison_note(struct comparison *comparison, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Audits, judges and diagnoses what was added. same_weights as in verdict_reach. */
void comparison_judge(struct comparison *comparison, bool same_weights, progress_function *progress);

/* Notes where the digests that a trace declares are not the model's. *same: all that it declares, and it declares some.
 */
enum status comparison_check_digests(struct comparison *comparison, const struct model *model,
                                     const struct trace *trace, bool *same, struct error *err);

/* Prints the report, or writes it as JSON (and prints it as well, unless json is "-"). Returns STATUS_OK or
 * STATUS_DIVERGED, or why the report could not be written. */
enum status comparison_report(const struct comparison *comparison, const char *json, struct error *err);

void comparison_free(struct comparison *comparison);

#endif
