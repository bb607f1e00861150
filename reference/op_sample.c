/* sample_probs: what a token is drawn from; sample_token: the token. From a row of logits l [n], by the sampling that
 * the trace declares:
 *
 *   kept   all but the masked id, in descending order of l; of these the first top_k, and of these the shortest head
 *          whose weights sum to top_p of all of them (Holtzman et al. 2020)
 *   p      exp((l - l_0) / temperature) / their sum, for what is kept; 0 elsewhere
 *   token  greedy: an id with the largest l, and p is that of all ids at temperature 1; sampled: one that is kept */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/stop.h"
#include "reference/bounds.h"
#include "reference/op.h"

struct candidate {
    uint32_t id;
    bool recorded; /* recorded with a share other than 0 */
    double logit, weight;
    double passed; /* error of the logit, where it was computed */
    double error;  /* relative error of the weight */
};

static const struct sampling *sampling_of(const struct op_row *row)
{
    static const struct sampling greedy = {0};
    return row->sampling && row->sampling->temperature > 0 ? row->sampling : &greedy;
}

/* A candidate's logit at its most favourable: as large as it can be if recorded, as small as it can be if not. Decides
 * what top-k and top-p may cut. */
static double favoured(const struct candidate *c)
{
    return c->logit + (c->recorded ? c->passed : -c->passed);
}

/* Among equals, recorded candidates come first: any choice among equals is right. */
static int likelier_first(const void *left, const void *right)
{
    const struct candidate *a = left, *b = right;
    if (favoured(a) != favoured(b)) {
        return favoured(a) < favoured(b) ? 1 : -1;
    }
    if (a->recorded != b->recorded) {
        return a->recorded ? -1 : 1;
    }
    return (a->id > b->id) - (a->id < b->id);
}

/* Error of exp((l - l_0) / t). l / t may be stored before the largest is subtracted, with 1 / t rounded as well; the
 * difference d is rounded, and stored where less than f32 is; exp is off by (2 + d) u. passed: errors of l and l_0. */
static double weight_error(const struct arith *arith, double logit, double largest, double temperature, double passed)
{
    double below = (largest - logit) / temperature;
    double u = fmax(arith->u_storage, arith->u_sum);
    double scaled = passed / temperature + (temperature == 1 ? 0 : 2 * u * (fabs(logit) + fabs(largest)) / temperature);
    double stored = arith->u_storage > arith->u_sum ? 2 * arith->u_storage * below : 0;
    return expm1(fmin(scaled, 500)) + arith->u_sum * (6 + 4 * below) + stored;
}

/* Fills the candidates with their weights. Returns how many there are. */
static uint32_t weigh(const struct op_batch *batch, const struct op_row *row, struct candidate *candidates)
{
    const struct sample_probs_params *p = &batch->step->params.sample_probs;
    const struct sampling *sampling = sampling_of(row);
    double temperature = sampling->temperature > 0 ? (double)sampling->temperature : 1, largest = -INFINITY, most = 0;
    uint32_t n = 0;
    for (uint32_t i = 0; i < p->n; i++) {
        if ((int64_t)i == p->masked_id || isnan(row->in[0][i])) {
            continue;
        }
        bool recorded = row->recorded && row->recorded[i] != 0;
        double passed = row->error[0] ? row->error[0][i] : 0;
        candidates[n++] = (struct candidate){.id = i, .recorded = recorded, .logit = row->in[0][i], .passed = passed};
        most = row->in[0][i] > largest ? passed : most;
        largest = fmax(largest, row->in[0][i]);
    }
    for (uint32_t i = 0; i < n; i++) {
        struct candidate *c = &candidates[i];
        c->weight = exp((c->logit - largest) / temperature);
        c->error = row->arith ? weight_error(row->arith, c->logit, largest, temperature, c->passed + most) : 0;
    }
    return n;
}

/* Top-p keeps the shortest head whose sum reaches it. Rounding of sums moves the cut. Of the possible cuts, takes the
 * one that keeps as many as were recorded, or the last. */
static uint32_t cut_top_p(const struct op_row *row, const struct candidate *candidates, uint32_t n, double top_p)
{
    double total = 0, error = 0, sum = 0;
    uint32_t n_recorded = 0, shortest = 0;
    for (uint32_t i = 0; i < n; i++) {
        total += candidates[i].weight;
        error += candidates[i].weight * candidates[i].error;
        n_recorded += candidates[i].recorded;
    }
    double u_sum = row->arith ? row->arith->u_sum : 0;
    double slack = 2 * error / total + u_sum * (BOUND_LAMBDA * sqrt(n) / 3 + 4);
    for (uint32_t i = 0; i < n; i++) {
        sum += candidates[i].weight;
        if (shortest == 0 && sum >= top_p * total * (1 - slack)) {
            shortest = i + 1;
        }
        bool enough = shortest > 0 && row->recorded && i + 1 >= n_recorded;
        if (enough || sum >= top_p * total * (1 + slack)) {
            return i + 1;
        }
    }
    return n;
}

