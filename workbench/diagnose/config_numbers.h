/* Wrong numbers in the config: the value of one number with which a failing step comes out as recorded. It is searched
 * for on one failing row, a round number near it is taken, and all rows must agree with that. */
#ifndef LOCKSTEP_WORKBENCH_DIAGNOSE_CONFIG_NUMBERS_H
#define LOCKSTEP_WORKBENCH_DIAGNOSE_CONFIG_NUMBERS_H

#include "reference/reference.h"
#include "workbench/diagnose/diagnose.h"

/* A failing step and two of its failing rows, which carry what was recorded. */
struct config_search {
    const struct step *step;
    uint32_t weights_dtype;
    const struct op_row *lowest, *highest; /* by position */
    /* Whether a step gives all rows as recorded, within their bounds. */
    bool (*reproduces)(void *context, const struct step *step);
    void *context;
};

struct config_number {
    char name[64];  /* "wrong-rope-theta" */
    char text[192]; /* "rope_theta is 10000 where MODEL has 50000" */
    struct solved solved;
};

/* Tries every number of the config that the step's op uses. false: none explains the rows. */
bool config_number_find(const struct config_search *search, struct config_number *found);

#endif
