/* topk: indices of the k largest x, in descending order. topk_softmax: their softmax, in the same order. This is the
 * router of a mixture of experts that chooses first and normalises then (GPT-OSS; Shazeer et al. 2017 normalise first).
 */
#include <math.h>
#include <stdlib.h>

#include "model/error.h"
#include "reference/bounds.h"
#include "reference/op.h"

/* Fills places[k]. Among equals the lower index comes first. A NaN is never larger. */
static void choose(const float *x, uint32_t n, uint32_t k, uint32_t *places)
{
    ASSERT(k <= n);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t at = i < k ? i : k;
        while (at > 0 && (x[i] > x[places[at - 1]] || (isnan(x[places[at - 1]]) && !isnan(x[i])))) {
            if (at < k) {
                places[at] = places[at - 1];
            }
            at--;
        }
        if (at < k) {
            places[at] = i;
        }
    }
}

/* Whether the recorded choice j is as good as ours: its x is equal (or may be equal, where x is not exact), and it was
 * not chosen before. */
static bool ties(const float *x, const double *error, uint32_t n, const float *recorded, uint32_t j, uint32_t ours)
{
    if (!(recorded[j] >= 0 && recorded[j] < n) || recorded[j] != floorf(recorded[j])) {
        return false;
    }
    for (uint32_t i = 0; i < j; i++) {
        if (recorded[i] == recorded[j]) {
            return false;
        }
    }
    double apart = fabs((double)x[(uint32_t)recorded[j]] - x[ours]);
    return error ? apart <= error[(uint32_t)recorded[j]] + error[ours] : apart == 0;
}

/* How far a choice from inexact x can be off when none was recorded: 0 only if no other index can take slot j. */
static double doubt(const struct op_row *row, uint32_t n, const uint32_t *places, uint32_t j)
{
    const float *x = row->in[0];
    for (uint32_t i = 0; i < n; i++) {
        double apart = fabs((double)x[i] - x[places[j]]);
        if (i != places[j] && apart <= row->error[0][i] + row->error[0][places[j]]) {
            return INFINITY;
        }
    }
    return 0;
}

/* Indices are exact: the bound is 0. In bf16 about 6% of rows have ties, and any order among equals is right. */
void reference_topk(const struct op_batch *batch)
{
    const struct topk_params *p = &batch->step->params.topk;
    uint32_t *places = xcalloc(p->k, sizeof(*places));
    for (uint32_t r = 0; r < batch->n_rows; r++) {
        const struct op_row *row = &batch->rows[r];
        choose(row->in[0], p->n, p->k, places);
        for (uint32_t j = 0; j < p->k; j++) {
            uint64_t at = (uint64_t)r * p->k + j;
            bool tie = row->recorded && ties(row->in[0], row->error[0], p->n, row->recorded, j, places[j]);
            batch->y[at] = tie ? (double)row->recorded[j] : places[j];
            if (batch->bound) {
                batch->bound[at] = row->error[0] && !row->recorded ? doubt(row, p->n, places, j) : 0;
            }
        }
    }
    free(places);
}

/* Sum of exp(x - max) over the k chosen, or over all. */
static double softmax_sum(const float *x, double max, const uint32_t *places, uint32_t n)
{
    double sum = 0;
    for (uint32_t j = 0; j < n; j++) {
        sum += exp(x[places ? places[j] : j] - max);
    }
    return sum;
}

/* Sorted values move by at most the largest error of x, and their differences by at most twice that, which is a factor
 * of p. */
static double passed_on(const double *error, uint32_t n)
{
    double most = 0;
    for (uint32_t i = 0; error && i < n; i++) {
        most = fmax(most, error[i]);
    }
    return expm1(2 * fmin(most, 250));
}

/* p = exp(x - max) / sum. exp is off by (2 + d) u, d = max - x, which is rounded and stored before; the sum of k
 * positive terms; the division; the stores of the exponential, the sum and p. */
void reference_topk_softmax(const struct op_batch *batch)
{
    const struct topk_softmax_params *p = &batch->step->params.topk_softmax;
    bool all = batch->step->variant == VARIANT_SOFTMAX_FIRST;
    uint32_t further = all ? p->n - p->k : 0; /* further additions in the sum, each of which rounds */
    uint32_t *places = xcalloc(p->k, sizeof(*places));
    for (uint32_t r = 0; r < batch->n_rows; r++) {
        const struct op_row *row = &batch->rows[r];
        double *y = batch->y + (uint64_t)r * p->k;
        choose(row->in[0], p->n, p->k, places);
        double max = row->in[0][places[0]];
        double sum = all ? softmax_sum(row->in[0], max, NULL, p->n) : softmax_sum(row->in[0], max, places, p->k);
        for (uint32_t j = 0; j < p->k; j++) {
            double below = max - row->in[0][places[j]];
            y[j] = exp(-below) / sum;
            if (batch->bound) {
                batch->bound[(uint64_t)r * p->k + j] =
                    y[j] * (row->arith->u_sum * (14 + further + 4 * below) + row->arith->u_storage * (3 + 2 * below) +
                            passed_on(row->error[0], p->n)) +
                    row->arith->eta;
            }
        }
    }
    free(places);
}
