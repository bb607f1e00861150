/* Rounded probabilities and accumulators of attention.
 *
 * The roundings are simulated; what a bound covers is the float32 arithmetic around them. Every number that an engine
 * rounds is known here up to the float32 error of its computation. Rounded, it is known exactly, unless it lies within
 * that error of the middle of two neighbours: then it counts by their distance (round_known). */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/error.h"
#include "reference/attention_rounded.h"
#include "reference/bounds.h"

double round_known(enum rounding_type type, double y, double *error)
{
    double rounded = round_number(type, y);
    if (type == ROUNDING_NONE || *error == 0) {
        return rounded;
    }
    double low = round_number(type, y - *error), high = round_number(type, y + *error);
    *error = fmax(high - rounded, rounded - low);
    return rounded;
}

#define NO_KEY UINT32_MAX

/* One head while its keys are summed. Exponentials are relative to `largest`, a probability: that of the running
 * maximum. */
struct summed_head {
    const struct attention *a;
    const struct roundings *roundings;
    uint32_t head;
    const double *p, *error; /* [n] probabilities, and their relative errors before normalising */
    double largest, largest_error;
    uint32_t largest_key;      /* whose it is; NO_KEY: the sink's */
    double sum, sum_error;     /* of exponentials, times `largest`; absolute */
    double *acc, *off;         /* [dim] in units of `largest`; off: absolute errors */
    double *part, *part_error; /* [dim] the sum of one tile */
    double u;                  /* of float32's sums */
};

/* exp(score - maximum) of a key, rounded as probabilities are. *error: absolute. */
static double exponential(struct summed_head *head, uint32_t j, double *error)
{
    double share = head->p[j] / head->largest;
    *error = j != head->largest_key ? share * (head->error[j] + head->largest_error + head->u) : 0; /* exp(0) is 1 */
    double exact_error = *error, rounded = round_known(head->roundings->probs, share, error);
    bool sums_rounded = head->roundings->sums != SUM_EXACT;
    head->sum += head->largest * (sums_rounded ? rounded : share);
    head->sum_error += head->largest * (sums_rounded ? *error : exact_error);
    return rounded;
}

/* How far share * v[i] can be off; v_error NULL: v is exact. */
static double term_error(double share, double error, const float *v, const double *v_error, uint32_t i)
{
    double v_off = v_error ? v_error[i] : 0;
    return error * (fabs(v[i]) + v_off) + share * v_off;
}

/* acc = acc exp(old maximum - new maximum). rounds: to the accumulator's type. */
static void rescale(struct summed_head *head, uint32_t key, bool rounds)
{
    double factor = head->largest / head->p[key];
    double relative = head->largest_error + head->error[key] + 2 * head->u;
    for (uint32_t i = 0; i < head->a->p->dim && head->largest > 0; i++) {
        head->off[i] = factor * (head->off[i] + fabs(head->acc[i]) * relative);
        head->acc[i] *= factor;
        if (rounds) {
            head->acc[i] = round_known(head->roundings->accumulator, head->acc[i], &head->off[i]);
        }
    }
    head->sum_error += head->sum * relative; /* the exponentials so far, relative to the new maximum */
    head->largest = head->p[key];
    head->largest_error = head->error[key];
    head->largest_key = key;
}

/* Keys [first, end) one after the other: acc = acc + p v, rounded after each. */
static void add_keys(struct summed_head *head, uint32_t first, uint32_t end)
{
    for (uint32_t j = first; j < end; j++) {
        const float *v = attention_head(head->a, 2, attention_key(head->a, j), head->head);
        if (head->p[j] == 0) {
            continue; /* 1e-308 of the largest: it leaves no trace */
        }
        const double *v_error = attention_head_error(head->a, 2, attention_key(head->a, j), head->head);
        double error, share = exponential(head, j, &error);
        for (uint32_t i = 0; i < head->a->p->dim; i++) {
            double term = share * v[i], y = head->acc[i] + term;
            head->off[i] += term_error(share, error, v, v_error, i) + head->u * (fabs(term) + fabs(y));
            head->acc[i] = round_known(head->roundings->accumulator, y, &head->off[i]);
        }
    }
}

