/* The softmax's denominator: what it holds besides the visible keys. Each head of a row is then off by one factor. With
 * W the sum of the visible keys' exponentials and u = V / W their mean of the values, the recorded y = V / (W + X): so
 * y = f u, and X = W (1/f - 1). A right op's X is exp(sink), or 0. X is then explained by a rule that holds for all
 * heads and rows; without one nothing is said, for other bugs leave factors as well. */
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/stop.h"
#include "workbench/diagnose/attention/denominators.h"

/* How far a solved count may be from a whole number; the proof then takes the whole number itself. */
#define COUNT_OFF 0.02

/* A score so far above all others that their shares are 0. */
#define NOTHING_LEFT 800

/* A head's sum of exponentials W of the visible keys; *uy and *uu: sums of u y and u u over dims or, for probabilities,
 * over keys. */
static double add_products(const struct attention_row *a, const struct step *step, uint32_t h, double largest,
                           double *uy, double *uu)
{
    uint32_t n = a->end - a->first, dim = a->p->dim, shared = a->p->heads / a->p->kv_heads;
    double sum = 0, *u = xcalloc(dim, sizeof(*u));
    for (uint32_t key = a->right.first; key < a->right.end; key++) {
        double weight = exp(a->scores[(uint64_t)h * n + key - a->first] - largest);
        sum += weight;
        if (step->op == OP_attention) {
            const float *v = a->row->in[2] + ((uint64_t)key * a->p->kv_heads + h / shared) * dim;
            for (uint32_t i = 0; i < dim; i++) {
                u[i] += weight * v[i];
            }
        } else {
            *uy += weight * a->row->recorded[(uint64_t)h * step->params.attention_probs.n_positions + key];
            *uu += weight * weight;
        }
    }
    for (uint32_t i = 0; i < dim && step->op == OP_attention; i++) {
        *uy += u[i] * a->row->recorded[(uint64_t)h * dim + i];
        *uu += u[i] * u[i];
    }
    *uy /= sum;
    *uu /= sum * sum;
    free(u);
    return sum;
}

static void solve_row(struct denominator *row, const struct solve *solve, const struct op_row *op_row)
{
    struct attention_row a;
    const struct step *step = solve->evidence->step;
    attention_row_open(&a, solve, op_row, false);
    uint32_t heads = a.p->heads, n = a.end - a.first;
    double *numbers = xcalloc((uint64_t)5 * heads, sizeof(*numbers));
    *row = (struct denominator){.position = op_row->position,
                                .largest = numbers,
                                .own = numbers + heads,
                                .sink = numbers + 2 * (uint64_t)heads,
                                .extra = numbers + 3 * (uint64_t)heads,
                                .known = numbers + 4 * (uint64_t)heads};
    for (uint32_t h = 0; h < heads; h++) {
        double uy = 0, uu = 0;
        row->own[h] = -INFINITY;
        for (uint32_t j = a.right.first; j < a.right.end; j++) {
            row->own[h] = fmax(row->own[h], a.scores[(uint64_t)h * n + j - a.first]);
        }
        row->largest[h] = fmax(row->own[h], a.sinks[h]);
        double sum = add_products(&a, step, h, row->largest[h], &uy, &uu);
        row->sink[h] = exp(a.sinks[h] - row->largest[h]);
        row->extra[h] = sum * (uu / uy - 1);
        row->known[h] = fabs(row->extra[h]) / (sum + fabs(row->extra[h]));
    }
    attention_row_close(&a);
}

double denominator_score(const struct denominator *row, uint32_t h, double extra)
{
    return extra > 0 ? row->largest[h] + fmin(log(extra), NOTHING_LEFT) : -INFINITY;
}

/* Whether all rows come out as recorded by these attentions. */
static bool prove(const struct denominators *d, const struct attention_trial *trials, double *worst)
{
    const struct op_trial *trial = d->solve->trial;
    struct op_row *rows = xcalloc(trial->rows.n, sizeof(*rows));
    memcpy(rows, trial->rows.rows, trial->rows.n * sizeof(*rows));
    for (uint32_t i = 0; i < d->n; i++) {
        rows[i].attention = &trials[i];
    }
    struct candidate candidate = trial_candidate(trial, d->solve->evidence->step);
    candidate.rows = rows;
    bool explains = trial_explains(d->solve->trial, &candidate, d->solve->evidence, worst);
    free(rows);
    return explains;
}

bool denominators_prove(const struct denominators *d, double *worst)
{
    struct attention_trial *trials = xcalloc(d->n, sizeof(*trials));
    for (uint32_t i = 0; i < d->n; i++) {
        trials[i].sinks = d->sinks + (uint64_t)i * d->heads;
    }
    bool explains = prove(d, trials, worst);
    free(trials);
    return explains;
}

/* The unit in which a rule counts what is besides the right sink (or X as a whole): its score in a row's head. */
typedef double unit_function(const struct denominators *d, const struct denominator *row, uint32_t head);

static double unit_sink(const struct denominators *d, const struct denominator *row, uint32_t h)
{
    (void)d;
    return row->largest[h] + log(row->sink[h]);
}

