/* Shared by attention and attention_probs: the softmax over the visible keys of one row, with its errors.
 *
 * Shapes: q [heads dim]; k, v [position + 1, kv_heads dim], from position 0 on; y [heads dim]. n keys are visible, and
 * j = 0 is the first of them. Scores and probabilities are [heads][n]; recorded probabilities are [heads][positions].
 */
#ifndef LOCKSTEP_REFERENCE_ATTENTION_H
#define LOCKSTEP_REFERENCE_ATTENTION_H

#include "reference/op.h"

struct attention {
    const struct attention_params *p;
    const struct op_row *row;
    uint32_t variant;
    bool bounded;                        /* fill error[] */
    bool spans;                          /* an input was computed instead of recorded; it is off by up to row->error */
    uint32_t first, n;                   /* visible keys: positions [first, first + n) */
    const struct attention_trial *trial; /* NULL: the right attention */
    double *q;                           /* [heads dim] as recorded; NULL: not recorded */
    double *probability;                 /* [heads][n]; holds the scores until the softmax */
    double *error;                       /* [heads][n] absolute, of scores; then relative, of probabilities */
    double *squares;                     /* [dim] */
    bool normalised;                     /* an error that all probabilities share cancels */
    const double *sinks;                 /* [heads], or NULL */
};

/* Finds the visible keys and allocates the arrays. sinks: [heads] or NULL, borrowed. */
struct attention attention_open(const struct op_batch *batch, const struct attention_params *p,
                                const struct op_row *row, const double *sinks);
void attention_close(struct attention *a);

/* Returns the sinks, one score for each head; NULL: there are none. The caller frees them. */
double *attention_sinks(const struct op_batch *batch, const struct attention_params *p);

/* The position of visible key j. */
uint32_t attention_key(const struct attention *a, uint32_t j);

/* Returns the key (input 1) or value (input 2) [dim] that a head of q reads at a position. *error: how far it can be
 * off, [dim]; NULL: it is exact. */
const float *attention_head(const struct attention *a, unsigned input, uint32_t position, uint32_t head);
const double *attention_head_error(const struct attention *a, unsigned input, uint32_t position, uint32_t head);

/* Errors of a head's output besides those of its probabilities. */
struct head_error {
    double sink;    /* of the sink's share */
    double flushed; /* absolute; values that became 0 in VARIANT_NO_MAXIMUM */
};

/* Fills probability and error of all heads: first with scores, then with probabilities. errors: [heads]. */
void attention_probabilities(const struct attention *a, struct head_error *errors);

/* Absolute bounds of a head's stored probabilities; bounds: [n]. */
void attention_probability_bounds(const struct attention *a, uint32_t head, double sink_error, double *bounds);

#endif
