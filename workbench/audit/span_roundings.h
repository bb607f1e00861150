/* Inside arithmetic_spans.c: the choice of a supposition by how near it comes to the recorded values. */
#ifndef LOCKSTEP_WORKBENCH_AUDIT_SPAN_ROUNDINGS_H
#define LOCKSTEP_WORKBENCH_AUDIT_SPAN_ROUNDINGS_H

#include "workbench/audit/arithmetic.h"
#include "workbench/audit/supposition.h"

#define SPAN_SAMPLES 3          /* spans that roundings are chosen by */
#define SPAN_SAMPLES_ROUNDED 12 /* likewise, of values that were rounded for the file: each tells less */

/* Spans of one trace whose arithmetic is unknown, and the phase that is looked at. */
struct search {
    const struct plan *plan;
    struct trace *trace;
    unsigned phase;
    uint32_t n;
    uint32_t *steps;  /* [n] */
    struct fit *fits; /* [n] in the arithmetic known so far */
    uint8_t *known;   /* [n_steps] the step's class rounds as the recorded steps of it do, in this phase */
    uint32_t n_samples, samples[SPAN_SAMPLES_ROUNDED]; /* steps: failing spans that roundings are chosen by */
};

struct fit span_fit(const struct search *search, uint32_t step, const struct trace *trace);

/* Of rows: cosines between their errors and what a supposition adds. Of spans that failed: the logarithm of the share
 * of the error before that is left. */
struct nearness {
    double sum, squares, log_left;
};

/* Adds the rows of one span. */
void span_add_nearness(struct nearness *nearness, const struct search *search, uint32_t step,
                       const struct trace *supposed);

/* Whether what the last step of a span recorded was rounded for the file alone. */
bool span_is_rounded(const struct search *search, uint32_t step);

/* Whether a span fails by so little that roundings may be the reason. */
bool span_may_be_rounded(const struct fit *fit);

/* span_samples.c: finds the samples: the first failing spans that err by no more than roundings can. None, where so
 * many err by more that no supposition can hold. */
void span_samples_find(struct search *search);

/* The trace cut to its first positions, in a copy. */
void span_sample_open(const struct search *search, struct trace *sample);

/* The last positions of a sample's phase, of which a span's rows are judged. Returns their number. */
uint32_t span_sample_rows(const struct search *search, const struct trace *sample, uint32_t *first);

/* Whether a span that is missed passes over no op of one that was missed before: one wrong op makes both fail. Marks
 * its ops in missed[n_steps]. */
bool span_is_missed_anew(const struct search *search, uint32_t step, uint8_t *missed);

/* Sets a supposition in a trace: for the classes that are not known, and for spans that end in one of their steps. */
void span_suppose(const struct search *search, struct trace *trace, const struct supposition *supposition);

/* The supposition that comes nearest to the recorded values of a sample, found in one of several ways: an error that
 * one rounding leaves may hide what another one explains. attempt: from 0 on. Returns false where there is no such way.
 */
bool span_choose(const struct search *search, unsigned attempt, struct supposition *best);

#endif
