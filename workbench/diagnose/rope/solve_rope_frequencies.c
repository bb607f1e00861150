/* Frequencies: every row is turned by position times frequency, with other frequencies than MODEL's: solved pair by
 * pair from all failing rows, then explained where they are the right ones rounded, or those of another parameter. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/stop.h"
#include "workbench/diagnose/rope/rope_turns.h"

#define FEWEST_ROWS 3 /* one row would give some frequency for any angle */

/* Roundings of the rope: what is rounded, in all combinations, the fewest first. */
enum { POSITION = 1, FREQUENCY = 2, ANGLE = 4, TABLE = 8, ALL = 15 };

static bool try_rounding(const struct solve *solve, unsigned what, enum rounding_type type, struct diagnosis *found)
{
    static const char *const names[] = {"positions", "frequencies", "angles", "cos and sin"};
    const struct rope_trial trial = {.position = what & POSITION ? type : 0,
                                     .frequency = what & FREQUENCY ? type : 0,
                                     .angle = what & ANGLE ? type : 0,
                                     .table = what & TABLE ? type : 0};
    double worst;
    if (!rope_explains(solve, solve->evidence->step, &trial, true, &worst)) {
        return false;
    }
    char list[64] = "";
    size_t length = 0;
    for (unsigned i = 0; i < 4; i++) {
        if (what & 1u << i) {
            length += (size_t)snprintf(list + length, sizeof(list) - length, "%s%s", length ? ", " : "", names[i]);
        }
    }
    snprintf(found->fault, sizeof(found->fault), "rope-%s-%s", what == TABLE ? "tables" : "angles",
             type == ROUNDING_BF16 ? "bf16" : "f16");
    proof_tell(solve, &(struct proof){.worst = worst}, found,
               "Precision, not a bug: rope's %s are rounded to %s, which the trace does not declare.", list,
               rounding_name(type));
    return true;
}

bool solve_rope_precision(const struct solve *solve, struct diagnosis *found)
{
    static const unsigned orders[] = {TABLE,
                                      FREQUENCY,
                                      ANGLE,
                                      POSITION,
                                      FREQUENCY | TABLE,
                                      ANGLE | TABLE,
                                      POSITION | TABLE,
                                      FREQUENCY | ANGLE,
                                      POSITION | FREQUENCY,
                                      POSITION | ANGLE,
                                      FREQUENCY | ANGLE | TABLE,
                                      POSITION | FREQUENCY | ANGLE,
                                      POSITION | FREQUENCY | TABLE,
                                      POSITION | ANGLE | TABLE,
                                      ALL};
    for (size_t i = 0; i < sizeof(orders) / sizeof(*orders) && !stop_asked(); i++) {
        if (try_rounding(solve, orders[i], ROUNDING_BF16, found) ||
            try_rounding(solve, orders[i], ROUNDING_F16, found)) {
            return true;
        }
    }
    return false;
}

/* The frequency of a pair: from two rows at neighbouring positions (or position 1 alone), then by least squares over
 * all rows, whose angles are unrolled by what is known of it so far. */
static double solve_frequency(const struct rope_turns *turns, uint32_t pair)
{
    double frequency = NAN, above = 0, below = 0;
    for (uint32_t i = 0; i < turns->n && isnan(frequency); i++) {
        double angle = turns->angle[(uint64_t)i * turns->pairs + pair];
        if (turns->rows[i].position == 1) {
            frequency = angle;
        } else if (i > 0 && turns->rows[i].position == turns->rows[i - 1].position + 1) {
            frequency = remainder(angle - turns->angle[(uint64_t)(i - 1) * turns->pairs + pair], 2 * M_PI);
        }
    }
    for (uint32_t i = 0; i < turns->n; i++) {
        uint64_t at = (uint64_t)i * turns->pairs + pair;
        double position = turns->rows[i].position, unrolled = position * frequency;
        unrolled += remainder(turns->angle[at] - unrolled, 2 * M_PI);
        above += turns->weight[at] * position * unrolled;
        below += turns->weight[at] * position * position;
        frequency = below > 0 ? above / below : frequency;
    }
    return frequency;
}