static double unit_score_0(const struct denominators *d, const struct denominator *row, uint32_t h)
{
    (void)d;
    (void)row;
    (void)h;
    return 0;
}

static double unit_largest(const struct denominators *d, const struct denominator *row, uint32_t h)
{
    (void)d;
    return row->own[h];
}

static double unit_minus_cap(const struct denominators *d, const struct denominator *row, uint32_t h)
{
    (void)row;
    (void)h;
    return -attention_params_of(d->solve->evidence->step)->softcap;
}

/* exp(sink) is added where exp(sink - largest) belongs. */
static double unit_unscaled_sink(const struct denominators *d, const struct denominator *row, uint32_t h)
{
    (void)d;
    return row->largest[h] + log(row->sink[h]) + row->own[h];
}

/* The count of units in a row: the mean over heads, weighted by how clearly each shows it. of_all: of X, in place of
 * what is in X besides the right sink. */
static double count_of(const struct denominators *d, uint32_t i, unit_function *unit, bool of_all)
{
    const struct denominator *row = &d->rows[i];
    double sum = 0, weights = 0;
    for (uint32_t h = 0; h < d->heads; h++) {
        double one = exp(unit(d, row, h) - row->largest[h]), extra = row->extra[h] - (of_all ? 0 : row->sink[h]);
        double weight = one / (1 + one) * (one / (1 + one));
        if (isfinite(extra) && isfinite(weight)) { /* else the head's values have no share, and tell nothing */
            sum += weight * extra / one;
            weights += weight;
        }
    }
    return sum / weights;
}

/* Sets d->sinks to those of a count in each row. */
static void set_counts(struct denominators *d, unit_function *unit, bool of_all, const double *counts)
{
    for (uint32_t i = 0; i < d->n; i++) {
        const struct denominator *row = &d->rows[i];
        for (uint32_t h = 0; h < d->heads; h++) {
            double score = unit(d, row, h), extra = counts[i] * exp(score - row->largest[h]);
            extra += of_all ? 0 : row->sink[h];
            d->sinks[(uint64_t)i * d->heads + h] =
                isinf(extra) ? score + log(counts[i]) : denominator_score(row, h, extra);
        }
    }
}

/* In words, how counts follow from positions: "11 of them in every such row". */
static void describe_counts(const struct denominators *d, const double *counts, char text[160])
{
    bool same = true, fills = true;
    for (uint32_t i = 0; i < d->n; i++) {
        same &= counts[i] == counts[0];
        fills &= counts[i] + d->rows[i].position == counts[0] + d->rows[0].position;
    }
    if (same) {
        snprintf(text, 160, "%g in every such row", counts[0]);
        return;
    }
    if (fills) {
        snprintf(text, 160, "as many as fill up %g positions, %g in row %u", counts[0] + d->rows[0].position + 1,
                 counts[0], d->rows[0].position);
        return;
    }
    for (uint32_t tile = 2; tile <= 1024; tile++) {
        uint32_t i = 0;
        while (i < d->n && (counts[i] == tile - 1 - d->rows[i].position % tile)) {
            i++;
        }
        if (i == d->n) {
            snprintf(text, 160, "as many as fill up the last tile of %u, %g in row %u", tile, counts[0],
                     d->rows[0].position);
            return;
        }
    }
    snprintf(text, 160, "%g in row %u, %g in row %u", counts[0], d->rows[0].position, counts[d->n - 1],
             d->rows[d->n - 1].position);
}

static const struct rule {
    unit_function *unit;
    bool needs_sinks, needs_cap;
    bool of_all; /* the count is of X as a whole, whose right value is 1 */
    const char *name, *text;
} rules[] = {
    {unit_sink, true, false, true, "times that the sink counts", "The softmax's denominator holds the sink"},
    {unit_score_0, false, false, false, "keys of score 0 in the denominator",
     "The softmax's denominator holds keys that are not there, with a score of 0 and no value (padding)"},
    {unit_minus_cap, false, true, false, "keys of score -softcap in the denominator",
     "The softmax's denominator holds keys that are masked, with a score of -softcap and no value: the softcap comes "
     "after the mask"},
    {unit_largest, false, false, false, "exp(0) in the denominator",
     "The softmax's denominator holds exp(0) besides, for keys that are not there (their scores are 0 after the "
     "largest "
     "was subtracted)"},
    {unit_unscaled_sink, true, false, true, "exp(sink) in the denominator",
     "The softmax's denominator holds exp(sink) where exp(sink - largest score) belongs"},
};

static void describe_rule(const struct denominators *d, const struct rule *rule, const double *counts, double worst,
                          struct diagnosis *found)
{
    char text[160] = "";
    found->solved = solved_number(rule->name, rule->of_all, counts[0]);
    describe_counts(d, counts, text);
    if (rule->unit == unit_unscaled_sink) {
        proof_tell(d->solve, &(struct proof){.worst = worst}, found, "%s.", rule->text);
    } else {
        proof_tell(d->solve, &(struct proof){.worst = worst}, found, "%s%s: %s.", rule->text,
                   rule->unit == unit_sink ? " not once but so many times" : "", text);
    }
}

