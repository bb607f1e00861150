/* The choice of the next token from a row of logits.
 *
 *   kept      ids in descending order of logit, lower ids first among equals; without the masked id and NaNs
 *   top_k     the first k of kept
 *   p_i       exp((l_i - l_0) / temperature) / sum of them, in double precision
 *   top_p     the shortest head of kept whose p sums to at least top_p; Holtzman et al. 2020, "The Curious Case of
 *             Neural Text Degeneration"
 *   choice    the first i with p_0 + … + p_i > u * (sum of the p that are left), u uniform in [0, 1), one a token
 *
 * u comes from SplitMix64 (Steele, Lea, Flood 2014, "Fast Splittable Pseudorandom Number Generators"), and exp from
 * sums and products alone, so that one seed and the same logits choose the same tokens on every machine. */
#ifndef LOCKSTEP_WORKBENCH_TRACE_SAMPLE_H
#define LOCKSTEP_WORKBENCH_TRACE_SAMPLE_H

#include "model/sampling.h"

struct sample_candidate {
    int32_t id;
    float logit;
    double p;
};

struct sampler {
    struct sampling sampling;
    uint64_t state;                      /* of SplitMix64 */
    uint32_t n_vocab;                    /* logits a row */
    int32_t masked_id;                   /* never chosen; -1: none */
    struct sample_candidate *candidates; /* [n_vocab] */
};

void sampler_init(struct sampler *sampler, const struct sampling *sampling, uint32_t n_vocab, int32_t masked_id);
void sampler_free(struct sampler *sampler);

/* The next token after logits[n_vocab]. A row without a finite largest logit is chosen from greedily. probs[n_vocab],
 * if not NULL, receives what the token was drawn from: p of what is kept, 0 of all else; a greedy choice keeps all but
 * the masked id, at a temperature of 1. */
int32_t sampler_choose(struct sampler *sampler, const float *logits, float *probs);

/* Index of the largest logit, the lowest among equals. Neither NaN nor the masked id wins; 0 if there is nothing else.
 */
int32_t sample_greedy(const float *logits, uint32_t n_vocab, int32_t masked_id);

/* The same of any values, none masked. */
uint32_t argmax(const float *values, uint32_t n);

/* Next of SplitMix64. */
uint64_t sample_random(uint64_t *state);

/* e^x for x <= 0, within 2 units in the last place where the result is a normal number; without libm, whose last bit
 * differs between machines. */
double sample_exp(double x);

#endif
