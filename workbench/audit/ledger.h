/* The gain ledger splits each op's difference from the golden into what the op adds and what it inherits with its
 * inputs, and says how many times larger the op makes what it inherits. Differences are relative: rms / the golden's
 * rms of the stage. */
#ifndef LOCKSTEP_WORKBENCH_AUDIT_LEDGER_H
#define LOCKSTEP_WORKBENCH_AUDIT_LEDGER_H

#include <stdio.h>

#include "workbench/audit/verdict.h"

struct ledger {
    double introduced;    /* recorded - expected from the source's own inputs */
    double inherited;     /* expected from the source's own inputs - golden */
    double amplification; /* inherited / relative error of all inputs together */
};

/* The ledger of one step of one source. NaN: there is no golden, a stage is missing, or there is no error to amplify.
 */
struct ledger ledger_of(const struct audit *audit, uint32_t step, uint32_t trace);

struct ledger_table {
    const struct plan *plan;
    const struct audit *audit;
    const enum source *sources; /* [audit->n_traces] */
};

/* Prints the worst layer of each stage, of the first source. Prints nothing without a golden. */
void ledger_print(const struct ledger_table *table, FILE *out);

#endif
