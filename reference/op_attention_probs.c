/* attention_probs: softmax(cap(scale q k)) over the visible keys, head by head; grouped queries share a key head.
 * Sources: op_attention.c. */
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/error.h"
#include "model/stop.h"
#include "reference/attention.h"
#include "reference/attention_rounded.h"
#include "reference/bounds.h"
#include "reference/dot.h"

struct attention attention_open(const struct op_batch *batch, const struct attention_params *p,
                                const struct op_row *row, const double *sinks)
{
    uint32_t end = row->position + 1, n = p->window != 0 && p->window < end ? p->window : end;
    uint32_t first = end - n, variant = batch->step->variant;
    if (variant == VARIANT_OWN_KEY_ONLY && row->decode) {
        first = end - (n = 1);
    }
    if (variant == VARIANT_KEYS_256 && n > 256) {
        n = 256;
    }
    if (variant == VARIANT_NEXT_KEY && row->has_next) {
        n++;
    }
    const struct attention_trial *trial = row->attention;
    if (trial && trial->keys) {
        first = 0;
        n = trial->n_keys;
    }
    uint64_t n_scores = (uint64_t)p->heads * n, n_q = (uint64_t)p->heads * p->dim;
    double *scratch = xmalloc(2 * n_scores * sizeof(double)), *q = NULL;
    if (row->in[0]) {
        q = xmalloc(n_q * sizeof(double));
        dot_widen(row->in[0], n_q, q);
    }
    return (struct attention){.p = p,
                              .row = row,
                              .variant = variant,
                              .bounded = batch->bound != NULL ||
                                         row->probs, /* needed to see whether the recorded ones stray */
                              .spans = row->error[0] || row->error[1] || row->error[2],
                              .first = first,
                              .n = n,
                              .trial = trial,
                              .q = q,
                              .probability = scratch,
                              .error = scratch + n_scores,
                              .squares = xmalloc(p->dim * sizeof(double)),
                              .normalised = variant != VARIANT_SOFTMAX_SIZES_SWAPPED, /* else nothing cancels */
                              .sinks = trial && trial->sinks ? trial->sinks : sinks};
}

void attention_close(struct attention *a)
{
    free(a->q);
    free(a->probability);
    free(a->squares);
}

double *attention_sinks(const struct op_batch *batch, const struct attention_params *p)
{
    ASSERT(p->heads % p->kv_heads == 0);
    if (!p->has_sinks) {
        return NULL;
    }
    float *stored = xmalloc(p->heads * sizeof(*stored));
    double *sinks = xmalloc(p->heads * sizeof(*sinks));
    op_weights(batch, batch->step->weight[0], 0, 0, p->heads, stored);
    dot_widen(stored, p->heads, sinks);
    free(stored);
    return sinks;
}

uint32_t attention_key(const struct attention *a, uint32_t j)
{
    return a->trial && a->trial->keys ? a->trial->keys[j] : a->first + j;
}

/* Index in an input of the key or value that a head of q reads at a position. */
static uint64_t kv_head_at(const struct attention *a, unsigned input, uint32_t position, uint32_t head)
{
    uint32_t kv_heads = a->p->kv_heads;
    uint32_t kv_head = a->variant == VARIANT_KV_HEADS_IN_TURN ? head % kv_heads : head / (a->p->heads / kv_heads);
    if (a->trial && a->trial->heads[input - 1]) {
        kv_head = a->trial->heads[input - 1][head];
    }
    return ((uint64_t)position * kv_heads + kv_head) * a->p->dim;
}

const float *attention_head(const struct attention *a, unsigned input, uint32_t position, uint32_t head)
{
    return a->row->in[input] + kv_head_at(a, input, position, head);
}

const double *attention_head_error(const struct attention *a, unsigned input, uint32_t position, uint32_t head)
{
    const double *error = a->row->error[input];
    return error ? error + kv_head_at(a, input, position, head) : NULL;
}

/* Errors of q and k in their dot product. */
static double score_passed_on(const struct attention *a, uint32_t head, uint32_t position, const float *q,
                              const float *k)
{
    uint32_t dim = a->p->dim;
    const double *q_error = a->row->error[0] ? a->row->error[0] + (uint64_t)head * dim : NULL;
    const double *k_error = attention_head_error(a, 1, position, head);
    double passed = (q_error ? dot_error(k, q_error, dim) : 0) + (k_error ? dot_error(q, k_error, dim) : 0), both = 0;
    for (uint32_t i = 0; q_error && k_error && i < dim; i++) {
        both += q_error[i] * k_error[i] * q_error[i] * k_error[i];
    }
    return fabs(a->p->scale) * (passed + sqrt(both));
}

/* Score of one key: the scaled dot product, then the softcap. q or k may have been scaled and stored before; the scaled
 * score and the masked score are stored: 3 u_storage. */
