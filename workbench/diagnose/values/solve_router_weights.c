/* The weights of the chosen experts by another formula of the router's logits. */
#include <math.h>
#include <stdlib.h>

#include "workbench/diagnose/numbers/config_parameters.h"
#include "workbench/diagnose/proof.h"

/* The weight of a chosen expert before the weights are divided by `sum`, and of any expert. */
typedef double weight_function(double logit, double largest);

static double of_sigmoid(double logit, double largest)
{
    (void)largest;
    return 1 / (1 + exp(-logit));
}

static double of_logit(double logit, double largest)
{
    (void)largest;
    return logit;
}

static double of_one(double logit, double largest)
{
    (void)logit;
    (void)largest;
    return 1;
}

static double of_exponential(double logit, double largest)
{
    return exp(logit - largest);
}

static double of_exponential_of_sigmoid(double logit, double largest)
{
    return exp(of_sigmoid(logit, 0) - of_sigmoid(largest, 0));
}

enum sum { SUM_ONE, SUM_CHOSEN, SUM_ALL, SUM_ROOT_OF_SQUARES };

static const struct formula {
    weight_function *weight;
    enum sum sum; /* what weights are divided by */
    bool twice;   /* a softmax of these weights follows */
    const char *text;
    double times; /* logits are multiplied by it */
} formulas[] = {
    {of_sigmoid, SUM_CHOSEN, false, "The weights are sigmoids of the logits, divided by their sum", 1},
    {of_sigmoid, SUM_ONE, false, "The weights are sigmoids of the logits, not divided by their sum", 1},
    {of_exponential_of_sigmoid, SUM_CHOSEN, false, "The weights are the softmax of the logits' sigmoids", 1},
    {of_exponential, SUM_CHOSEN, true, "The softmax over the chosen experts is taken twice", 1},
    {of_exponential, SUM_ALL, true, "The softmax over all experts is followed by one over the chosen ones", 1},
    {of_logit, SUM_ONE, false, "The weights are the logits themselves, without a softmax", 1},
    {of_logit, SUM_CHOSEN, false, "The weights are the logits divided by their sum, without a softmax", 1},
    {of_exponential, SUM_ROOT_OF_SQUARES, false,
     "The softmax's weights are divided by the root of their squares' sum instead of by their sum", 1},
    {of_sigmoid, SUM_ROOT_OF_SQUARES, false,
     "The weights are sigmoids of the logits, divided by the root of their "
     "squares' sum",
     1},
    {of_one, SUM_CHOSEN, false, "All chosen experts weigh the same", 1},
    {of_one, SUM_ONE, false, "All chosen experts have a weight of 1", 1},
};

/* One row's weights, and how far rounding may move them. */
static void weigh(const struct formula *formula, const struct topk_softmax_params *p, const struct op_row *row,
                  const uint32_t *places, double *y, double *error)
{
    const float *logits = row->in[0];
    double largest = -INFINITY, size = 0, sum = 0, after = 0, times = formula->times;
    for (uint32_t i = 0; i < p->n; i++) {
        largest = fmax(largest, times * logits[i]);
        size = fmax(size, fabs(times * logits[i]));
    }
    for (uint32_t i = 0; i < (formula->sum == SUM_ALL ? p->n : p->k); i++) {
        double weight = formula->weight(times * logits[formula->sum == SUM_ALL ? i : places[i]], largest);
        sum += formula->sum == SUM_ROOT_OF_SQUARES ? weight * weight : weight;
    }
    sum = formula->sum == SUM_ROOT_OF_SQUARES ? sqrt(sum) : sum;
    for (uint32_t j = 0; j < p->k; j++) {
        y[j] = formula->weight(times * logits[places[j]], largest) / (formula->sum == SUM_ONE ? 1 : sum);
        y[j] = formula->twice ? exp(y[j]) : y[j];
        after += y[j];
    }
    for (uint32_t j = 0; j < p->k; j++) { /* exp is off by (2 + |x|) u, a sum by an addition for each term */
        y[j] /= formula->twice ? after : 1;
        error[j] = 0x1p-24 * (14 + p->n + 8 * size) * fabs(y[j]);
    }
}

