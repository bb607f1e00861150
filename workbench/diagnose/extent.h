/* The extent of an error: which rows, heads and dims of a failing step fail. */
#ifndef LOCKSTEP_WORKBENCH_DIAGNOSE_EXTENT_H
#define LOCKSTEP_WORKBENCH_DIAGNOSE_EXTENT_H

#include "workbench/audit/audit.h"

#define EXTENT_MOST_HEADS 256

struct extent {
    /* Of the rows that were judged: "all", "prefill", "decode", "from 7", "all but position 0", or a list of positions.
     * "" if none fails. */
    char rows[48];
    /* The heads that fail, where others pass. n_heads 0: all fail, or the stage's rows are not made of heads. */
    uint32_t n_heads, heads[EXTENT_MOST_HEADS];
    /* Dims [first_dim, end_dim) hold every failing value. Both 0: they are no proper part of the row. */
    uint32_t first_dim, end_dim;
};

/* Finds the extent of a step's error in a trace. */
void extent_find(struct extent *extent, const struct plan *plan, uint32_t step, const struct trace *trace);

/* Rows of a step that were judged: the parts of extent_find, for tests. */
struct judged_rows {
    uint32_t n;
    const uint32_t *position; /* [n], ascending */
    const uint8_t *phase;     /* [n] PHASE_ */
    const uint8_t *failed;    /* [n] 0 or 1 */
};
void extent_rows(const struct judged_rows *rows, char text[48]);

/* Sets first_dim and end_dim, given which dims fail in any row. */
void extent_dims(struct extent *extent, const uint8_t *failed, uint32_t width);

#endif