/* The factor of cos and sin: the mean over rows and pairs. */
static double solve_scale(const struct rope_turns *turns)
{
    double sum = 0, weights = 0;
    for (uint64_t at = 0; at < (uint64_t)turns->n * turns->pairs; at++) {
        sum += turns->weight[at] * turns->scale[at];
        weights += turns->weight[at];
    }
    return sum / weights;
}

/* Rope's other formulas with MODEL's numbers, and usual numbers of them. */
static bool try_formulas(const struct solve *solve, struct diagnosis *found)
{
    static const struct {
        float low, high; /* 0: MODEL's */
        bool truncate, swap;
        const char *text;
    } formulas[] = {
        {0, 0, true, false, "YaRN's correction range is %srounded to whole dims where MODEL's is %srounded"},
        {1, 32, false, false, "YaRN's beta_fast and beta_slow are 32 and 1 (the usual ones), not MODEL's"},
        {0, 0, false, true, "the two limits of the scaled frequencies are exchanged"},
        {1, 4, false, false, "low_freq_factor and high_freq_factor are 1 and 4 (the usual ones), not MODEL's"},
    };
    const struct rope_params *right = &solve->evidence->step->params.rope;
    for (size_t i = 0; i < sizeof(formulas) / sizeof(*formulas); i++) {
        struct step step = *solve->evidence->step;
        struct rope_params *p = &step.params.rope;
        double worst;
        p->truncate ^= formulas[i].truncate;
        p->low = formulas[i].low != 0 ? formulas[i].low : formulas[i].swap ? right->high : right->low;
        p->high = formulas[i].high != 0 ? formulas[i].high : formulas[i].swap ? right->low : right->high;
        const struct candidate candidate = trial_candidate(solve->trial, &step);
        if ((right->type != ROPE_TYPE_YARN && right->type != ROPE_TYPE_LLAMA3) ||
            (formulas[i].truncate && right->type != ROPE_TYPE_YARN) ||
            !trial_explains(solve->trial, &candidate, solve->evidence, &worst)) {
            continue;
        }
        char text[200];
        snprintf(text, sizeof(text), formulas[i].text, p->truncate ? "" : "not ", right->truncate ? "" : "not ");
        if (formulas[i].truncate) {
            found->solved = solved_number("truncate", right->truncate, p->truncate);
            snprintf(found->fault, sizeof(found->fault), "wrong-yarn-truncate");
        }
        proof_tell(solve, &(struct proof){.worst = worst}, found, "%s.", text);
        return true;
    }
    return false;
}

/* Whether the solved frequencies are theta^-(2i/dim) / factor: a straight line of their logarithms. */
static bool try_theta_and_factor(const struct rope_turns *turns, const double *frequencies, double scale,
                                 struct diagnosis *found)
{
    double n = turns->pairs, x = 0, y = 0, xx = 0, xy = 0;
    for (uint32_t i = 0; i < turns->pairs; i++) {
        double exponent = 2.0 * i / turns->p->dim, logarithm = log(frequencies[i]);
        x += exponent, y += logarithm, xx += exponent * exponent, xy += exponent * logarithm;
    }
    double slope = (n * xy - x * y) / (n * xx - x * x), start = (y - slope * x) / n, worst;
    char theta[32], factor[32];
    snprintf(theta, sizeof(theta), "%.4g", exp(-slope));
    snprintf(factor, sizeof(factor), "%.4g", exp(-start));
    struct step step = *turns->solve->evidence->step;
    step.params.rope.type = ROPE_TYPE_LINEAR;
    step.params.rope.theta = strtof(theta, NULL);
    step.params.rope.factor = strtof(factor, NULL);
    step.params.rope.scale = (float)scale;
    const struct candidate candidate = trial_candidate(turns->solve->trial, &step);
    if (!isfinite(slope) || !isfinite(start) ||
        !trial_explains(turns->solve->trial, &candidate, turns->solve->evidence, &worst)) {
        return false;
    }
    found->solved = solved_number("rope_theta", turns->p->theta, step.params.rope.theta);
    proof_tell(turns->solve, &(struct proof){.worst = worst}, found,
               "rope_theta is %s and positions are divided by %s, where MODEL has rope_theta %g%s.", theta, factor,
               turns->p->theta, turns->p->type == ROPE_TYPE_DEFAULT ? "" : " and a rope scaling");
    return true;
}

