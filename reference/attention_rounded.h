/* Attention in an engine that rounds queries, keys, values, probabilities or its accumulator (reference/roundings.h).
 */
#ifndef LOCKSTEP_REFERENCE_ATTENTION_ROUNDED_H
#define LOCKSTEP_REFERENCE_ATTENTION_ROUNDED_H

#include "reference/attention.h"

/* Rows of a batch with rounded queries, keys and values, in memory of their own. */
struct rounded_rows {
    struct op_row *rows; /* [n_rows] */
    uint32_t n_copies;
    void **copies; /* what the rows point to */
};
void rounded_rows_open(struct rounded_rows *rounded, const struct op_batch *batch, const struct attention_params *p);
void rounded_rows_close(struct rounded_rows *rounded);

/* One head's output where probabilities or the accumulator are rounded: y[dim], bound[dim] (NULL: not wanted). Values
 * that rounding may bring to either of two neighbours, for they lie close to the middle of them, count by their
 * distance; all others are rounded exactly. */
void attention_rounded_values(const struct attention *a, uint32_t head, double sink_error, double *y, double *bound);

#endif
