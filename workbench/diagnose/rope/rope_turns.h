/* By what angle a rope turned each pair: solved from its recorded input and output. A pair (a, b) of a head is the
 * complex number z = a + ib, and its output w = z m exp(i angle). All heads turn alike: the sum of conj(z) w over heads
 * gives m and the angle. */
#ifndef LOCKSTEP_WORKBENCH_DIAGNOSE_ROPE_TURNS_H
#define LOCKSTEP_WORKBENCH_DIAGNOSE_ROPE_TURNS_H

#include "workbench/diagnose/proof.h"

struct rope_turns {
    const struct solve *solve;
    const struct rope_params *p;
    uint32_t n, pairs;
    const struct op_row *rows; /* [n] failing rows */
    double *angle;             /* [n, pairs] within (-pi, pi] */
    double *scale;             /* [n, pairs] m */
    double *weight;            /* [n, pairs] sum of |z|^2 */
    double *frequencies;       /* [pairs] of the right rope */
};

void rope_turns_open(struct rope_turns *turns, const struct solve *solve);
void rope_turns_close(struct rope_turns *turns);

/* Whether all rows come out as recorded by a step and one trial for each failing row (or, of_all, trials[0] for every
 * row). */
bool rope_explains(const struct solve *solve, const struct step *step, const struct rope_trial *trials, bool of_all,
                   double *worst);

#endif