/* Pairs whose frequency differs, as "3-7", and the largest change of one. */
static void describe_pairs(const struct rope_turns *turns, const double *frequencies, double scale,
                           struct diagnosis *found, double worst)
{
    uint32_t first = turns->pairs, last = 0, most = 0;
    double largest = 0;
    for (uint32_t i = 0; i < turns->pairs; i++) {
        double ratio = frequencies[i] / turns->frequencies[i];
        if (fabs(ratio - 1) > 1e-4) {
            first = i < first ? i : first;
            last = i;
        }
        if (fabs(ratio - 1) > largest) {
            largest = fabs(ratio - 1);
            most = i;
        }
    }
    char also[80] = "";
    if (fabs(scale / turns->p->scale - 1) > 1e-5) {
        snprintf(also, sizeof(also), ", and cos and sin are multiplied by %.6g in place of %.6g", scale,
                 turns->p->scale);
    }
    snprintf(found->solved.name, sizeof(found->solved.name), "frequency of pair %u", most);
    found->solved.expected = turns->frequencies[most];
    found->solved.found = frequencies[most];
    proof_tell(turns->solve, &(struct proof){.worst = worst}, found,
               "Rope's frequencies are not MODEL's: pairs %u-%u of %u turn at another speed, pair %u at %.6g of its "
               "own%s. Look at rope's scaling.",
               first, last, turns->pairs, most, frequencies[most] / turns->frequencies[most], also);
}

/* A slow pair's frequency is solved less well than a fast one's. Those that are near the right ones are the right ones,
 * if all rows come out with them. */
static void keep_right_ones(const struct rope_turns *turns, const struct step *step, double *frequencies, double *worst)
{
    static const double near[] = {0.1, 0.03, 0.01, 0.003, 0.001, 3e-4, 1e-4};
    double *kept = xcalloc(turns->pairs, sizeof(*kept));
    for (size_t k = 0; k < sizeof(near) / sizeof(*near); k++) {
        for (uint32_t i = 0; i < turns->pairs; i++) {
            bool is_near = fabs(frequencies[i] / turns->frequencies[i] - 1) < near[k];
            kept[i] = is_near ? turns->frequencies[i] : frequencies[i];
        }
        const struct rope_trial trial = {.frequencies = kept};
        double with_kept;
        if (rope_explains(turns->solve, step, &trial, true, &with_kept)) {
            memcpy(frequencies, kept, turns->pairs * sizeof(*kept));
            *worst = with_kept;
            break;
        }
    }
    free(kept);
}

bool solve_rope_frequencies(const struct solve *solve, struct diagnosis *found)
{
    struct rope_turns turns;
    if (solve->trial->n_failing < FEWEST_ROWS) {
        return false;
    }
    if (try_formulas(solve, found)) {
        return true;
    }
    rope_turns_open(&turns, solve);
    double *frequencies = xcalloc(turns.pairs, sizeof(*frequencies)), scale = solve_scale(&turns), worst;
    for (uint32_t i = 0; i < turns.pairs; i++) {
        frequencies[i] = solve_frequency(&turns, i);
    }
    if (fabs(scale / turns.p->scale - 1) < 1e-6) {
        scale = turns.p->scale;
    }
    struct step step = *solve->evidence->step;
    step.params.rope.scale = (float)scale;
    const struct rope_trial trial = {.frequencies = frequencies};
    bool explains = rope_explains(solve, &step, &trial, true, &worst);
    if (explains) {
        keep_right_ones(&turns, &step, frequencies, &worst);
    }
    if (explains && !try_theta_and_factor(&turns, frequencies, scale, found)) {
        describe_pairs(&turns, frequencies, scale, found, worst);
    }
    free(frequencies);
    rope_turns_close(&turns);
    return explains;
}
