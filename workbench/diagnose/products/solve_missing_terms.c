/* Missing terms of a matrix product: y = sum of w_i x_i over part of the inputs. The part is searched for as a range of
 * inputs, or as a range in each run of `period` inputs: a tail of K, one slice of a split K, one rank's heads, half of
 * the lanes, the tail of each tile. Sums over a range are differences of prefix sums, so all ranges are tried. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/stop.h"
#include "workbench/diagnose/products/product_samples.h"
#include "workbench/diagnose/proof.h"

#define ALL_RANGES 2048  /* longer sums: only ranges that begin and end at multiples of 8, heads and tails */
#define MOST_PERIOD 1024 /* inputs in a run */

/* Inputs i with first <= i mod period < last. period n_in: one range. */
struct part {
    uint32_t period, first, last;
    int count;    /* times that they are in the sum: 0 or 2 */
    bool no_bias; /* the bias is not added either */
};

struct search {
    const struct product_samples *samples;
    double *terms;    /* [n_in, n] w_i x_i of each sample */
    double *sums;     /* [period + 1, n] sums over inputs with i mod period below a row's number */
    double *residual; /* [n] what is missing */
    double least;     /* sum of squares that the best part leaves */
    struct part best;
};

static void search_open(struct search *search, const struct product_samples *samples)
{
    uint32_t n = samples->n, n_in = samples->n_in;
    *search = (struct search){.samples = samples,
                              .terms = xmalloc((uint64_t)n_in * n * sizeof(double)),
                              .sums = xmalloc((uint64_t)(n_in + 1) * n * sizeof(double)),
                              .residual = xmalloc(n * sizeof(double))};
    float *w = xmalloc(n_in * sizeof(*w));
    for (uint32_t s = 0; s < n; s++) {
        const struct product_sample *sample = &samples->samples[s];
        weights_as_stored(NULL, samples->step->weight[0], sample->weight_row, w);
        for (uint32_t i = 0; i < n_in; i++) {
            search->terms[(uint64_t)i * n + s] = (double)w[i] * sample->x[i];
        }
    }
    free(w);
}

static void search_close(struct search *search)
{
    free(search->terms);
    free(search->sums);
    free(search->residual);
}

/* Sums of the terms with i mod period < row; and what is missing from the recorded outputs. */
static void fold(struct search *search, uint32_t period, bool no_bias)
{
    uint32_t n = search->samples->n, n_in = search->samples->n_in;
    memset(search->sums, 0, (uint64_t)(period + 1) * n * sizeof(double));
    for (uint32_t i = 0; i < n_in; i++) {
        for (uint32_t s = 0; s < n; s++) {
            search->sums[(uint64_t)(i % period + 1) * n + s] += search->terms[(uint64_t)i * n + s];
        }
    }
    for (uint64_t at = n; at < (uint64_t)(period + 1) * n; at++) {
        search->sums[at] += search->sums[at - n];
    }
    for (uint32_t s = 0; s < n; s++) {
        const struct product_sample *sample = &search->samples->samples[s];
        search->residual[s] = search->sums[(uint64_t)period * n + s] + (no_bias ? 0 : sample->bias) - sample->recorded;
    }
}

/* Keeps a range if it leaves less than the best so far. */
static void try_range(struct search *search, const struct part *part)
{
    uint32_t n = search->samples->n;
    const double *low = search->sums + (uint64_t)part->first * n, *high = search->sums + (uint64_t)part->last * n;
    double sign = part->count == 0 ? 1 : -1, miss = 0;
    for (uint32_t s = 0; s < n && miss < search->least; s++) {
        double left = search->residual[s] - sign * (high[s] - low[s]);
        miss += left * left;
    }
    if (miss < search->least) { /* NaN is not */
        search->least = miss;
        search->best = *part;
    }
}

static void try_ranges(struct search *search, uint32_t period, bool no_bias)
{
    uint32_t grain = period > ALL_RANGES ? 8 : 1;
    fold(search, period, no_bias);
    for (uint32_t first = 0; first < period && !stop_asked(); first++) {
        for (uint32_t last = first + 1; last <= period; last++) {
            bool whole = first == 0 && last == period, edge = first == 0 || last == period;
            if (whole || (!edge && (first % grain != 0 || last % grain != 0))) {
                continue;
            }
            try_range(search, &(struct part){period, first, last, 0, no_bias});
            if (!no_bias) {
                try_range(search, &(struct part){period, first, last, 2, false});
            }
        }
    }
}

static bool is_in(const struct part *part, uint32_t i)
{
    return i % part->period >= part->first && i % part->period < part->last;
}

