/* The choice of the next token from a row of logits.
 *
 *   kept      ids by descending logit, equal logits by ascending id; without the masked id and NaNs
 *   top_k     the first k of kept
 *   p_i       exp((l_i - l_0) / temperature) / (the sum of these), in double precision
 *   top_p     the shortest head of kept whose p sum to at least top_p; Holtzman et al. 2020, "The Curious Case of
 *             Neural Text Degeneration"
 *   choice    the first i with p_0 + … + p_i > u * (the sum of the p that are left); u is uniform in [0, 1), drawn once
 *             a token
 *
 * The same seed and logits choose the same tokens on every machine: u comes from SplitMix64 (Steele, Lea, Flood 2014,
 * "Fast Splittable Pseudorandom Number Generators"), and exp is computed by sums and products alone. */
#ifndef LOCKSTEP_WORKBENCH_TRACE_SAMPLE_H
#define LOCKSTEP_WORKBENCH_TRACE_SAMPLE_H

#include "model/sampling.h"

/* A token id that may be chosen. */
struct sample_candidate {
    int32_t id;
    float logit;
    double p; /* its weight, not yet divided by the sum */
};

struct sampler {
    struct sampling sampling;
    uint64_t state;                      /* SplitMix64's */
    uint32_t n_vocab;                    /* logits a row */
    int32_t masked_id;                   /* never chosen; -1: none */
    struct sample_candidate *candidates; /* [n_vocab]; owned */
};

/* Starts a sampler at sampling->seed; sampler_free releases it. A temperature of 0 is a greedy choice. */
void sampler_init(struct sampler *sampler, const struct sampling *sampling, uint32_t n_vocab, int32_t masked_id);
void sampler_free(struct sampler *sampler);

/* Chooses the next token from logits[n_vocab]. The choice is greedy if the largest logit is not finite. probs[n_vocab]
 * (or NULL) receives the probabilities that the token was drawn from, 0 for ids that were cut off. For a greedy choice
 * it receives the softmax at a temperature of 1, without the masked id. */
int32_t sampler_choose(struct sampler *sampler, const float *logits, float *probs);

/* Index of the largest logit, the lowest index among equals. NaNs and the masked id (-1: none) are left out; 0 if
 * nothing else is there. */
int32_t sample_greedy(const float *logits, uint32_t n_vocab, int32_t masked_id);

/* The same for any values[n], none masked. */
uint32_t argmax(const float *values, uint32_t n);

/* The next number of SplitMix64, which *state is stepped to. */
uint64_t sample_random(uint64_t *state);

/* e^x for x <= 0, within 2 units in the last place if the result is a normal number. It does not use libm, whose last
 * bit differs between machines. */
double sample_exp(double x);

#endif
