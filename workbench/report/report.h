/* The report of `diff` and `audit`: the table and the first divergence for people, version 1 of the JSON for scripts.
 */
#ifndef LOCKSTEP_WORKBENCH_REPORT_REPORT_H
#define LOCKSTEP_WORKBENCH_REPORT_REPORT_H

#include <stdio.h>

#include "workbench/audit/verdict.h"
#include "workbench/diagnose/diagnose.h"

struct report {
    const struct plan *plan;
    const struct audit *audit;
    const struct verdict *verdict;
    const struct trace *const *traces; /* [audit->n_traces] */
    const enum source *sources;
    const struct diagnosis *diagnoses; /* of the first divergence */
    uint32_t n_diagnoses;
    const char *const *notes; /* other weights than the golden's, and the like */
    uint32_t n_notes;
};

/* A table of the worst ratio by stage and source, coverage, the verdict, and if it is a divergence where it starts,
 * who is wrong and what explains it. */
void report_print(const struct report *report, FILE *out);

/* CONTRACT: "lockstep-report", version 1. path "-" is standard output. */
enum status report_write_json(const struct report *report, const char *path, struct error *err);

#endif
