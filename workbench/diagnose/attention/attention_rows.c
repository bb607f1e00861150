#include "workbench/diagnose/attention/attention_rows.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MOST_VALUES (1u << 25) /* sums kept for a row */
#define LEAST_SHARE 0x1p-30    /* of all keys' sum: a smaller difference of prefix sums is mostly rounding */

const struct attention_params *attention_params_of(const struct step *step)
{
    return step->op == OP_attention_probs ? &step->params.attention_probs.attention : &step->params.attention;
}

bool attention_row_is_small(const struct solve *solve)
{
    const struct attention_params *p = attention_params_of(solve->evidence->step);
    return (uint64_t)p->heads * p->dim * (solve->evidence->trace->n_positions + 1) <= MOST_VALUES;
}

static bool is_finite(const float *row, uint32_t width)
{
    for (uint32_t i = 0; i < width; i++) {
        if (!isfinite(row[i])) {
            return false;
        }
    }
    return true;
}

/* Whether the trace holds a position's key and value. */
static bool holds_key(const struct attention_row *a, const struct step *step, uint32_t position)
{
    uint32_t width = a->p->kv_heads * a->p->dim;
    for (unsigned input = 1; input <= (step->op == OP_attention ? 2U : 1U); input++) {
        if (!is_finite(a->row->in[input] + (uint64_t)position * width, width)) {
            return false;
        }
    }
    return true;
}

/* The keys around the row's own that the run could have seen: later ones only of the same prefill. */
static void find_keys(struct attention_row *a, const struct solve *solve)
{
    const struct trace *trace = solve->evidence->trace;
    const struct step *step = solve->evidence->step;
    uint32_t own = a->row->position;
    a->first = own;
    a->end = own + 1;
    while (a->first > 0 && holds_key(a, step, a->first - 1)) {
        a->first--;
    }
    while (!a->row->decode && a->end < trace->n_positions && trace->phase[a->end] == PHASE_PREFILL &&
           holds_key(a, step, a->end)) {
        a->end++;
    }
}

static void find_sinks(struct attention_row *a, const struct step *step)
{
    float *stored = xcalloc(a->p->heads, sizeof(*stored));
    if (a->p->has_sinks) {
        weights_decode(step->weight[0], 0, 0, a->p->heads, stored);
    }
    for (uint32_t h = 0; h < a->p->heads; h++) {
        a->sinks[h] = a->p->has_sinks ? stored[h] : -INFINITY;
    }
    free(stored);
}

static void sum_up(struct attention_row *a)
{
    uint32_t heads = a->p->heads, dim = a->p->dim, n = a->end - a->first, shared = heads / a->p->kv_heads;
    a->weights = xcalloc((uint64_t)heads * (n + 1), sizeof(*a->weights));
    a->values = xcalloc((uint64_t)heads * (n + 1) * dim, sizeof(*a->values));
    for (uint32_t h = 0; h < heads; h++) {
        double *weights = a->weights + (uint64_t)h * (n + 1), *values = a->values + (uint64_t)h * (n + 1) * dim;
        for (uint32_t j = 0; j < n; j++) {
            uint64_t at = ((uint64_t)(a->first + j) * a->p->kv_heads + h / shared) * dim;
            double weight = exp(a->scores[(uint64_t)h * n + j] - a->largest[h]);
            weights[j + 1] = weights[j] + weight;
            for (uint32_t i = 0; i < dim; i++) {
                double v = a->row->in[2] ? a->row->in[2][at + i] : 0; /* probabilities have none */
                values[(uint64_t)(j + 1) * dim + i] = values[(uint64_t)j * dim + i] + weight * v;
            }
        }
    }
}

void attention_row_open(struct attention_row *a, const struct solve *solve, const struct op_row *row, bool weighted)
{
    const struct step *step = solve->evidence->step;
    const struct attention_params *p = attention_params_of(step);
    *a = (struct attention_row){.p = p, .row = row};
    find_keys(a, solve);
    uint32_t n = a->end - a->first;
    uint32_t *keys = xmalloc(n * sizeof(*keys));
    for (uint32_t j = 0; j < n; j++) {
        keys[j] = a->first + j;
    }
    a->right.end = row->position + 1;
    a->right.first = p->window != 0 && p->window < a->right.end ? a->right.end - p->window : 0;
    a->scores = xmalloc((uint64_t)p->heads * n * sizeof(*a->scores));
    a->largest = xmalloc(p->heads * sizeof(*a->largest));
    a->sinks = xmalloc(p->heads * sizeof(*a->sinks));
    find_sinks(a, step);
    const struct attention_trial all = {.keys = keys, .n_keys = n};
    struct op_row tried = *row;
    tried.attention = &all;
    row_scores(step, &tried, a->scores);
    for (uint32_t h = 0; h < p->heads; h++) {
        a->largest[h] = a->sinks[h];
        for (uint32_t j = 0; j < n; j++) {
            a->largest[h] = fmax(a->largest[h], a->scores[(uint64_t)h * n + j]);
        }
    }
    if (weighted) {
        sum_up(a);
    }
    free(keys);
}

