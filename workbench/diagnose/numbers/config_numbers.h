/* Wrong numbers in the config: the value of one number with which a failing step comes out as recorded. It is searched
 * for on one failing row, a round number near it is taken, and all rows must agree with that. */
#ifndef LOCKSTEP_WORKBENCH_DIAGNOSE_CONFIG_NUMBERS_H
#define LOCKSTEP_WORKBENCH_DIAGNOSE_CONFIG_NUMBERS_H

#include "model/plan.h"
#include "workbench/diagnose/diagnose.h"

/* A failing step whose number is searched for, or one of the steps of a span that have it. */
struct config_search {
    const struct step *step;
    uint32_t lowest, highest; /* positions of failing rows */
    bool in_span;       /* its own output is not recorded; rows cost more to compute, and fewer values are tried */
    const char *known;  /* the one number that is tried, by its name; NULL: all of them */
    double known_value; /* and its value, as the config holds it */
    /* The sum of squared differences between what a step makes of the lowest or the highest row and what was recorded
     * of it. */
    double (*distance)(void *context, const struct step *step, bool highest);
    /* Whether a step gives all rows as recorded, within their bounds. */
    bool (*reproduces)(void *context, const struct step *step);
    void *context;
};

struct config_number {
    char name[64];  /* "wrong-rope-theta" */
    char text[256]; /* "rope_theta is 10000 where MODEL has 50000" */
    struct solved solved;
};

/* Begins the diagnosis of a number, but for its text. */
void config_number_name(const struct config_number *number, uint32_t step, struct diagnosis *found);

/* Says in what number a wrong step differs from the right one. */
void config_number_tell(const struct step *right, const struct step *wrong, struct config_number *found);

/* number_pairs.c: two numbers of rope that are both wrong. */
bool config_pair_find(const struct config_search *search, struct config_number *found);

/* Tries every number of the config that the step's op uses, then two of them. false: none explains the rows. */
bool config_number_find(const struct config_search *search, struct config_number *found);

#endif
