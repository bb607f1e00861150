/* Quantises weights as ggml's reference quantisers do (K-quants without their search for scales), so that a test has an
 * unquantised model beside its quantised one. */
#ifndef LOCKSTEP_TESTS_SUPPORT_QUANTISE_H
#define LOCKSTEP_TESTS_SUPPORT_QUANTISE_H

#include "model/plan.h"

/* Quantises rows of whole blocks to F16, Q4_0, Q5_0, Q8_0, Q4_K or Q6_K. blocks: [n / block_elems] of the format. */
void quantise_values(uint32_t dtype, const float *values, uint64_t n, uint8_t *blocks);

/* A plan whose matrices are quantised, where they are not yet and their rows are whole blocks; the rest stays. */
struct quantised_plan {
    struct plan plan;
    uint32_t n_tensors;
    struct tensor *tensors; /* owned, with their bytes */
};
void quantised_plan_make(struct quantised_plan *quantised, const struct plan *plan, uint32_t dtype);
void quantised_plan_free(struct quantised_plan *quantised);

#endif
