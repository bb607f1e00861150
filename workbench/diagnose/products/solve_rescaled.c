/* Weights whose blocks have their scales and minimums multiplied by one factor and stored in f16 again. The output is
 * nearly a multiple of the right one, but not within the bounds of rounding: each scale was rounded. The matrix is
 * edited in its own format, so that products of blocks stay products of blocks. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/arena.h"
#include "reference/bits.h"
#include "workbench/diagnose/products/block_variants.h"
#include "workbench/diagnose/proof.h"

/* Whether all that a block adds is a multiple of f16 numbers. Biases are no part of the weights. */
static bool has_half_scales(const struct step *step)
{
    const struct tensor *matrix = step->weight[0];
    bool product = step->op == OP_matmul || step->op == OP_expert_matmul || step->op == OP_embed;
    return product && matrix && matrix->layout == LAYOUT_ROWS && dtype_info(matrix->dtype)->scale == SCALE_HALF &&
           !(step->weight[1] && step->op != OP_embed);
}

/* The factor that the recorded values are of the expected ones, by least squares. 0: it explains too little of the
 * error, which is then of another kind. */
static double find_factor(const struct evidence *evidence)
{
    double square = 0, product = 0, miss = 0, left = 0, factor = 0;
    for (int pass = 0; pass < 2; pass++) {
        for (uint32_t i = 0; i < evidence->n; i++) {
            const float *actual = evidence_actual(evidence, i);
            const double *expected = evidence_expected(evidence, i);
            for (uint32_t d = 0; d < evidence->stage->width; d++) {
                double off = actual[d] - factor * expected[d], error = actual[d] - expected[d];
                square += pass == 0 ? expected[d] * expected[d] : 0;
                product += pass == 0 ? expected[d] * actual[d] : 0;
                miss += pass == 0 ? error * error : 0;
                left += pass == 1 ? off * off : 0;
            }
        }
        factor = product / square;
    }
    return left < miss / 16 ? factor : 0; /* false for NaN */
}

static void multiply_half(uint8_t *bytes, float factor)
{
    uint16_t half = half_of(factor * float_from_half((uint16_t)(bytes[0] | bytes[1] << 8)));
    bytes[0] = (uint8_t)half;
    bytes[1] = (uint8_t)(half >> 8);
}

struct tensor *weights_rescaled(struct arena *arena, const struct tensor *matrix, float factor)
{
    const struct dtype_info *info = dtype_info(matrix->dtype);
    struct tensor *copy = arena_alloc(arena, sizeof(*copy));
    uint8_t *bytes = arena_alloc(arena, matrix->n_bytes);
    tensor_copy(matrix, 0, matrix->n_bytes, bytes);
    for (uint64_t at = 0; at < matrix->n_bytes; at += info->block_bytes) {
        multiply_half(bytes + at + info->d_at, factor);
        if (info->m_times != 0) {
            multiply_half(bytes + at + info->m_at, factor);
        }
    }
    *copy = *matrix;
    copy->bytes = bytes;
    copy->scales = NULL;
    return copy;
}

static bool prove(const struct solve *solve, double factor, struct proof *proof)
{
    struct arena arena = {0};
    struct step step = *solve->evidence->step;
    step.weight[0] = weights_rescaled(&arena, step.weight[0], (float)factor);
    struct candidate candidate = trial_candidate(solve->trial, &step);
    bool explains = proof_find(solve, &candidate, proof);
    arena_free(&arena);
    return explains;
}

bool solve_rescaled(const struct solve *solve, struct diagnosis *found)
{
    const struct step *step = solve->evidence->step;
    double near = has_half_scales(step) && !proof_is_blank(solve) ? find_factor(solve->evidence) : 0;
    /* Numbers of few digits; an f16; a power of two rounds nothing, and is a relation. */
    double factors[] = {round(near * 10) / 10, round(near * 100) / 100, round(near * 1000) / 1000,
                        round_to_dtype((float)near, DTYPE_F16)};
    for (size_t i = 0; i < sizeof(factors) / sizeof(*factors); i++) {
        int exponent;
        struct proof proof;
        /* `near` is off by what rounding the scales does on average: far less than one rounding of f16. */
        if (near == 0 || fabs(factors[i] - near) > 0x1p-12 * fabs(near) || frexp(fabs(factors[i]), &exponent) == 0.5 ||
            !prove(solve, factors[i], &proof)) {
            continue;
        }
        found->solved = solved_number("factor of the weights", 1, factors[i]);
        proof_tell(solve, &proof, found,
                   "All weights of %.80s (%s) are %.6g times what they should be: the scales of its blocks are "
                   "multiplied and stored in f16 again.",
                   step->weight[0]->name, dtype_info(step->weight[0]->dtype)->name, factors[i]);
        return true;
    }
    return false;
}
