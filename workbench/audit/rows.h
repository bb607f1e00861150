/* The rows of one step of one trace that can be judged: every input is recorded or computed, and finite. */
#ifndef LOCKSTEP_WORKBENCH_AUDIT_ROWS_H
#define LOCKSTEP_WORKBENCH_AUDIT_ROWS_H

#include "workbench/audit/span.h"

struct rows {
    uint32_t n;
    struct op_row *rows;  /* [n], in order of position; malloc'ed */
    int32_t *origin;      /* [n] where each row's inputs begin: ORIGIN_, or a layer (span.h) */
    uint32_t n_inherited; /* rows that are not judged, for an input is not finite */
    uint32_t n_unaudited; /* rows that are not judged, for an input is not there */
    struct spans *own;    /* computed inputs, where the caller gave no spans */
};

/* Gathers the rows of a step. The rows point into the trace and into `spans`, where computed inputs are kept; both must
 * stay as long as the rows are used. spans NULL: the rows keep their own. */
void rows_gather(struct rows *rows, const struct plan *plan, uint32_t step, const struct trace *trace,
                 struct spans *spans);

/* Gathers the rows of a step at the positions in need, whether or not its output is recorded there: for a span.
 * inherited[p] is set where an input is not finite. */
void rows_gather_inputs(struct rows *rows, struct spans *spans, uint32_t step, const uint8_t *need, uint8_t *inherited);

void rows_free(struct rows *rows);

/* How many of n rows to compute at once: as many as have results and bounds in 128 MiB, but at least one. With a
 * vocabulary of 262,144 a row takes 4 MiB. */
uint32_t rows_at_once(uint32_t n, uint32_t width);

/* Whether an input of the row is computed, not recorded. */
bool row_is_span(const struct op_row *row);

/* Sets of_input[n_positions]: the positions of input i that a step needs for the rows in need. Attention needs keys and
 * values at every visible position; any other input is needed at the row's own. */
void rows_needed(const struct step *step, unsigned i, const uint8_t *need, uint32_t n_positions, uint8_t *of_input);

#endif