void attention_row_close(struct attention_row *a)
{
    free(a->largest);
    free(a->scores);
    free(a->sinks);
    free(a->weights);
    free(a->values);
}

/* A head's sums over a range of keys, from the scores: where a key outside the range has so large a score that the
 * prefix sums hold nothing of the range. y: [dim] */
static double sum_directly(const struct attention_row *a, uint32_t h, const struct key_range *keys, double *y)
{
    uint32_t dim = a->p->dim, n = a->end - a->first, shared = a->p->heads / a->p->kv_heads;
    const double *scores = a->scores + (uint64_t)h * n;
    double largest = a->sinks[h], sum;
    for (uint32_t key = keys->first; key < keys->end; key++) {
        bool seen = key < keys->gap || key >= keys->gap_end;
        largest = seen ? fmax(largest, scores[key - a->first]) : largest;
    }
    sum = exp(a->sinks[h] - largest);
    memset(y, 0, dim * sizeof(*y));
    for (uint32_t key = keys->first; key < keys->end; key++) {
        double weight = key < keys->gap || key >= keys->gap_end ? exp(scores[key - a->first] - largest) : 0;
        const float *v = a->row->in[2] ? a->row->in[2] + ((uint64_t)key * a->p->kv_heads + h / shared) * dim : NULL;
        sum += weight;
        for (uint32_t i = 0; i < dim && v; i++) {
            y[i] += weight * v[i];
        }
    }
    return sum;
}

double attention_row_miss(const struct attention_row *a, const struct key_range *keys, double limit)
{
    uint32_t dim = a->p->dim, n = a->end - a->first, first = keys->first - a->first, end = keys->end - a->first;
    uint32_t gap = keys->gap - a->first, gap_end = keys->gap_end - a->first;
    bool has_gap = keys->gap < keys->gap_end;
    double miss = 0, *direct = NULL;
    for (uint32_t h = 0; h < a->p->heads; h++) {
        const double *weights = a->weights + (uint64_t)h * (n + 1), *values = a->values + (uint64_t)h * (n + 1) * dim;
        double sum = weights[end] - weights[first] - (has_gap ? weights[gap_end] - weights[gap] : 0) +
                     exp(a->sinks[h] - a->largest[h]);
        bool lost = !(sum > LEAST_SHARE * weights[n]);
        if (lost) {
            direct = direct ? direct : xmalloc(dim * sizeof(*direct));
            sum = sum_directly(a, h, keys, direct);
        }
        if (!(sum > 0)) {
            free(direct);
            return INFINITY;
        }
        for (uint32_t i = 0; i < dim; i++) {
            double y = values[(uint64_t)end * dim + i] - values[(uint64_t)first * dim + i];
            y -= has_gap ? values[(uint64_t)gap_end * dim + i] - values[(uint64_t)gap * dim + i] : 0;
            y = lost ? direct[i] : y;
            double off = y / sum - a->row->recorded[(uint64_t)h * dim + i];
            miss += off * off;
            if (!(miss <= limit)) {
                free(direct);
                return INFINITY;
            }
        }
    }
    free(direct);
    return miss;
}

uint32_t key_range_list(const struct key_range *range, uint32_t *keys)
{
    uint32_t n = 0;
    for (uint32_t key = range->first; key < range->end; key++) {
        if (key < range->gap || key >= range->gap_end) {
            keys[n++] = key;
        }
    }
    return n;
}

bool attention_row_fits(const struct solve *solve, const struct op_row *row, const struct attention_trial *trial)
{
    struct op_row tried = *row;
    tried.attention = trial;
    trial_run(solve->trial, solve->evidence->step, &tried, 1);
    return trial_row_ratio(solve->trial, &tried, 0) <= 1;
}
