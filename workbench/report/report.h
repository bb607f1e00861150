/* The report of `diff` and `audit`, as text and as JSON. */
#ifndef LOCKSTEP_WORKBENCH_REPORT_REPORT_H
#define LOCKSTEP_WORKBENCH_REPORT_REPORT_H

#include <stdio.h>

#include "workbench/audit/arithmetic.h"
#include "workbench/audit/golden_weights.h"
#include "workbench/audit/verdict.h"
#include "workbench/diagnose/diagnose.h"

/* Which parts are printed besides coverage, first divergence and verdict, which always are. */
struct report_parts {
    bool table;  /* the worst ratio by stage and source */
    bool ledger; /* the gain ledger */
};

struct report {
    const struct plan *plan;
    const struct audit *audit;
    const struct verdict *verdict;
    const struct trace *const *traces; /* [audit->n_traces] */
    const enum source *sources;
    const struct arithmetic *arithmetic;         /* [audit->n_traces] what was inferred of each */
    const char *const *storage;                  /* [audit->n_traces] storage_dtype that was inferred, or NULL */
    const struct golden_weights *golden_weights; /* whose the golden's weights are */
    const struct diagnosis *diagnoses;           /* of the first divergence */
    uint32_t n_diagnoses;
    const char *const *notes; /* for the reader: other weights than the golden's, and the like */
    uint32_t n_notes;
    struct report_parts parts;
};

/* Prints the parts that are asked for, the coverage, and the verdict. Of a divergence it also prints where it starts,
 * which source is wrong, and which known bug explains it. */
void report_print(const struct report *report, FILE *out);

/* Writes the format "lockstep-report", version 1. path "-" is standard output. */
enum status report_write_json(const struct report *report, const char *path, struct error *err);

#endif