static double attention_score(const struct attention *a, uint32_t head, uint32_t position, double *error)
{
    const struct attention_params *p = a->p;
    const struct arith *arith = a->row->arith;
    bool stale = a->variant == VARIANT_KV_STALE && a->row->decode && position == a->row->position && position > 0;
    const float *q = a->row->in[0] + (uint64_t)head * p->dim;
    const double *wide_q = a->q + (uint64_t)head * p->dim;
    position -= stale;
    const float *k = attention_head(a, 1, position, head);

    struct dot dot = a->bounded ? dot_sum_squares(k, wide_q, p->dim) : dot_sum(k, wide_q, p->dim);
    double score = p->scale * dot.sum;
    double t = p->softcap != 0 ? tanh(score / p->softcap) : 0;
    if (a->bounded) {
        *error =
            fabs(p->scale) * bound_dot(arith, p->dim, dot.squares, dot.sum, 0) + 3 * arith->u_storage * fabs(score);
        double passed = a->spans ? score_passed_on(a, head, position, q, k) : 0;
        if (p->softcap != 0) {
            *error = *error * (1 - t * t) + bound_softcap(arith, p->softcap, score, t) +
                     softcap_error(p->softcap, t, passed);
        } else {
            *error += passed;
        }
    }
    return p->softcap != 0 ? p->softcap * t : score;
}

/* Relative error of a probability before normalising. A score off by `error` is a factor of exp(error). exp in f32 is
 * off by about (2 + |x|) u, and x = score - max is rounded (and stored, where less than f32 is). The clamp avoids 0 *
 * infinity; at that size nothing is bounded any more. */
static double probability_error(const struct arith *arith, double error, double below_max)
{
    double stored = arith->u_storage > arith->u_sum ? 2 * arith->u_storage * below_max : 0;
    return expm1(fmin(error, 500)) + arith->u_sum * (6 + 4 * below_max) + stored;
}

/* Softmax over one run of scores, in place. A sink is one more score (-INFINITY: none), which has a share and no value.
 * Returns how far the sink's share can be off: the share times its relative error. */
static double softmax(const struct attention *a, uint64_t start, uint32_t length, double sink)
{
    double *p = a->probability + start, max = sink, sum = 0;
    if (length == 0) {
        return 0;
    }
    for (uint32_t i = 0; i < length; i++) {
        max = fmax(max, p[i]);
    }
    for (uint32_t i = 0; i < length; i++) {
        if (a->bounded) {
            a->error[start + i] = probability_error(a->row->arith, a->error[start + i], max - p[i]);
        }
        p[i] = exp(p[i] - max);
        sum += p[i];
    }
    double share = exp(sink - max);
    sum += share;
    for (uint32_t i = 0; i < length; i++) {
        p[i] /= sum;
    }
    return a->bounded && share > 0 ? share / sum * probability_error(a->row->arith, 0, max - sink) : 0;
}

/* VARIANT_NO_MAXIMUM: exp(s) in f32 with no maximum subtracted. Returns how far flushed products can move an output
 * whose v are about 1. */
static double softmax_without_maximum(const struct attention *a, uint64_t start, uint32_t length)
{
    double *p = a->probability + start;
    float sum = 0;
    for (uint32_t i = 0; i < length; i++) {
        if (a->bounded) {
            a->error[start + i] = probability_error(a->row->arith, a->error[start + i], fabs(p[i]));
        }
        float e = (float)exp(p[i]);
        p[i] = e < FLT_MIN ? 0 : e;
        sum += (float)p[i];
    }
    for (uint32_t i = 0; i < length; i++) {
        p[i] /= sum;
    }
    return sum > 0 ? (double)length * FLT_MIN / sum : 0;
}

/* VARIANT_SOFTMAX_SIZES_SWAPPED: n runs of `heads` scores instead of `heads` runs of n. A run's sum then couples other
 * values than those that y sums up, so its mean error does not cancel: it is added to the error of each member. */
static void softmax_sizes_swapped(const struct attention *a)
{
    uint32_t heads = a->p->heads;
    for (uint64_t start = 0; start < (uint64_t)heads * a->n; start += heads) {
        (void)softmax(a, start, heads, -INFINITY);
        double mean = 0;
        for (uint32_t i = 0; i < heads && a->bounded; i++) {
            mean += a->probability[start + i] * a->error[start + i];
        }
        for (uint32_t i = 0; i < heads && a->bounded; i++) {
            a->error[start + i] += mean;
        }
    }
}

/* What a trial changes at the score of key j. A number in its place has no error. */
static double score_tried(const struct attention *a, uint32_t head, uint32_t j, double score, double *error)
{
    const struct attention_trial *trial = a->trial;
    if (trial->scores && !isnan(trial->scores[j])) {
        score = trial->scores[j];
        *error = 0;
    }
    return score + (trial->added ? trial->added[(uint64_t)head * a->n + j] : 0);
}

