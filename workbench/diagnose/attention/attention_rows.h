/* One row of attention beside every key that its trace holds: what a solver weighs keys with. The sums over ranges of
 * keys are quick and not exact; op_run then proves what was found (attention_row_fits). */
#ifndef LOCKSTEP_WORKBENCH_DIAGNOSE_ATTENTION_ROWS_H
#define LOCKSTEP_WORKBENCH_DIAGNOSE_ATTENTION_ROWS_H

#include "workbench/diagnose/proof.h"

/* Keys [first, end) without those of the gap [gap, gap_end). */
struct key_range {
    uint32_t first, end, gap, gap_end;
};

struct attention_row {
    const struct attention_params *p;
    const struct op_row *row;
    struct key_range right; /* the keys that the right op sees */
    uint32_t first, end;    /* keys that the trace holds and that the run could have seen: positions [first, end) */
    double *largest;        /* [heads] largest score, the sink's included */
    double *scores;         /* [heads][end - first] */
    double *sinks;          /* [heads]; -INFINITY: none */
    double *weights;        /* [heads][end - first + 1] sums of exp(score - largest) of the keys before each */
    double *values;         /* [heads][end - first + 1][dim] likewise, times the value */
};

/* The attention's parameters of a step of attention or attention_probs. */
const struct attention_params *attention_params_of(const struct step *step);

/* Whether the sums of one row fit in memory. */
bool attention_row_is_small(const struct solve *solve);

/* weighted: fill weights and values, for a step of attention. Needs a row whose inputs are recorded. */
void attention_row_open(struct attention_row *a, const struct solve *solve, const struct op_row *row, bool weighted);
void attention_row_close(struct attention_row *a);

/* The sum of squared differences from what was recorded, if the row saw these keys; INFINITY where it is above
 * `limit`. */
double attention_row_miss(const struct attention_row *a, const struct key_range *keys, double limit);

/* Writes the keys of a range to keys[]. Returns how many. */
uint32_t key_range_list(const struct key_range *range, uint32_t *keys);

/* Whether a row comes out as it was recorded by a trial. */
bool attention_row_fits(const struct solve *solve, const struct op_row *row, const struct attention_trial *trial);

#endif