/* The recorded choice, or the largest logits in descending order. */
static void find_places(const struct topk_softmax_params *p, const struct op_row *row, uint32_t *places)
{
    for (uint32_t j = 0; j < p->k; j++) {
        uint32_t best = UINT32_MAX;
        for (uint32_t i = 0; i < p->n; i++) {
            bool taken = false;
            for (uint32_t k = 0; k < j; k++) {
                taken |= places[k] == i;
            }
            best = !taken && (best == UINT32_MAX || row->in[0][i] > row->in[0][best]) ? i : best;
        }
        places[j] = row->places ? (uint32_t)row->places[j] : best;
    }
}

/* The factor of the logits, from the chosen two whose logits are furthest apart: a temperature. 0: they do not tell. */
static double read_times(const struct solve *solve, const uint32_t *places)
{
    const struct topk_softmax_params *p = &solve->evidence->step->params.topk_softmax;
    double furthest = 0, times = 0;
    for (uint32_t i = 0; i < solve->trial->n_failing; i++) {
        const struct op_row *row = &solve->trial->rows.rows[i];
        for (uint32_t j = 1; j < p->k; j++) {
            const uint32_t *at = places + (uint64_t)i * p->k;
            double apart = row->in[0][at[0]] - row->in[0][at[j]], ratio = row->recorded[0] / row->recorded[j];
            if (fabs(apart) > furthest && ratio > 0) {
                furthest = fabs(apart);
                times = log(ratio) / apart;
            }
        }
    }
    double rounded = round_digits(times, 3);
    return fabs(rounded - times) < 1e-4 * fabs(times) ? rounded : isfinite(times) ? times : 0;
}

bool solve_router_weights(const struct solve *solve, struct diagnosis *found)
{
    const struct topk_softmax_params *p = &solve->evidence->step->params.topk_softmax;
    uint32_t n = solve->trial->rows.n;
    double *y = xcalloc((uint64_t)n * p->k, sizeof(*y)), *error = xcalloc((uint64_t)n * p->k, sizeof(*error));
    uint32_t *places = xcalloc((uint64_t)n * p->k, sizeof(*places));
    bool explains = false;
    for (uint32_t i = 0; i < n; i++) {
        find_places(p, &solve->trial->rows.rows[i], places + (uint64_t)i * p->k);
    }
    for (size_t f = 0; f < sizeof(formulas) / sizeof(*formulas) && p->k > 1 && !explains; f++) {
        struct proof proof;
        for (uint32_t i = 0; i < n; i++) {
            uint64_t at = (uint64_t)i * p->k;
            weigh(&formulas[f], p, &solve->trial->rows.rows[i], places + at, y + at, error + at);
        }
        explains = proof_of_values(solve, y, error, &proof);
        if (explains) {
            proof_tell(solve, &proof, found, "%s.", formulas[f].text);
        }
    }
    struct formula scaled = {of_exponential, SUM_CHOSEN, false, "", read_times(solve, places)};
    for (unsigned all = 0; all < 2 && p->k > 1 && !explains && scaled.times != 0 && scaled.times != 1; all++) {
        struct proof proof;
        scaled.sum = all ? SUM_ALL : SUM_CHOSEN;
        for (uint32_t i = 0; i < n; i++) {
            uint64_t at = (uint64_t)i * p->k;
            weigh(&scaled, p, &solve->trial->rows.rows[i], places + at, y + at, error + at);
        }
        explains = proof_of_values(solve, y, error, &proof);
        if (explains) {
            found->solved = solved_number("factor of the router's logits", 1, scaled.times);
            proof_tell(solve, &proof, found, "The router's logits are multiplied by %.6g before the softmax over %s.",
                       scaled.times, all ? "all experts" : "the chosen ones");
        }
    }
    free(places);
    free(error);
    free(y);
    return explains;
}
