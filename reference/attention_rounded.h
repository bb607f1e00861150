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

/* A number that is known up to *error, rounded; *error becomes how far the rounded one can be off. That is 0 unless the
 * number lies so close to the middle of two neighbours that it may become either. */
double round_known(enum rounding_type type, double y, double *error);

/* One head's output where probabilities or the accumulator are rounded: y[dim], bound[dim] (NULL: not wanted). */
void attention_rounded_values(const struct attention *a, uint32_t head, const struct head_error *of, double *y,
                              double *bound);

/* How far one head's probabilities can be off that are rounded, in place: probability[n], bounds[n] (NULL: not wanted).
 */
void attention_rounded_probabilities(const struct attention *a, uint32_t head, const struct head_error *of,
                                     double *bounds);

#endif
