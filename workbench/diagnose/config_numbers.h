/* Wrong parameters: what value of one number of the config would make a failing step come out as recorded. A search
 * over one row gives it, a round number near it is taken, and all rows must agree. */
#ifndef LOCKSTEP_WORKBENCH_DIAGNOSE_CONFIG_NUMBERS_H
#define LOCKSTEP_WORKBENCH_DIAGNOSE_CONFIG_NUMBERS_H

#include "reference/reference.h"

/* A failing step, and two of its failing rows: of the lowest position and of the highest. Rows say what was recorded.
 */
struct parameters_case {
    const struct step *step;
    uint32_t weights_dtype;
    const struct op_row *lowest, *highest;
    /* Whether a step makes all rows as they were recorded, within their bounds. */
    bool (*holds)(void *context, const struct step *step);
    void *context;
};

struct parameters_found {
    char name[64];  /* "wrong-rope-theta" */
    char text[192]; /* "rope_theta is 10000 where MODEL has 50000" */
};

/* Tries every parameter of the step's op. false: none explains the rows. */
bool parameters_find(const struct parameters_case *failing, struct parameters_found *found);

#endif
