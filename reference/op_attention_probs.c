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

/* Relative error of a probability before normalising. A score off by `error` is a factor of exp(error). exp in f32 is
 * off by about (2 + |x|) u, and x = score - max is rounded (and stored, where less than f32 is). The clamp avoids 0 *
 * infinity; at that size nothing is bounded any more. */
static double probability_error(const struct arith *arith, double error, double below_max)
{
    double stored = arith->u_storage > arith->u_sum ? 2 * arith->u_storage * below_max : 0;
    return expm1(fmin(error, 500)) + arith->u_sum * (6 + 4 * below_max) + stored;
}

/* maximum - score, stored or not. *error: of the score; then, of the difference. */
static double below_maximum(const struct attention *a, double maximum, double score, double *error)
{
    const struct roundings *roundings = a->row->arith ? &a->row->arith->roundings : NULL;
    double below = maximum - score;
    bool rounds = roundings && roundings->shifted != ROUNDING_NONE && isfinite(below);
    return rounds ? round_known(roundings->shifted, below, error) : below;
}

/* Softmax over one run of scores, in place. A sink is one more score (-INFINITY: none), which has a share and no value.
 * Returns that share, and how far it can be off. */
static struct head_error softmax(const struct attention *a, uint64_t start, uint32_t length, double sink)
{
    double *p = a->probability + start, max = sink, sum = 0;
    if (length == 0) {
        return (struct head_error){0};
    }
    const struct arith inside = a->bounded ? attention_inside(a) : arith_float32;
    for (uint32_t i = 0; i < length; i++) {
        max = fmax(max, p[i]);
    }
    for (uint32_t i = 0; i < length; i++) {
        double below = below_maximum(a, max, p[i], &a->error[start + i]);
        if (a->bounded) {
            a->error[start + i] = probability_error(&inside, a->error[start + i], below);
        }
        p[i] = exp(-below);
        sum += p[i];
    }
    double sink_error = 0, below = below_maximum(a, max, sink, &sink_error), share = exp(-below);
    sum += share;
    for (uint32_t i = 0; i < length; i++) {
        p[i] /= sum;
    }
    share /= sum;
    return (struct head_error){
        .share = share, .sink = a->bounded && share > 0 ? share * probability_error(&inside, sink_error, below) : 0};
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
            errors[h] = softmax(a, (uint64_t)h * a->n, a->n, a->sinks ? a->sinks[h] : -INFINITY);
        }
    }
}

/* Relative errors: j's own; the mean of all errors, the sink's included, through the normalising sum; its rounding (n
 * positive terms: lambda u sqrt(n) / 3); the division; the stores of the exponential and of p. Errors of computed
 * inputs are large enough that their product counts. */
void attention_probability_bounds(const struct attention *a, uint32_t head, double sink_error, double *bounds)
{
    const struct arith inside = attention_inside(a);
    const struct arith *arith = &inside;
    const double *p = a->probability + (uint64_t)head * a->n, *error = a->error + (uint64_t)head * a->n;
    double common = sink_error + BOUND_LAMBDA * arith->u_sum * sqrt(a->n) / 3 + 4 * arith->u_sum + 2 * arith->u_storage;
    for (uint32_t j = 0; j < a->n; j++) {
        common += p[j] * error[j];
    }
    for (uint32_t j = 0; j < a->n; j++) {
        bounds[j] = p[j] * (error[j] + common + (a->spans ? error[j] * common : 0)) + arith->eta;
    }
}

void attention_add_store(const struct attention *a, const double *probability, double *bounds)
{
    const struct arith *arith = a->row->arith;
    const struct arith inside = attention_inside(a);
    for (uint32_t j = 0; j < a->n; j++) {
        bounds[j] += (arith->u_storage - inside.u_storage) * probability[j] + (arith->eta - inside.eta);
    }
}

/* Puts a head's probabilities at the positions of their keys; a key that is seen twice has both. What is recorded is
 * stored once more, as a stage. */
static void place(const struct attention *a, uint32_t head, const struct head_error *of, double *y, double *bound)
{
    const struct arith *arith = a->row->arith;
    double *bounds = bound ? xmalloc(((uint64_t)a->n + 1) * sizeof(*bounds)) : NULL;
    if (arith && arith->roundings.probs != ROUNDING_NONE) {
        attention_rounded_probabilities(a, head, of, bounds);
    } else if (bound) {
        attention_probability_bounds(a, head, of->sink, bounds);
        attention_add_store(a, a->probability + (uint64_t)head * a->n, bounds);
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
#pragma omp parallel for schedule(dynamic) if (attention_is_large(batch, p))
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
            place(&a, h, &errors[h], y + (uint64_t)h * n_positions, bound ? bound + (uint64_t)h * n_positions : NULL);
        }
        free(errors);
        attention_close(&a);
    }
    rounded_rows_close(&rounded);
    free(sinks);
}