/* The sum of a tile in float32 is added, and the accumulator rounded once. */
static void add_tile(struct summed_head *head, uint32_t first, uint32_t end)
{
    uint32_t dim = head->a->p->dim;
    double *squares = head->a->squares;
    memset(head->part, 0, dim * sizeof(*head->part));
    memset(head->part_error, 0, dim * sizeof(*head->part_error));
    memset(squares, 0, dim * sizeof(*squares));
    for (uint32_t j = first; j < end; j++) {
        const float *v = attention_head(head->a, 2, attention_key(head->a, j), head->head);
        if (head->p[j] == 0) {
            continue;
        }
        const double *v_error = attention_head_error(head->a, 2, attention_key(head->a, j), head->head);
        double error, share = exponential(head, j, &error);
        for (uint32_t i = 0; i < dim; i++) {
            double term = share * v[i];
            head->part[i] += term;
            head->part_error[i] += term_error(share, error, v, v_error, i);
            squares[i] += term * term;
        }
    }
    for (uint32_t i = 0; i < dim; i++) {
        double y = head->acc[i] + head->part[i];
        head->off[i] += head->part_error[i] + head->u * fabs(y) +
                        bound_sum(head->a->row->arith, end - first, squares[i], head->part[i], 0);
        head->acc[i] = round_known(head->roundings->accumulator, y, &head->off[i]);
    }
}

/* The key of [first, end) with the largest score, if that is a new maximum; else NO_KEY. */
static uint32_t new_maximum(const struct summed_head *head, uint32_t first, uint32_t end)
{
    uint32_t key = NO_KEY;
    for (uint32_t j = first; j < end; j++) {
        if (head->p[j] > (key == NO_KEY ? head->largest : head->p[key])) {
            key = j;
        }
    }
    return key;
}

/* The maximum begins with the sink, or with nothing. */
static void begin_maximum(struct summed_head *head, const struct head_error *of)
{
    bool sink = head->roundings->sink_in_maximum && of->share > 0;
    head->largest = sink ? of->share : 0;
    head->largest_error = sink ? of->sink / of->share : 0;
    head->largest_key = NO_KEY;
}

/* The end of the tile that key j begins. Tiles begin at multiples of their size, counted in positions. */
static uint32_t tile_end(const struct summed_head *head, uint32_t j)
{
    uint32_t tile = head->roundings->tile, n = head->a->n;
    if (tile == 0) {
        return n;
    }
    uint32_t end = j + tile - (head->a->first + j) % tile;
    return end < n ? end : n;
}

/* Adds the sink's exponential to the sum: exp(sink - maximum), rounded with the others or not. */
static void add_sink(struct summed_head *head, const struct head_error *of)
{
    double share = of->share / head->largest;
    double error = head->roundings->sink_in_maximum && head->largest_key == NO_KEY
                       ? 0
                       : of->sink / head->largest + share * (head->largest_error + head->u);
    if (head->roundings->sums == SUM_ROUNDED && of->share > 0) {
        share = round_known(head->roundings->probs, share, &error);
    }
    head->sum += head->largest * share;
    head->sum_error += head->largest * error;
}

/* Fills acc, off, sum and sum_error. */
static void sum_unnormalised(struct summed_head *head, const struct head_error *of)
{
    begin_maximum(head, of);
    bool by_tile = head->roundings->adds != ADD_KEYS || head->roundings->accumulator == ROUNDING_NONE;
    for (uint32_t first = 0, end; first < head->a->n; first = end) {
        end = tile_end(head, first);
        uint32_t key = new_maximum(head, first, end);
        if (key != NO_KEY) {
            rescale(head, key, head->roundings->adds != ADD_TILES_FUSED);
        }
        if (head->largest == 0) {
            continue;
        }
        by_tile ? add_tile(head, first, end) : add_keys(head, first, end);
    }
    if (head->largest > 0) {
        add_sink(head, of);
    }
}

/* Probabilities are divided by their sum first, then rounded; then values are summed. */
static void sum_normalised(struct summed_head *head, double sink_error)
{
    uint32_t n = head->a->n;
    double *known = xcalloc(n + 1, sizeof(*known));
    if (head->a->bounded) {
        attention_probability_bounds(head->a, head->head, sink_error, known);
    }
    double *squares = head->a->squares;
    memset(squares, 0, head->a->p->dim * sizeof(*squares));
    for (uint32_t j = 0; j < n; j++) {
        const float *v = attention_head(head->a, 2, attention_key(head->a, j), head->head);
        const double *v_error = attention_head_error(head->a, 2, attention_key(head->a, j), head->head);
        double p = round_known(head->roundings->probs, head->p[j], &known[j]);
        for (uint32_t i = 0; i < head->a->p->dim; i++) {
            double term = p * v[i], y = head->acc[i] + term;
            squares[i] += term * term;
            head->off[i] += term_error(p, known[j], v, v_error, i);
            if (head->roundings->accumulator != ROUNDING_NONE) {
                head->off[i] += head->u * (fabs(term) + fabs(y));
                y = round_known(head->roundings->accumulator, y, &head->off[i]);
            }
            head->acc[i] = y;
        }
    }
    for (uint32_t i = 0; i < head->a->p->dim && head->roundings->accumulator == ROUNDING_NONE; i++) {
        head->off[i] += bound_sum(head->a->row->arith, n, squares[i], head->acc[i], 0);
    }
    free(known);
}

