/* GPT-OSS's activation with other numbers: y = (up + 1) gate sigmoid(alpha gate), gate <= limit, |up| <= limit. What is
 * added to up, alpha, the limit and the sides that it clamps are searched for; the combination that changes the least
 * is taken. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "workbench/diagnose/proof.h"

#define MOST_SAMPLES 512

enum order { IN_TURN, EXCHANGED, UP_FIRST };

struct formula {
    double added, alpha; /* added to up; 1 in the right one */
    double gate_low, gate_high, up_low, up_high;
    enum order order; /* of gate and up in a row */
};

/* Values of failing rows. */
struct swiglu {
    const struct solve *solve;
    struct formula right;
    uint32_t n;
    const float **in; /* [n] rows */
    uint32_t *at;     /* [n] output */
    double *recorded; /* [n] */
    double right_miss;
};

static void places_of(const struct swiglu_params *params, enum order order, uint32_t i, uint32_t *gate, uint32_t *up)
{
    uint32_t start = i / params->run * 2 * params->run, within = i % params->run;
    *gate = order == IN_TURN ? 2 * i : order == EXCHANGED ? 2 * i + 1 : start + params->run + within;
    *up = order == IN_TURN ? 2 * i + 1 : order == EXCHANGED ? 2 * i : start + within;
}

static double clamped(double x, double low, double high)
{
    return fmin(fmax(x, low), high);
}

static void swiglu_open(struct swiglu *swiglu, const struct solve *solve)
{
    const struct evidence *evidence = solve->evidence;
    const struct swiglu_params *params = &evidence->step->params.swiglu;
    uint64_t n_values = (uint64_t)evidence->n * params->width, n_failing = 0, seen = 0;
    *swiglu = (struct swiglu){
        .solve = solve,
        .right = {1, params->alpha, -INFINITY, params->limit, -(double)params->limit, params->limit, IN_TURN},
        .in = xcalloc(MOST_SAMPLES, sizeof(*swiglu->in)),
        .at = xcalloc(MOST_SAMPLES, sizeof(*swiglu->at)),
        .recorded = xcalloc(MOST_SAMPLES, sizeof(*swiglu->recorded))};
    for (int pass = 0; pass < 2; pass++) { /* half of the samples fail */
        for (uint64_t at = 0; at < n_values; at++) {
            uint32_t i = (uint32_t)(at / params->width), d = (uint32_t)(at % params->width);
            double right = evidence_expected(evidence, i)[d], actual = evidence_actual(evidence, i)[d];
            bool fails = judge(right, actual, evidence_bound(evidence, i)[d]) > 1;
            n_failing += pass == 0 && fails;
            uint64_t every = (fails ? n_failing : n_values) / (MOST_SAMPLES / 2) + 1;
            if (pass == 1 && seen++ % every == 0 && swiglu->n < MOST_SAMPLES) {
                swiglu->in[swiglu->n] = evidence->rows[i].in[0];
                swiglu->at[swiglu->n] = d;
                swiglu->recorded[swiglu->n++] = actual;
                swiglu->right_miss += (actual - right) * (actual - right);
            }
        }
    }
}

static void swiglu_close(struct swiglu *swiglu)
{
    free(swiglu->in);
    free(swiglu->at);
    free(swiglu->recorded);
}

static bool fits_samples(const struct swiglu *swiglu, const struct formula *formula)
{
    const struct swiglu_params *params = &swiglu->solve->evidence->step->params.swiglu;
    double miss = 0;
    for (uint32_t k = 0; k < swiglu->n && 16 * miss <= swiglu->right_miss; k++) {
        uint32_t gate_at, up_at;
        places_of(params, formula->order, swiglu->at[k], &gate_at, &up_at);
        double gate = clamped(swiglu->in[k][gate_at], formula->gate_low, formula->gate_high);
        double up = clamped(swiglu->in[k][up_at], formula->up_low, formula->up_high);
        double y = (up + formula->added) * gate / (1 + exp(-formula->alpha * gate));
        miss += (swiglu->recorded[k] - y) * (swiglu->recorded[k] - y);
    }
    return 16 * miss <= swiglu->right_miss;
}

/* The op is run without its limit on inputs that are clamped already. */
static bool holds(const struct swiglu *swiglu, const struct formula *formula, struct proof *proof)
{
    const struct solve *solve = swiglu->solve;
    struct step step = *solve->evidence->step;
    struct swiglu_params *params = &step.params.swiglu;
    if (!fits_samples(swiglu, formula)) {
        return false;
    }
    uint64_t width = 2 * (uint64_t)params->width, n = solve->trial->rows.n * width;
    struct op_row *rows = proof_rows(solve);
    float *values = xmalloc(n * sizeof(*values));
    double *errors = xcalloc(n, sizeof(*errors));
    for (uint32_t i = 0; i < solve->trial->rows.n; i++) {
        float *row = values + i * width;
        for (uint32_t d = 0; d < params->width; d++) {
            uint32_t gate, up;
            places_of(params, formula->order, d, &gate, &up);
            double added = clamped(rows[i].in[0][up], formula->up_low, formula->up_high) + (formula->added - 1);
            row[2 * d] = (float)clamped(rows[i].in[0][gate], formula->gate_low, formula->gate_high);
            row[2 * d + 1] = (float)added;
            errors[i * width + 2 * d + 1] = fabs(row[2 * d + 1] - added);
        }
        rows[i].in[0] = row;
        rows[i].error[0] = errors + i * width;
    }
    params->limit = INFINITY;
    params->alpha = (float)formula->alpha;
    struct candidate candidate = trial_candidate(solve->trial, &step);
    candidate.rows = rows;
    bool explains = proof_find(solve, &candidate, proof);
    free(errors);
    free(values);
    free(rows);
    return explains;
}

