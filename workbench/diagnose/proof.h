/* What solvers share: proving a candidate, on all rows or on those that a bug strikes, and saying so. */
#ifndef LOCKSTEP_WORKBENCH_DIAGNOSE_PROOF_H
#define LOCKSTEP_WORKBENCH_DIAGNOSE_PROOF_H

#include "workbench/diagnose/solver.h"

struct proof {
    double worst;     /* ratio of the rows that the bug strikes */
    bool spares_some; /* right rows of the other phase, or outside the failing positions, are left out */
};

/* Whether a candidate explains the error: of all rows, or else of all but those that the bug may have spared. */
bool proof_find(const struct solve *solve, const struct candidate *candidate, struct proof *proof);

/* The same of the step's own op with these roundings in place of those that are declared. */
bool proof_of_roundings(const struct solve *solve, const struct roundings *roundings, struct proof *proof);

/* The same of values that a solver computed itself: y [trial rows, width], and how far off they may be. */
bool proof_of_values(const struct solve *solve, const double *y, const double *error, struct proof *proof);

/* Writes a solver's text, and how the proof stands. */
void proof_tell(const struct solve *solve, const struct proof *proof, struct diagnosis *found, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* The step's own rows, to be edited: a copy in the trial's order, which the caller frees. */
struct op_row *proof_rows(const struct solve *solve);

/* Copies of an input that is edited: [trial rows, width]; rows[i].in[input] point to them. The caller frees them. */
float *proof_copy_input(const struct solve *solve, struct op_row *rows, unsigned input, uint32_t width);

/* Whether a failing row is one value throughout: nothing was written, and there is nothing to solve. */
bool proof_is_blank(const struct solve *solve);

#endif