/* Returns how many candidates are kept. Sorts them where the order matters. */
static uint32_t keep(const struct op_row *row, struct candidate *candidates, uint32_t n)
{
    const struct sampling *sampling = sampling_of(row);
    bool top_p = sampling->top_p > 0 && sampling->top_p<1, top_k = sampling->top_k> 0 && sampling->top_k < n;
    if (!top_p && !top_k) {
        return n;
    }
    qsort(candidates, n, sizeof(*candidates), likelier_first);
    n = top_k ? sampling->top_k : n;
    return top_p ? cut_top_p(row, candidates, n, (double)sampling->top_p) : n;
}

/* Bound of p = w / sum of w: w's own error; what the sum adds (the mean of all errors; its rounding, of n positive
 * terms); the division; the stores of exp, of the sum and of p. */
static void share(const struct op_row *row, const struct candidate *candidates, uint32_t n, double *y, double *bound)
{
    double total = 0, error = 0;
    for (uint32_t i = 0; i < n; i++) {
        total += candidates[i].weight;
        error += candidates[i].weight * candidates[i].error;
    }
    for (uint32_t i = 0; i < n; i++) {
        const struct candidate *c = &candidates[i];
        y[c->id] = c->weight / total;
        if (!bound) {
            continue;
        }
        double common = error / total + row->arith->u_sum * (BOUND_LAMBDA * sqrt(n) / 3 + 4);
        double both = row->error[0] ? c->error * common : 0;
        bound[c->id] = y[c->id] * (c->error + common + both + 3 * row->arith->u_storage) + row->arith->eta;
    }
}

void reference_sample_probs(const struct op_batch *batch)
{
    uint32_t width = batch->step->params.sample_probs.n;
#pragma omp parallel for schedule(dynamic)
    for (uint32_t r = 0; r < batch->n_rows; r++) {
        if (stop_asked()) {
            continue;
        }
        const struct op_row *row = &batch->rows[r];
        double *y = batch->y + (uint64_t)r * width, *bound = batch->bound ? batch->bound + (uint64_t)r * width : NULL;
        struct candidate *candidates = xcalloc(width, sizeof(*candidates));
        memset(y, 0, width * sizeof(*y));
        if (bound) {
            memset(bound, 0, width * sizeof(*bound));
        }
        uint32_t n = weigh(batch, row, candidates), n_kept = keep(row, candidates, n);
        share(row, candidates, n_kept, y, bound);
        /* If nothing was recorded, each of several equals may have been kept. */
        for (uint32_t i = n_kept; bound && !row->recorded && i < n && candidates[i].logit == candidates[i - 1].logit;
             i++) {
            bound[candidates[i].id] = y[candidates[i - 1].id];
        }
        free(candidates);
    }
}

/* The recorded id; -1: it is no id. */
static int64_t recorded_id(const struct op_row *row, uint32_t n)
{
    if (!row->recorded || !(row->recorded[0] >= 0 && row->recorded[0] < n)) {
        return -1;
    }
    return row->recorded[0] == floorf(row->recorded[0]) ? (int64_t)row->recorded[0] : -1;
}

/* Index of the largest value except masked_id; the lowest index among equals. */
static uint32_t largest_of(const float *values, uint32_t n, int32_t masked_id)
{
    int64_t best = -1;
    for (uint32_t i = 0; i < n; i++) {
        if ((int64_t)i != masked_id && !isnan(values[i]) && (best < 0 || values[i] > values[best])) {
            best = i;
        }
    }
    return best < 0 ? 0 : (uint32_t)best;
}

/* Whether the id's logit can be the largest within its error. */
static bool can_be_largest(const struct op_row *row, int64_t id, uint32_t best)
{
    double slack = row->error[0] ? row->error[0][id] + row->error[0][best] : 0;
    return row->in[0][id] >= row->in[0][best] - slack;
}

/* The token is exact: the bound is 0. */
void reference_sample_token(const struct op_batch *batch)
{
    const struct sample_token_params *p = &batch->step->params.sample_token;
    for (uint32_t r = 0; r < batch->n_rows; r++) {
        const struct op_row *row = &batch->rows[r];
        uint32_t best = largest_of(row->in[0], p->n, p->masked_id);
        int64_t id = recorded_id(row, p->n);
        bool right = id >= 0 && id != p->masked_id;
        if (right && sampling_of(row)->temperature > 0) {
            right = row->in[1][id] > 0 || (row->error[1] && row->error[1][id] > 0);
        } else if (right) {
            right = can_be_largest(row, id, best);
        }
        batch->y[r] = right ? (double)id : best;
        if (batch->bound) {
            batch->bound[r] = 0;
        }
    }
}