/* Adds a difference to a list of them: "limit 0 (right: 7)". */
static void say(char *list, size_t size, const char *what, double is, double right)
{
    size_t length = strlen(list);
    snprintf(list + length, size - length, "%s%s is %.6g instead of %.6g", length ? ", " : "", what, is, right);
}

static void tell(const struct swiglu *swiglu, const struct formula *formula, const struct proof *proof,
                 struct diagnosis *found)
{
    static const char *const orders[] = {"", "; gate and up are exchanged", "; the first half is taken for up"};
    const struct formula *right = &swiglu->right;
    char list[256] = "";
    unsigned n_numbers = 0;
    if (formula->added != right->added) {
        say(list, sizeof(list), "the number added to up", formula->added, right->added);
        found->solved = solved_number("number added to up", right->added, formula->added);
        n_numbers++;
    }
    if (formula->alpha != right->alpha) {
        say(list, sizeof(list), "alpha", formula->alpha, right->alpha);
        found->solved = solved_number("swiglu_alpha", right->alpha, formula->alpha);
        n_numbers++;
    }
    bool same_limit =
        formula->gate_high == formula->up_high && formula->up_low == -formula->up_high && isinf(formula->gate_low);
    if (same_limit && formula->gate_high != right->gate_high) {
        say(list, sizeof(list), "the limit", formula->gate_high, right->gate_high);
        found->solved = solved_number("swiglu_limit", right->gate_high, formula->gate_high);
        n_numbers++;
    } else if (!same_limit) {
        size_t length = strlen(list);
        snprintf(list + length, sizeof(list) - length,
                 "%sgate is clamped to [%.6g, %.6g] and up to [%.6g, %.6g], where the right limits are [%.6g, %.6g] "
                 "and [%.6g, %.6g]",
                 length ? ", " : "", formula->gate_low, formula->gate_high, formula->up_low, formula->up_high,
                 right->gate_low, right->gate_high, right->up_low, right->up_high);
    }
    found->kind = formula->order == EXCHANGED                                      ? KIND_WIRING
                  : formula->order == UP_FIRST                                     ? KIND_LAYOUT
                  : same_limit && n_numbers == 1 && formula->added == right->added ? KIND_PARAMETER
                                                                                   : KIND_FORMULA;
    proof_tell(swiglu->solve, proof, found, "The experts' activation has another form: %s%s.",
               *list ? list : "its numbers are right", orders[formula->order]);
}

/* Every choice of the sides that a limit clamps: bit 0 gate above, 1 gate below, 2 up above, 3 up below. */
static struct formula with_limit(struct formula formula, double limit, unsigned sides)
{
    formula.gate_high = sides & 1 ? limit : INFINITY;
    formula.gate_low = sides & 2 ? -limit : -INFINITY;
    formula.up_high = sides & 4 ? limit : INFINITY;
    formula.up_low = sides & 8 ? -limit : -INFINITY;
    return formula;
}

/* The limit that recorded values show, as a multiple of 1/4, on the sides of the right formula first. */
static bool try_limits(const struct swiglu *swiglu, const struct formula *base, struct diagnosis *found)
{
    static const unsigned sides[] = {13, 0, 15, 1, 3, 4, 5, 7, 8, 9, 11, 12, 2, 6, 10, 14};
    struct proof proof;
    for (size_t s = 0; s < sizeof(sides) / sizeof(*sides); s++) {
        for (int quarters = -1; quarters <= 128; quarters++) { /* -1: the right limit */
            double limit = quarters < 0 ? swiglu->right.gate_high : quarters / 4.0;
            struct formula formula = with_limit(*base, limit, sides[s]);
            if (sides[s] == 0 && quarters >= 0) {
                break;
            }
            if (holds(swiglu, &formula, &proof)) {
                tell(swiglu, &formula, &proof, found);
                return true;
            }
        }
    }
    return false;
}

/* What is added to up, by least squares: y = (up + added) s, s of the right formula. */
static double solve_added(const struct swiglu *swiglu, double alpha)
{
    const struct formula *right = &swiglu->right;
    double product = 0, square = 0;
    for (uint32_t k = 0; k < swiglu->n; k++) {
        double gate = clamped(swiglu->in[k][2 * swiglu->at[k]], right->gate_low, right->gate_high);
        double up = clamped(swiglu->in[k][2 * swiglu->at[k] + 1], right->up_low, right->up_high);
        double s = gate / (1 + exp(-alpha * gate));
        product += (swiglu->recorded[k] - up * s) * s;
        square += s * s;
    }
    return round(product / square * 1000) / 1000;
}

bool solve_swiglu(const struct solve *solve, struct diagnosis *found)
{
    struct swiglu swiglu;
    if (solve->evidence->step->variant != VARIANT_NONE || proof_is_blank(solve)) {
        return false;
    }
    swiglu_open(&swiglu, solve);
    const double right_alpha = swiglu.right.alpha;
    const double added[] = {1, 0, solve_added(&swiglu, right_alpha)}, alphas[] = {right_alpha, 1, 1.702f};
    bool explains = false;
    for (unsigned order = IN_TURN; order <= UP_FIRST && !explains; order++) {
        for (size_t c = 0; c < 9 && !explains; c++) {
            struct formula formula = swiglu.right;
            formula.order = order;
            formula.added = added[c % 3];
            formula.alpha = alphas[c / 3];
            explains = try_limits(&swiglu, &formula, found);
        }
    }
    swiglu_close(&swiglu);
    return explains;
}
