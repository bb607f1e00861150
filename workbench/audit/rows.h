/* The rows of one step of one trace that can be judged: all inputs are there, recorded or computed, and finite. */
#ifndef LOCKSTEP_WORKBENCH_AUDIT_ROWS_H
#define LOCKSTEP_WORKBENCH_AUDIT_ROWS_H

#include "workbench/audit/span.h"

struct rows {
    uint32_t n;
    struct op_row *rows; /* [n], in order of position; malloc'ed */
    int32_t *origin;     /* [n] where each row's inputs begin: ORIGIN_ */
    uint32_t n_inherited, n_unaudited;
    struct spans *own; /* where the caller brought none and some were needed */
};

/* spans: where computed inputs are kept, and stay as long as the rows are used; NULL: in the rows themselves. */
void rows_gather(struct rows *rows, const struct plan *plan, uint32_t step, const struct trace *trace,
                 struct spans *spans);

/* For spans: the rows of a step at the positions in need, whether or not its output is recorded. inherited[p] is set
 * where an input is not finite. */
void rows_gather_inputs(struct rows *rows, struct spans *spans, uint32_t step, const uint8_t *need, uint8_t *inherited);

void rows_free(struct rows *rows);

/* Of n rows, how many are computed at once: results and bounds of so many, at least one, take no more than 128 MiB. A
 * vocabulary of 262,144 makes 4 MiB a row. */
uint32_t rows_at_once(uint32_t n, uint32_t width);

/* Whether a row was computed from inputs that were not recorded. */
bool row_is_span(const struct op_row *row);

/* Which positions of input i a step needs for those of its own in need: attention's keys and values those of every
 * visible position, all else the own. */
void rows_needed(const struct step *step, unsigned i, const uint8_t *need, uint32_t n_positions, uint8_t *of_input);

#endif