void attention_probabilities(const struct attention *a, struct head_error *errors)
{
    for (uint32_t h = 0; h < a->p->heads; h++) {
        for (uint32_t j = 0; j < a->n; j++) {
            uint64_t at = (uint64_t)h * a->n + j;
            double score = attention_score(a, h, attention_key(a, j), &a->error[at]);
            a->probability[at] = a->trial ? score_tried(a, h, j, score, &a->error[at]) : score;
        }
        errors[h] = (struct head_error){0};
    }
    if (a->variant == VARIANT_SOFTMAX_SIZES_SWAPPED) {
        softmax_sizes_swapped(a);
        return;
    }
    for (uint32_t h = 0; h < a->p->heads; h++) {
        if (a->variant == VARIANT_NO_MAXIMUM) {
            errors[h].flushed = softmax_without_maximum(a, (uint64_t)h * a->n, a->n);
        } else {
            errors[h].sink = softmax(a, (uint64_t)h * a->n, a->n, a->sinks ? a->sinks[h] : -INFINITY);
        }
    }
}

/* Relative errors: j's own; the mean of all errors, the sink's included, through the normalising sum; its rounding (n
 * positive terms: lambda u sqrt(n) / 3); the division; the stores of the exponential and of p. Errors of computed
 * inputs are large enough that their product counts. */
void attention_probability_bounds(const struct attention *a, uint32_t head, double sink_error, double *bounds)
{
    const struct arith *arith = a->row->arith;
    const double *p = a->probability + (uint64_t)head * a->n, *error = a->error + (uint64_t)head * a->n;
    double common = sink_error + BOUND_LAMBDA * arith->u_sum * sqrt(a->n) / 3 + 4 * arith->u_sum + 2 * arith->u_storage;
    for (uint32_t j = 0; j < a->n; j++) {
        common += p[j] * error[j];
    }
    for (uint32_t j = 0; j < a->n; j++) {
        bounds[j] = p[j] * (error[j] + common + (a->spans ? error[j] * common : 0)) + arith->eta;
    }
}

/* Puts a head's probabilities at the positions of their keys; a key that is seen twice has both. */
static void place(const struct attention *a, uint32_t head, double sink_error, double *y, double *bound)
{
    double *bounds = bound ? xmalloc(((uint64_t)a->n + 1) * sizeof(*bounds)) : NULL;
    if (bound) {
        attention_probability_bounds(a, head, sink_error, bounds);
    }
    for (uint32_t j = 0; j < a->n; j++) {
        uint32_t key = attention_key(a, j);
        y[key] += a->probability[(uint64_t)head * a->n + j];
        if (bound) {
            bound[key] += bounds[j];
        }
    }
    free(bounds);
}

uint32_t row_keys(const struct step *step, const struct op_row *row)
{
    const struct attention_params *p =
        step->op == OP_attention_probs ? &step->params.attention_probs.attention : &step->params.attention;
    uint32_t end = row->position + 1;
    if (row->attention && row->attention->keys) {
        return row->attention->n_keys;
    }
    return p->window != 0 && p->window < end ? p->window : end;
}

void row_scores(const struct step *step, const struct op_row *row, double *scores)
{
    const struct attention_params *p =
        step->op == OP_attention_probs ? &step->params.attention_probs.attention : &step->params.attention;
    struct op_batch batch = {.step = step, .n_rows = 1, .rows = row};
    struct op_row alone = *row;
    alone.probs = NULL;
    struct attention a = attention_open(&batch, p, &alone, NULL);
    for (uint32_t h = 0; h < p->heads; h++) {
        for (uint32_t j = 0; j < a.n; j++) {
            scores[(uint64_t)h * a.n + j] = attention_score(&a, h, attention_key(&a, j), NULL);
        }
    }
    attention_close(&a);
}

/* Probabilities of masked keys and of later positions are exactly 0. */
void reference_attention_probs(const struct op_batch *batch)
{
    const struct attention_params *p = &batch->step->params.attention_probs.attention;
    uint32_t n_positions = batch->step->params.attention_probs.n_positions;
    uint64_t width = (uint64_t)p->heads * n_positions;
    double *sinks = attention_sinks(batch, p);
    struct rounded_rows rounded = {0};
    bool rounds = batch->n_rows > 0 && batch->rows[0].arith && roundings_any(&batch->rows[0].arith->roundings);
    if (rounds) {
        rounded_rows_open(&rounded, batch, p);
    }
    const struct op_row *rows = rounds ? rounded.rows : batch->rows;
#pragma omp parallel for schedule(dynamic)
    for (uint32_t r = 0; r < batch->n_rows; r++) {
        if (stop_asked()) {
            continue;
        }
        struct attention a = attention_open(batch, p, &rows[r], sinks);
        double *y = batch->y + r * width, *bound = batch->bound ? batch->bound + r * width : NULL;
        struct head_error *errors = xcalloc(p->heads, sizeof(*errors));
        memset(y, 0, width * sizeof(*y));
        if (bound) {
            memset(bound, 0, width * sizeof(*bound));
        }
        attention_probabilities(&a, errors);
        for (uint32_t h = 0; h < p->heads; h++) {
            place(&a, h, errors[h].sink, y + (uint64_t)h * n_positions,
                  bound ? bound + (uint64_t)h * n_positions : NULL);
        }
        free(errors);
        attention_close(&a);
    }
    rounded_rows_close(&rounded);
    free(sinks);
}
