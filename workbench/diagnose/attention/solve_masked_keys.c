/* Masked keys that count, with their values and one score that is the same for all. With W and V the sums over visible
 * keys, M and N those over masked ones, and x = exp(score): y = (V + x N) / (W + x M), so x (N - y M) = y W - V, for
 * every head and dim. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/stop.h"
#include "workbench/diagnose/attention/attention_rows.h"

/* The keys of a row with their scores in place of q k. */
struct masked_row {
    struct attention_trial trial;
    uint32_t *keys;
    double *scores;
};

static void masked_row_open(struct masked_row *masked, const struct attention_row *a, double score)
{
    uint32_t n = a->end - a->first;
    *masked =
        (struct masked_row){.keys = xcalloc(n, sizeof(*masked->keys)), .scores = xcalloc(n, sizeof(*masked->scores))};
    for (uint32_t j = 0; j < n; j++) {
        uint32_t key = a->first + j;
        masked->keys[j] = key;
        masked->scores[j] = key >= a->right.first && key < a->right.end ? NAN : score;
    }
    masked->trial = (struct attention_trial){.keys = masked->keys, .n_keys = n, .scores = masked->scores};
}

static void masked_row_free(struct masked_row *masked)
{
    free(masked->keys);
    free(masked->scores);
}

/* x by least squares over a row's heads and dims; false: no key is masked. */
static bool solve_score(const struct attention_row *a, double *score)
{
    uint32_t dim = a->p->dim, n = a->end - a->first, shared = a->p->heads / a->p->kv_heads;
    uint32_t first = a->right.first - a->first, end = a->right.end - a->first;
    double above = 0, below = 0, masked = n - (end - first);
    for (uint32_t h = 0; h < a->p->heads; h++) {
        const double *weights = a->weights + (uint64_t)h * (n + 1), *values = a->values + (uint64_t)h * (n + 1) * dim;
        double w = weights[end] - weights[first] + exp(a->sinks[h] - a->largest[h]), unit = exp(-a->largest[h]);
        for (uint32_t i = 0; i < dim; i++) {
            double v = values[(uint64_t)end * dim + i] - values[(uint64_t)first * dim + i], sum = 0;
            double y = a->row->recorded[(uint64_t)h * dim + i];
            for (uint32_t j = 0; j < n; j++) {
                uint64_t at = ((uint64_t)(a->first + j) * a->p->kv_heads + h / shared) * dim + i;
                sum += j < first || j >= end ? a->row->in[2][at] : 0;
            }
            double slope = unit * (sum - y * masked);
            above += slope * (y * w - v);
            below += slope * slope;
        }
    }
    *score = log(above / below);
    return masked > 0 && above > 0 && below > 0;
}

/* The same from recorded probabilities: a masked key's to that of the row's own key, whose score is known. */
static bool read_score(const struct attention_row *a, uint32_t n_positions, double *score)
{
    uint32_t own = a->row->position, n = a->end - a->first;
    double most = 0;
    for (uint32_t h = 0; h < a->p->heads; h++) {
        const float *p = a->row->recorded + (uint64_t)h * n_positions;
        for (uint32_t j = 0; j < n; j++) {
            uint32_t key = a->first + j;
            if ((key < a->right.first || key >= a->right.end) && p[key] > most && p[own] > 0) {
                most = p[key];
                *score = a->scores[(uint64_t)h * n + own - a->first] + log(p[key] / p[own]);
            }
        }
    }
    return most > 0;
}

static bool prove(const struct solve *solve, double score, double *worst)
{
    uint32_t n = solve->trial->rows.n;
    struct masked_row *masked = xcalloc(n, sizeof(*masked));
    struct op_row *rows = xcalloc(n, sizeof(*rows));
    for (uint32_t i = 0; i < n; i++) {
        rows[i] = solve->trial->rows.rows[i];
        if (i < solve->trial->n_failing) {
            struct attention_row a;
            attention_row_open(&a, solve, &rows[i], false);
            masked_row_open(&masked[i], &a, score);
            attention_row_close(&a);
            rows[i].attention = &masked[i].trial;
        }
    }
    struct candidate candidate = trial_candidate(solve->trial, solve->evidence->step);
    candidate.rows = rows;
    bool explains = trial_explains(solve->trial, &candidate, solve->evidence, worst);
    for (uint32_t i = 0; i < n; i++) {
        masked_row_free(&masked[i]);
    }
    free(masked);
    free(rows);
    return explains;
}

bool solve_masked_keys(const struct solve *solve, struct diagnosis *found)
{
    const struct op_row *first = &solve->trial->rows.rows[0];
    const struct step *step = solve->evidence->step;
    double cap = attention_params_of(step)->softcap, score = 0, worst;
    if (!first->in[0] || !attention_row_is_small(solve)) {
        return false;
    }
    struct attention_row a;
    attention_row_open(&a, solve, first, true);
    bool solved = step->op == OP_attention ? solve_score(&a, &score)
                                           : read_score(&a, step->params.attention_probs.n_positions, &score);
    attention_row_close(&a);
    if (!solved) {
        return false;
    }
    char text[32];
    snprintf(text, sizeof(text), "%.3g", score);
    double taken = fabs(score) < 1e-3 ? 0 : strtod(text, NULL);
    if (!prove(solve, taken, &worst)) {
        return false;
    }
    found->solved = solved_number("score of masked keys", -INFINITY, taken);
    proof_tell(solve, &(struct proof){.worst = worst}, found,
               "Masked keys count in the softmax, with their values and a score of %g%s.", taken,
               cap != 0 && taken == -cap ? ", which is -softcap: the softcap comes after the mask" : "");
    return true;
}
