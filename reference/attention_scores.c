/* Scores of attention: the scaled dot products of a query and the keys that it sees, through a softcap where the model
 * has one. Sources: op_attention.c. */
#include <math.h>
#include <stdlib.h>

#include "model/error.h"
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
    double *scratch = xcalloc(2 * n_scores, sizeof(double)), *q = NULL;
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

bool attention_is_large(const struct op_batch *batch, const struct attention_params *p)
{
    uint64_t products = 0;
    for (uint32_t r = 0; r < batch->n_rows; r++) {
        products += (uint64_t)p->heads * p->dim * (batch->rows[r].position + 1);
    }
    return products > 1 << 18;
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

struct arith attention_inside(const struct attention *a)
{
    struct arith inside = *a->row->arith;
    if (inside.exact_inside && !a->spans && a->row->recorded) {
        inside.u_storage = fmin(inside.u_storage, arith_float32.u_storage);
        inside.eta = fmin(inside.eta, arith_float32.eta);
    }
    return inside;
}

/* The stores of a score, where they are rounded: q k (unless it is scaled before), the scaled one, and each step of the
 * softcap. *error: how far the dot product is off; then, how far the score is. */
static double rounded_score(const struct attention *a, double dot, double *error)
{
    const struct attention_params *p = a->p;
    const struct roundings *roundings = &a->row->arith->roundings;
    double u = a->bounded ? a->row->arith->u_sum : 0, scale = p->scale, cap = p->softcap;
    if (!roundings->scores_once) {
        dot = round_known(roundings->scores, dot, error);
    }
    double score = scale * dot;
    *error = fabs(scale) * *error + u * fabs(score);
    score = round_known(roundings->scores, score, error);
    if (cap == 0) {
        return score;
    }
    *error = (*error + u * fabs(score)) / fabs(cap);
    double part = round_known(roundings->scores, score / cap, error), t = tanh(part);
    *error = softcap_error(1, t, *error) + 4 * u;
    t = round_known(roundings->scores, t, error);
    *error = fabs(cap) * (*error + u * fabs(t));
    return round_known(roundings->scores, cap * t, error);
}

/* Score of one key: the scaled dot product, then the softcap. q or k may have been scaled and stored before; the scaled
 * score and the masked score are stored: 3 u_storage. */
double attention_score(const struct attention *a, uint32_t head, uint32_t position, double *error)
{
    const struct attention_params *p = a->p;
    bool stale = a->variant == VARIANT_KV_STALE && a->row->decode && position == a->row->position && position > 0;
    const float *q = a->row->in[0] + (uint64_t)head * p->dim;
    const double *wide_q = a->q + (uint64_t)head * p->dim;
    position -= stale;
    const float *k = attention_head(a, 1, position, head);

    struct dot dot = a->bounded ? dot_sum_squares(k, wide_q, p->dim) : dot_sum(k, wide_q, p->dim);
    if (a->row->arith && a->row->arith->roundings.scores != ROUNDING_NONE) {
        double off = a->bounded ? bound_sum(a->row->arith, p->dim, dot.squares, dot.sum, 0) : 0;
        double score = rounded_score(a, dot.sum, &off);
        if (a->bounded) {
            *error = off + (a->spans ? score_passed_on(a, head, position, q, k) : 0);
        }
        return score;
    }
    double score = p->scale * dot.sum;
    double t = p->softcap != 0 ? tanh(score / p->softcap) : 0;
    if (a->bounded) {
        const struct arith inside = attention_inside(a);
        *error =
            fabs(p->scale) * bound_dot(&inside, p->dim, dot.squares, dot.sum, 0) + 3 * inside.u_storage * fabs(score);
        double passed = a->spans ? score_passed_on(a, head, position, q, k) : 0;
        if (p->softcap != 0) {
            *error = *error * (1 - t * t) + bound_softcap(&inside, p->softcap, score, t) +
                     softcap_error(p->softcap, t, passed);
        } else {
            *error += passed;
        }
    }
    return p->softcap != 0 ? p->softcap * t : score;
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