/* Whether counts are not those of the right op, and explain all rows. */
static bool try_counts(struct denominators *d, const struct rule *rule, const double *counts, struct diagnosis *found)
{
    double right = rule->unit == unit_unscaled_sink ? NAN : rule->of_all, worst;
    if (counts[0] == right) {
        return false;
    }
    set_counts(d, rule->unit, rule->of_all, counts);
    if (!denominators_prove(d, &worst)) {
        return false;
    }
    describe_rule(d, rule, counts, worst, found);
    return true;
}

/* Counts that follow from the position p by one number: the same in every row; what fills up k positions; what fills up
 * the last tile of k. For recorded values that are too coarse to solve each row's count. */
static bool try_regular_counts(struct denominators *d, const struct rule *rule, const double *solved, double *counts,
                               struct diagnosis *found)
{
    double mean = 0, filled = 0;
    for (uint32_t i = 0; i < d->n; i++) {
        mean += solved[i] / d->n;
        filled += (solved[i] + d->rows[i].position) / d->n;
    }
    for (uint32_t way = 0; way < 12; way++) {
        uint32_t tile = 2u << (way < 2 ? 0 : way - 2);
        for (uint32_t i = 0; i < d->n; i++) {
            uint32_t position = d->rows[i].position;
            counts[i] = way == 0   ? round(mean)
                        : way == 1 ? round(filled) - position
                                   : (double)(tile - 1 - position % tile);
        }
        if (try_counts(d, rule, counts, found)) {
            return true;
        }
    }
    return false;
}

/* whole: counts are whole numbers, as those of keys are; else any one number for all rows. */
static bool try_rule(struct denominators *d, const struct rule *rule, bool whole, struct diagnosis *found)
{
    double *solved = xcalloc(d->n, sizeof(*solved)), *counts = xcalloc(d->n, sizeof(*counts));
    bool all_whole = true, same = rule->unit == unit_sink || rule->unit == unit_largest, explains;
    for (uint32_t i = 0; i < d->n; i++) {
        solved[i] = count_of(d, i, rule->unit, rule->of_all);
        counts[i] = round(solved[i]) + 0.0; /* no -0 */
        all_whole &= fabs(solved[i] - counts[i]) < COUNT_OFF && fabs(counts[i]) < 1e6;
        same &= solved[i] > 0 && fabs(solved[i] - solved[0]) < 1e-3 * solved[0];
    }
    if (whole) {
        explains =
            (all_whole && try_counts(d, rule, counts, found)) || try_regular_counts(d, rule, solved, counts, found);
    } else {
        for (uint32_t i = 0; i < d->n; i++) {
            counts[i] = solved[0];
        }
        explains = same && try_counts(d, rule, counts, found);
    }
    free(counts);
    free(solved);
    return explains;
}

static bool try_rules(struct denominators *d, bool whole, struct diagnosis *found)
{
    const struct attention_params *p = attention_params_of(d->solve->evidence->step);
    bool explains = false;
    for (size_t i = 0; i < sizeof(rules) / sizeof(*rules) && !explains; i++) {
        bool applies = (!rules[i].needs_sinks || p->has_sinks) && (!rules[i].needs_cap || p->softcap != 0);
        explains = applies && try_rule(d, &rules[i], whole, found);
    }
    return explains;
}

static bool solve_rows(struct denominators *d)
{
    double worst;
    for (uint32_t i = 0; i < d->n && !stop_asked(); i++) {
        struct denominator *row = &d->rows[i];
        solve_row(row, d->solve, &d->solve->trial->rows.rows[i]);
        for (uint32_t h = 0; h < d->heads; h++) {
            d->sinks[(uint64_t)i * d->heads + h] = denominator_score(row, h, row->extra[h]);
        }
        const struct attention_trial trial = {.sinks = d->sinks + (uint64_t)i * d->heads};
        if (!attention_row_fits(d->solve, &d->solve->trial->rows.rows[i], &trial)) {
            return false;
        }
    }
    return !stop_asked() && denominators_prove(d, &worst);
}

bool solve_softmax_denominator(const struct solve *solve, struct diagnosis *found)
{
    const struct attention_params *p = attention_params_of(solve->evidence->step);
    uint32_t n = solve->trial->n_failing;
    if (!solve->trial->rows.rows[0].in[0] || !attention_row_is_small(solve)) {
        return false;
    }
    struct denominators d = {.solve = solve,
                             .n = n,
                             .heads = p->heads,
                             .has_sinks = p->has_sinks,
                             .rows = xcalloc(n, sizeof(*d.rows)),
                             .sinks = xcalloc((uint64_t)n * p->heads, sizeof(*d.sinks))};
    bool explains = false;
    if (solve_rows(&d)) {
        explains = try_rules(&d, true, found) || try_rules(&d, false, found) || sinks_find(&d, found);
    }
    for (uint32_t i = 0; i < n; i++) {
        free(d.rows[i].largest);
    }
    free(d.rows);
    free(d.sinks);
    return explains;
}
