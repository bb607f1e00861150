/* The gain ledger: of what separates a source from the golden at a stage, how much the op introduced itself, how much
 * came in with its inputs, and by how much the op made that grow. Each is a relative rms: over the golden's rms of the
 * stage. */
#ifndef LOCKSTEP_WORKBENCH_AUDIT_LEDGER_H
#define LOCKSTEP_WORKBENCH_AUDIT_LEDGER_H

#include <stdio.h>

#include "workbench/audit/verdict.h"

struct ledger {
    double introduced;    /* recorded minus exact from the source's own inputs */
    double inherited;     /* exact from the source's own inputs minus the golden's */
    double amplification; /* inherited, over the relative error of all inputs taken together */
};

/* Of one step of one source. NaN where it cannot be said: no golden, a stage that one of them lacks, no error to grow.
 */
struct ledger ledger_of(const struct audit *audit, uint32_t step, uint32_t trace);

/* The worst of each stage, of the first source that is not the golden; nothing without a golden. */
struct ledger_table {
    const struct plan *plan;
    const struct audit *audit;
    const enum source *sources; /* [audit->n_traces] */
};
void ledger_print(const struct ledger_table *table, FILE *out);

#endif
