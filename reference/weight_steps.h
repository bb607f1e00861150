/* How far the rounding to its format can have moved a weight: what is known of the unquantised model from the quantised
 * file alone. */
#ifndef LOCKSTEP_REFERENCE_WEIGHT_STEPS_H
#define LOCKSTEP_REFERENCE_WEIGHT_STEPS_H

#include "model/tensor.h"

struct weight_step {
    float step; /* the error is taken as uniform over +-step / 2, so that its variance is step^2 / 12; 0: exact (F32) */
    float most; /* the largest error */
    float outwards; /* mean of the error, away from 0: a value beyond the range was clipped */
};

/* Elements [first, first + count) of a row of a tensor, in any layout, as weights_decode has them. */
void weight_steps(const struct tensor *tensor, uint64_t row, uint64_t first, uint64_t count, struct weight_step *steps);

#endif
