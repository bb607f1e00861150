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
    bool recorded;                       /* probabilities are the recorded ones */
    bool normalised;                     /* an error that all probabilities share cancels */
    const double *sinks;                 /* [heads], or NULL */
};

/* Finds the visible keys and allocates the arrays. sinks: [heads] or NULL, borrowed. */
struct attention attention_open(const struct op_batch *batch, const struct attention_params *p,
                                const struct op_row *row, const double *sinks);
void attention_close(struct attention *a);

/* Whether a batch is worth several threads. While an arithmetic is inferred, thousands of small ones are computed. */
bool attention_is_large(const struct op_batch *batch, const struct attention_params *p);

/* Returns the sinks, one score for each head; NULL: there are none. The caller frees them. */
double *attention_sinks(const struct op_batch *batch, const struct attention_params *p);

/* The position of visible key j. */
uint32_t attention_key(const struct attention *a, uint32_t j);

/* Returns the key (input 1) or value (input 2) [dim] that a head of q reads at a position. *error: how far it can be
 * off, [dim]; NULL: it is exact. */
const float *attention_head(const struct attention *a, unsigned input, uint32_t position, uint32_t head);
const double *attention_head_error(const struct attention *a, unsigned input, uint32_t position, uint32_t head);

/* Score of the key at a position: scaled, capped. *error: how far it can be off; only if a->bounded. */
double attention_score(const struct attention *a, uint32_t head, uint32_t position, double *error);

/* The normalisation of a head's probabilities, and errors of its output besides those of its probabilities. */
struct head_error {
    double share;   /* the sink's probability; 0: there is none, or it is not known */
    double sink;    /* how far that can be off */
    double flushed; /* absolute; values that became 0 in VARIANT_NO_MAXIMUM */
};

/* The arithmetic inside an attention. A trace whose stages are stored in 16 bits says nothing of scores and
 * probabilities, which are no stages: they are in float32, unless struct roundings says otherwise, and then they are
 * simulated. Of an attention whose inputs or output are not recorded (a span) nothing can be simulated or inferred: all
 * that it makes may be stored as stages are. */
struct arith attention_inside(const struct attention *a);

/* Fills probability and error of all heads: first with scores, then with probabilities. errors: [heads]. */
void attention_probabilities(const struct attention *a, struct head_error *errors);

/* Absolute bounds of a head's stored probabilities; bounds: [n]. */
void attention_probability_bounds(const struct attention *a, uint32_t head, double sink_error, double *bounds);

/* Adds to bounds[n] what the store of recorded probabilities [n] as a stage rounds beyond the store inside. */
void attention_add_store(const struct attention *a, const double *probability, double *bounds);

#endif