/* How far the quotient of accumulator and sum can be off, relatively: the rounding of a sum of n positive terms (lambda
 * u sqrt(n) / 3), the errors of the terms, and the division. */
static double quotient_error(const struct summed_head *head)
{
    return BOUND_LAMBDA * head->u * sqrt(head->a->n) / 3 + 4 * head->u + head->sum_error / head->sum;
}

static struct summed_head open_head(const struct attention *a, uint32_t head, double *scratch)
{
    uint32_t dim = a->p->dim;
    return (struct summed_head){.a = a,
                                .roundings = &a->row->arith->roundings,
                                .head = head,
                                .p = a->probability + (uint64_t)head * a->n,
                                .error = a->error + (uint64_t)head * a->n,
                                .acc = scratch,
                                .off = scratch + dim,
                                .part = scratch + 2 * (uint64_t)dim,
                                .part_error = scratch + 3 * (uint64_t)dim,
                                .u = a->row->arith->u_sum};
}

void attention_rounded_values(const struct attention *a, uint32_t head, const struct head_error *of, double *y,
                              double *bound)
{
    const struct arith *arith = a->row->arith;
    double *scratch = xcalloc(4 * (uint64_t)a->p->dim, sizeof(*scratch)), times = 1, relative = 0;
    struct summed_head sums = open_head(a, head, scratch);
    if (arith->roundings.unnormalised) {
        sum_unnormalised(&sums, of);
        if (a->recorded) {
            sums.sum = 1; /* recorded probabilities are divided already */
        }
        times = sums.sum > 0 ? sums.largest / sums.sum : 0;
        relative = sums.sum > 0 ? quotient_error(&sums) : 0;
    } else {
        sum_normalised(&sums, of->sink);
    }
    for (uint32_t i = 0; i < a->p->dim; i++) {
        y[i] = sums.acc[i] * times;
        if (bound) {
            bound[i] = sums.off[i] * times + fabs(y[i]) * (relative + arith->u_storage) + arith->eta;
        }
    }
    free(scratch);
}

void attention_rounded_probabilities(const struct attention *a, uint32_t head, const struct head_error *of,
                                     double *bounds)
{
    double *scratch = xcalloc(4 * (uint64_t)a->p->dim + a->n, sizeof(*scratch)), relative = 0;
    double *known = scratch + 4 * (uint64_t)a->p->dim, *p = a->probability + (uint64_t)head * a->n;
    struct summed_head sums = open_head(a, head, scratch);
    if (a->bounded) {
        attention_probability_bounds(a, head, of->sink, known);
    }
    if (sums.roundings->unnormalised) {
        begin_maximum(&sums, of);
        uint32_t key = new_maximum(&sums, 0, a->n);
        if (key != NO_KEY) {
            rescale(&sums, key, false);
        }
        for (uint32_t j = 0; j < a->n; j++) {
            p[j] = sums.largest > 0 && p[j] > 0 ? exponential(&sums, j, &known[j]) : 0;
        }
        if (sums.largest > 0) {
            add_sink(&sums, of);
            relative = quotient_error(&sums);
        }
        for (uint32_t j = 0; j < a->n && sums.largest > 0; j++) {
            p[j] *= sums.largest / sums.sum;
            known[j] = known[j] * sums.largest / sums.sum + p[j] * relative;
        }
    } else {
        for (uint32_t j = 0; j < a->n; j++) {
            p[j] = round_known(sums.roundings->probs, p[j], &known[j]);
        }
    }
    if (bounds) {
        memcpy(bounds, known, a->n * sizeof(*bounds));
    }
    if (bounds && sums.roundings->unnormalised) { /* else they are stored as they were rounded */
        attention_add_store(a, p, bounds);
    }
    free(scratch);
}
