/* A matrix product over the rows of one matrix, as lower_matmul.c and prefill.c turn it into dispatches. */
#ifndef LOCKSTEP_ENGINE_LOWERING_MATMUL_H
#define LOCKSTEP_ENGINE_LOWERING_MATMUL_H

#include "engine/schedule/builder.h"

struct matmul {
    const char *lane_shader;   /* a lane computes a row of the matrix: "matmul", "matmul_glu" … */
    const char *reduce_shader; /* a workgroup computes it: "matmul_reduce" … */
    const struct tensor *matrix, *bias;
    int32_t input;              /* step */
    uint32_t output, variant;   /* step; VARIANT_ code */
    uint32_t last;              /* step: the last that it covers; the first is the builder's */
    const struct binding *more; /* [n_more] a fused product's bindings, behind those that every matmul has */
    uint32_t n_more;
    uint32_t matrices;   /* that a lane or workgroup reads a row of at a time: 1, or 2 for gate and up */
    uint64_t more_bytes; /* how far the second matrix reaches beyond the first; added to the matrix's binding */
    const void *params;  /* of the op or the fused op */
    uint32_t params_bytes;
};

#endif
