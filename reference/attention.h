/* What attention and attention_probs share: the softmax over the visible keys of one row, with its errors.
 *
 * Shapes: q [heads dim]; k, v [position + 1, kv_heads dim], from position 0 on; y [heads dim]. Of the visible keys,
 * j = 0 is the first; n of them. Scores and probabilities are [heads][n]; recorded ones [heads][positions]. */
#ifndef LOCKSTEP_REFERENCE_ATTENTION_H
#define LOCKSTEP_REFERENCE_ATTENTION_H

#include "reference/op.h"

struct attention {
    const struct attention_params *p;
    const struct op_row *row;
    uint32_t variant;
    bool bounded;        /* error[] is wanted */
    bool spans;          /* an input was computed, not recorded, and is off by row->error */
    uint32_t first, n;   /* visible keys: positions [first, first + n) */
    double *q;           /* [heads dim], as recorded; NULL where it is not */
    double *probability; /* [heads][n]; scores before the softmax */
    double *error;       /* [heads][n] absolute, of scores; then relative, of probabilities */
    double *squares;     /* [dim] */
    bool normalised;     /* what the probabilities' errors have in common cancels */
    const float *sinks;  /* [heads], or NULL */
};

/* Sees which keys are visible, and takes memory for their probabilities. sinks [heads] or NULL: borrowed. */
struct attention attention_open(const struct op_batch *batch, const struct attention_params *p,
                                const struct op_row *row, const float *sinks);
void attention_close(struct attention *a);

/* The sinks, one score a head, or NULL where there are none. The caller frees them. */
float *attention_sinks(const struct op_batch *batch, const struct attention_params *p);

/* The key (input 1) or value (input 2) that a head of q reads at a position, [dim]; and how far it can be off, or NULL:
 * it is exact. */
const float *attention_head(const struct attention *a, unsigned input, uint32_t position, uint32_t head);
const double *attention_head_error(const struct attention *a, unsigned input, uint32_t position, uint32_t head);

/* What a head's output is off by besides the errors of its probabilities. */
struct head_error {
    double sink;    /* how far the sink's share can be off */
    double flushed; /* absolute: what became 0 in VARIANT_NO_MAXIMUM */
};

/* Fills probability and error: scores, then probabilities, of all heads. errors[heads]. */
void attention_probabilities(const struct attention *a, struct head_error *errors);

/* How far the stored probabilities of a head can be off, absolutely; bounds[n]. */
void attention_probability_bounds(const struct attention *a, uint32_t head, double sink_error, double *bounds);

#endif
