/* The evidence of one matrix product (rounding_evidence.h): its outputs, by any number of inputs. */
#ifndef LOCKSTEP_WORKBENCH_AUDIT_ROUNDING_PRODUCT_H
#define LOCKSTEP_WORKBENCH_AUDIT_ROUNDING_PRODUCT_H

#include "reference/weight_steps.h"
#include "workbench/audit/weights/rounding_evidence.h"

/* One row of inputs of a product, and what the trace and the reference have of its outputs. */
struct rounding_input {
    const float *x;
    const float *actual;            /* [n_out] */
    const double *expected, *bound; /* [n_out] */
    uint32_t position, slot;        /* slot: of an expert */
};

/* A matrix with all inputs that it is multiplied with: MODEL's, or one expert's. */
struct rounding_product {
    const struct tensor *matrix, *bias;
    uint32_t weights_dtype; /* that the trace declares: MODEL's weights are rounded to it */
    uint64_t first_row;     /* of the matrix */
    uint64_t n_in, n_out;
    uint32_t bias_row;
    uint32_t n_inputs;
    struct rounding_input *inputs;
};

/* Adds the evidence of all outputs. */
void rounding_judge_product(const struct rounding_product *product, struct rounding_evidence *evidence);

/* One value: y is expected without the bias. */
struct rounding_value {
    double error, y, bound;
    double most;     /* the largest error */
    double variance; /* of the rounding, and the bound's square */
};

void rounding_add_value(struct rounding_evidence *sums, const struct rounding_value *value, uint32_t position,
                        uint32_t dim);

/* Adds sums of errors that are independent of the earlier ones. */
void rounding_add_sums(struct rounding_evidence *sums, const struct rounding_evidence *more);

/* A row of a matrix: its weights and their steps. Where the audit rounds MODEL's weights to a 16-bit type first, as the
 * golden's are (weights_dtype), that adds up to u |w|, uniformly. */
void rounding_load_weights(const struct tensor *matrix, uint32_t weights_dtype, uint64_t row, uint64_t n,
                           struct weight_step *steps, float *w);

#endif
