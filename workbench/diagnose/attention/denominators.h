/* What the softmax's denominators of failing rows hold besides the visible keys. */
#ifndef LOCKSTEP_WORKBENCH_DIAGNOSE_DENOMINATORS_H
#define LOCKSTEP_WORKBENCH_DIAGNOSE_DENOMINATORS_H

#include "workbench/diagnose/attention/attention_rows.h"

/* What one row's denominators hold. All sums are divided by exp(largest). */
struct denominator {
    uint32_t position;
    double *largest; /* [heads] largest score of the visible keys and the sink */
    double *own;     /* [heads] largest score of the visible keys alone */
    double *sink;    /* [heads] exponential of the right sink; 0: none */
    double *extra;   /* [heads] X */
    double *known;   /* [heads] how clearly: X's share of the denominator, at most 1 */
};

struct denominators {
    const struct solve *solve;
    uint32_t n, heads;
    bool has_sinks;
    struct denominator *rows; /* [n] */
    double *sinks;            /* [n, heads] the score of X that a rule gives: what is proven */
};

/* Whether all rows come out as recorded with d->sinks. */
bool denominators_prove(const struct denominators *d, double *worst);

/* The score of what a denominator holds. Where nothing is left of the values, any large one will do. */
double denominator_score(const struct denominator *row, uint32_t head, double extra);

/* other_sinks.c: sinks that explain the rows: another multiple of the right ones, another layer's, rounded ones, or the
 * right ones in another order. */
bool sinks_find(struct denominators *d, struct diagnosis *found);

#endif