/* Computes the step with these inputs left out, or taken twice. */
static bool prove(const struct solve *solve, const struct part *part, uint32_t n_in, struct proof *proof)
{
    struct step step = *solve->evidence->step;
    uint32_t n_values =
        step.op == OP_expert_matmul && !step.params.expert_matmul.shared_x ? step.params.expert_matmul.k * n_in : n_in;
    struct op_row *rows = proof_rows(solve);
    float *x = proof_copy_input(solve, rows, 0, n_values);
    for (uint64_t at = 0; at < (uint64_t)solve->trial->rows.n * n_values; at++) {
        if (is_in(part, (uint32_t)(at % n_values % n_in))) {
            x[at] *= (float)part->count;
        }
    }
    if (part->no_bias) {
        step.weight[1] = NULL;
        if (step.op == OP_matmul) {
            step.params.matmul.has_bias = 0;
        } else {
            step.params.expert_matmul.has_bias = 0;
        }
    }
    struct candidate candidate = trial_candidate(solve->trial, &step);
    candidate.rows = rows;
    bool explains = proof_find(solve, &candidate, proof);
    free(x);
    free(rows);
    return explains;
}

/* Which inputs these are: "inputs 96 to 104, the last 9 of 105". */
static void tell_part(const struct solve *solve, const struct part *part, uint32_t n_in, char text[160])
{
    const struct step *from = &solve->evidence->plan->steps[solve->evidence->step->input[0]];
    uint32_t dim = from->op == OP_attention ? from->params.attention.dim : 0, n = part->last - part->first;
    if (part->period < n_in) {
        snprintf(text, 160, "of each %u inputs, those from %u to %u", part->period, part->first, part->last - 1);
    } else if (dim > 0 && part->first % dim == 0 && part->last % dim == 0) {
        snprintf(text, 160, "heads %u to %u (inputs %u to %u of %u)", part->first / dim, part->last / dim - 1,
                 part->first, part->last - 1, n_in);
    } else {
        snprintf(text, 160, "inputs %u to %u (%s%u of %u)", part->first, part->last - 1,
                 part->last == n_in ? "the last "
                 : part->first == 0 ? "the first "
                                    : "",
                 n, n_in);
    }
}

static void tell(const struct solve *solve, const struct part *part, uint32_t n_in, const struct proof *proof,
                 struct diagnosis *found)
{
    char which[160];
    uint32_t n = 0;
    for (uint32_t i = 0; i < n_in; i++) {
        n += is_in(part, i);
    }
    tell_part(solve, part, n_in, which);
    found->solved = solved_number(part->count == 0 ? "inputs in the sum" : "terms in the sum", n_in,
                                  part->count == 0 ? n_in - n : n_in + n);
    proof_tell(solve, proof, found, "The sum over the %u inputs %s: %s are %s%s.", n_in,
               part->count == 0 ? "is not complete" : "has terms twice", which,
               part->count == 0 ? "left out" : "counted twice", part->no_bias ? ", and so is the bias" : "");
}

/* One range, with and without the bias; then a range in each run of some length. */
static bool find_part(const struct solve *solve, struct search *search, struct part *part, struct proof *proof)
{
    uint32_t n_in = search->samples->n_in;
    search->least = search->samples->right_miss / 16;
    for (int no_bias = 0; no_bias <= (solve->evidence->step->weight[1] != NULL); no_bias++) {
        try_ranges(search, n_in, no_bias);
    }
    *part = search->best;
    if (part->last > 0 && prove(solve, part, n_in, proof)) {
        return true;
    }
    search->best = (struct part){0};
    search->least = search->samples->right_miss / 16;
    for (uint32_t period = 2; period <= n_in / 2 && period <= MOST_PERIOD && !stop_asked(); period++) {
        bool usual = period <= 64 || period % 16 == 0 || n_in % period == 0;
        if (usual) {
            try_ranges(search, period, false);
        }
    }
    *part = search->best;
    return part->last > 0 && prove(solve, part, n_in, proof);
}

bool solve_missing_terms(const struct solve *solve, struct diagnosis *found)
{
    struct product_samples samples;
    struct proof proof;
    struct part part;
    bool explains = product_samples_open(&samples, solve->evidence) && !samples.units && !proof_is_blank(solve);
    if (explains) {
        struct search search;
        search_open(&search, &samples);
        explains = find_part(solve, &search, &part, &proof);
        search_close(&search);
    }
    if (explains) {
        tell(solve, &part, samples.n_in, &proof, found);
    }
    product_samples_close(&samples);
    return explains;
}
