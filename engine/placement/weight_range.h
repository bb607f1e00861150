/* How large the weights of a tensor can be, read off the scales of its blocks. */
#ifndef LOCKSTEP_ENGINE_PLACEMENT_WEIGHT_RANGE_H
#define LOCKSTEP_ENGINE_PLACEMENT_WEIGHT_RANGE_H

#include "model/tensor.h"

/* The largest power of two by which every weight can be multiplied without passing 2^14, so that products of halves
 * stay in range. Any format; 1 for halves. */
float weight_range_scale(const struct tensor *tensor);

#endif
