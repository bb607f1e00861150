/* The report of `diff` and `audit`, as text and as JSON. */
#ifndef LOCKSTEP_WORKBENCH_REPORT_REPORT_H
#define LOCKSTEP_WORKBENCH_REPORT_REPORT_H

#include <jansson.h>
#include <stdio.h>

#include "workbench/audit/arithmetic.h"
#include "workbench/audit/verdict.h"
#include "workbench/audit/weights/golden_weights.h"
#include "workbench/diagnose/diagnose.h"
#include "workbench/report/provenance.h"

/* What is printed after the answer. */
struct report_parts {
    bool table;     /* the worst ratio by stage and source */
    bool ledger;    /* the gain ledger */
    bool growth;    /* the largest values by layer (growth_table.h) */
    bool at_prompt; /* the answer says nothing of the run, or of options */
    bool all;       /* both, and every diagnosis, coverage, arithmetic, note, and the provenance, in full */
};

struct report {
    const struct plan *plan;
    const struct audit *audit;
    const struct verdict *verdict;
    const struct trace *const *traces; /* [audit->n_traces] */
    const enum source *sources;
    const struct arithmetic *arithmetic; /* [audit->n_traces] what was inferred of each */
    /* [audit->n_traces] what each declared; where a trace now has another arithmetic, that was inferred */
    const struct declaration *declared;
    const struct golden_weights *golden_weights; /* whose the golden's weights are */
    const struct diagnosis *diagnoses;           /* of the first divergence, then of further ones */
    uint32_t n_diagnoses;
    uint32_t n_unexplained; /* further introduced errors whose cause is not proven */
    const struct report_run *run;
    const char *const *notes; /* for the reader: other weights than the golden's, and the like */
    uint32_t n_notes;
    uint32_t n_without_place; /* arrays of imported dumps that were left out */
    uint32_t n_choices;       /* notes on next tokens that are not the golden's */
    struct report_parts parts;
};

/* Prints the answer (answer.h), or of parity at most five lines; then the parts that are asked for. */
void report_print(const struct report *report, FILE *out);

/* The format "lockstep-report", version 1. The caller releases it. */
json_t *report_json(const struct report *report);

#endif
