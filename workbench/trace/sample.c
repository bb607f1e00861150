#include "workbench/trace/sample.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "model/error.h"

uint64_t sample_random(uint64_t *state)
{
    uint64_t z = *state += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

double sample_exp(double x)
{
    /* ln 2 in two parts, as in fdlibm's e_exp.c. The upper one has few enough bits that n times it is exact. */
    static const double ln2_upper = 6.93147180369123816490e-01, ln2_lower = 1.90821492927058770002e-10;
    if (x < -745.0) {
        return 0;
    }
    int n = (int)(x * 1.44269504088896338700 - 0.5); /* x / ln 2 to the nearest integer, as x <= 0 */
    double r = (x - n * ln2_upper) - n * ln2_lower;
    double sum = 1;
    for (int k = 14; k > 0; k--) { /* |r| < 0.35, so the 15th term is below 2^-63 */
        sum = 1 + r * sum / k;
    }
    return ldexp(sum, n);
}

void sampler_init(struct sampler *sampler, const struct sampling *sampling, uint32_t n_vocab, int32_t masked_id)
{
    *sampler =
        (struct sampler){.sampling = *sampling, .state = sampling->seed, .n_vocab = n_vocab, .masked_id = masked_id};
    sampler->candidates = xcalloc(n_vocab, sizeof(*sampler->candidates));
}

void sampler_free(struct sampler *sampler)
{
    free(sampler->candidates);
    sampler->candidates = NULL;
}

int32_t sample_greedy(const float *logits, uint32_t n_vocab, int32_t masked_id)
{
    int32_t best = -1;
    for (uint32_t i = 0; i < n_vocab; i++) {
        if ((int32_t)i != masked_id && !isnan(logits[i]) && (best < 0 || logits[i] > logits[best])) {
            best = (int32_t)i;
        }
    }
    return best < 0 ? 0 : best;
}

uint32_t argmax(const float *values, uint32_t n)
{
    return (uint32_t)sample_greedy(values, n, -1);
}

static int likelier_first(const void *left, const void *right)
{
    const struct sample_candidate *a = left, *b = right;
    return a->logit != b->logit ? (a->logit < b->logit) - (a->logit > b->logit) : (a->id > b->id) - (a->id < b->id);
}

/* Sorts the candidates, cuts them to top_k and sets their weights p = exp((l - l_0) / temperature). Returns how many
 * are left, and the sum of their weights in *total. */
static uint32_t weigh(struct sampler *sampler, const float *logits, double *total)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < sampler->n_vocab; i++) {
        if ((int32_t)i != sampler->masked_id && !isnan(logits[i])) {
            sampler->candidates[n++] = (struct sample_candidate){(int32_t)i, logits[i], 0};
        }
    }
    qsort(sampler->candidates, n, sizeof(*sampler->candidates), likelier_first);
    uint32_t top_k = sampler->sampling.top_k;
    n = top_k > 0 && top_k < n ? top_k : n;
    *total = 0;
    for (uint32_t i = 0; i < n; i++) {
        struct sample_candidate *candidate = &sampler->candidates[i];
        double above = (double)candidate->logit - (double)sampler->candidates[0].logit;
        candidate->p = sample_exp(above / (double)sampler->sampling.temperature);
        *total += candidate->p;
    }
    return n;
}

/* Cuts n candidates to the shortest head that holds top_p of *total. Returns the head's length; *total becomes its
 * sum. */
static uint32_t cut_top_p(const struct sampler *sampler, uint32_t n, double *total)
{
    double top_p = (double)sampler->sampling.top_p, sum = 0;
    if (top_p == 0 || top_p >= 1) {
        return n;
    }
    for (uint32_t i = 0; i < n; i++) {
        sum += sampler->candidates[i].p;
        if (sum >= top_p * *total) {
            n = i + 1;
        }
    }
    *total = sum;
    return n;
}

/* probs[n_vocab]: the softmax of all logits but the masked one's, at a temperature of 1. */
static void greedy_shares(const struct sampler *sampler, const float *logits, int32_t best, float *probs)
{
    double total = 0;
    for (int pass = 0; pass < 2; pass++) {
        for (uint32_t i = 0; i < sampler->n_vocab; i++) {
            bool kept = (int32_t)i != sampler->masked_id && !isnan(logits[i]);
            double weight = kept ? sample_exp((double)logits[i] - (double)logits[best]) : 0;
            if (pass == 0) {
                total += weight;
            } else {
                probs[i] = (float)(weight / total);
            }
        }
    }
}

/* probs[n_vocab]: the shares of the first n candidates, whose weights sum to total; 0 for all other ids. */
static void kept_shares(const struct sampler *sampler, uint32_t n, double total, float *probs)
{
    memset(probs, 0, sampler->n_vocab * sizeof(*probs));
    for (uint32_t i = 0; i < n; i++) {
        probs[sampler->candidates[i].id] = (float)(sampler->candidates[i].p / total);
    }
}

int32_t sampler_choose(struct sampler *sampler, const float *logits, float *probs)
{
    int32_t best = sample_greedy(logits, sampler->n_vocab, sampler->masked_id);
    if (sampler->sampling.temperature == 0) {
        if (probs != NULL) {
            greedy_shares(sampler, logits, best, probs);
        }
        return best;
    }
    /* Draw for every token, even if the row has no finite logit: later rows get the same random numbers either way. */
    double u = (double)(sample_random(&sampler->state) >> 11) * 0x1p-53;
    if (best == sampler->masked_id || !isfinite(logits[best])) {
        if (probs != NULL) {
            greedy_shares(sampler, logits, best, probs);
        }
        return best;
    }
    double total, sum = 0;
    uint32_t n = weigh(sampler, logits, &total);
    n = cut_top_p(sampler, n, &total);
    if (probs != NULL) {
        kept_shares(sampler, n, total, probs);
    }
    for (uint32_t i = 0; i < n; i++) {
        sum += sampler->candidates[i].p;
        if (sum > u * total) {
            return sampler->candidates[i].id;
        }
    }
    return sampler->candidates[n - 1].id; /* reached if u * total was rounded up to total */
}
