/* The FFN's activation with another formula: y = act(gate) up. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "workbench/diagnose/numbers/config_parameters.h"
#include "workbench/diagnose/proof.h"

typedef double activation(double gate);

static double silu(double g)
{
    return g / (1 + exp(-g));
}

static double gelu_tanh(double g)
{
    return g / 2 * (1 + tanh(sqrt(2 / M_PI) * (g + 0.044715 * g * g * g)));
}

static double gelu_erf(double g)
{
    return g / 2 * (1 + erf(g / sqrt(2)));
}

static double quick_gelu(double g)
{
    return g / (1 + exp(-1.702 * g));
}

static double relu(double g)
{
    return fmax(g, 0);
}

static double squared_relu(double g)
{
    return fmax(g, 0) * fmax(g, 0);
}

static double leaky_relu(double g)
{
    return g > 0 ? g : 0.01 * g;
}

static double identity(double g)
{
    return g;
}

static double sigmoid(double g)
{
    return 1 / (1 + exp(-g));
}

static double one(double g)
{
    (void)g;
    return 1;
}

static double elu(double g)
{
    return g > 0 ? g : expm1(g);
}

static double mish(double g)
{
    return g * tanh(log1p(exp(g)));
}

static double hard_swish(double g)
{
    return g * fmin(fmax(g / 6 + 0.5, 0), 1);
}

static double softplus(double g)
{
    return log1p(exp(g));
}

static activation *own_activation(const struct step *step)
{
    return step->params.glu.activation == ACTIVATION_SILU        ? silu
           : step->params.glu.activation == ACTIVATION_GELU_TANH ? gelu_tanh
                                                                 : gelu_erf;
}

/* y as a function of gate and up. */
struct formula {
    activation *act;
    enum { ACT_TIMES_UP, ACT_OF_PRODUCT, ACT_PLUS_UP, ACT_ALONE, ACT_TWICE, ACT_OF_BOTH } form;
    double limit;    /* gate <= limit, |up| <= limit; infinite: none */
    bool both_sides; /* |gate| <= limit */
    double input;    /* gate is multiplied by it for the activation */
    double output;   /* y is */
};

/* The factors of y: *up is what the gate's part is multiplied by. *error: how far the first factor can be off, in units
 * of f32's roundoff. */
static double first_factor(const struct formula *formula, double gate, double *up, double *error)
{
    gate = fmin(gate, formula->limit);
    gate = formula->both_sides ? fmax(gate, -formula->limit) : gate;
    *up = fmax(fmin(*up, formula->limit), -formula->limit);
    gate *= formula->input;
    double product = gate * *up, act = formula->act(formula->form == ACT_OF_PRODUCT ? product : gate) * formula->output;
    double factor = act;
    if (formula->form == ACT_OF_BOTH) {
        *up = formula->act(*up);
    } else if (formula->form == ACT_TWICE) {
        factor = formula->act(act);
    } else if (formula->form == ACT_PLUS_UP) {
        factor = act + *up;
    }
    if (formula->form == ACT_OF_PRODUCT || formula->form == ACT_PLUS_UP || formula->form == ACT_ALONE) {
        *up = 1;
    }
    *error = 0x1p-24 * ((8 + 4 * fabs(gate)) * fabs(factor) + 4 * fabs(gate) + fabs(factor - act));
    return factor;
}

/* Whether it gives the first failing row, roughly: a proof takes longer. */
static bool fits_row(const struct evidence *evidence, const struct formula *formula)
{
    double right_miss = 0, miss = 0, error;
    for (uint32_t d = 0; d < evidence->stage->width; d++) {
        double up = evidence->rows[0].in[1][d], actual = evidence_actual(evidence, 0)[d];
        double factor = first_factor(formula, evidence->rows[0].in[0][d], &up, &error);
        double right = actual - evidence_expected(evidence, 0)[d];
        right_miss += right * right;
        miss += (actual - factor * up) * (actual - factor * up);
    }
    return 16 * miss <= right_miss;
}

static bool holds(const struct solve *solve, const struct formula *formula, struct proof *proof)
{
    if (!fits_row(solve->evidence, formula)) {
        return false;
    }
    struct step step = *solve->evidence->step;
    uint64_t width = step.width, n = solve->trial->rows.n * width;
    struct op_row *rows = proof_rows(solve);
    float *gates = proof_copy_input(solve, rows, 0, step.width), *ups = proof_copy_input(solve, rows, 1, step.width);
    double *errors = xcalloc(2 * n, sizeof(*errors));
    for (uint64_t at = 0; at < n; at++) {
        double up = ups[at];
        gates[at] = (float)first_factor(formula, gates[at], &up, &errors[at]);
        ups[at] = (float)up;
        errors[n + at] = formula->form == ACT_OF_BOTH ? 0x1p-24 * (8 + 4 * fabs(up)) * fabs(up) : 0;
    }
    for (uint32_t i = 0; i < solve->trial->rows.n; i++) {
        rows[i].error[0] = errors + i * width;
        rows[i].error[1] = errors + n + i * width;
    }
    step.params.glu.activation = ACTIVATION_NONE;
    struct candidate candidate = trial_candidate(solve->trial, &step);
    candidate.rows = rows;
    bool explains = proof_find(solve, &candidate, proof);
    free(errors);
    free(gates);
    free(ups);
    free(rows);
    return explains;
}

static bool is_other_function(const struct solve *solve, struct diagnosis *found)
{
    static const struct {
        activation *act;
        const char *name;
    } activations[] = {{silu, "SiLU"},
                       {gelu_tanh, "GELU in its tanh form"},
                       {gelu_erf, "GELU with erf"},
                       {quick_gelu, "gate sigmoid(1.702 gate)"},
                       {relu, "ReLU"},
                       {squared_relu, "squared ReLU"},
                       {leaky_relu, "leaky ReLU"},
                       {identity, "missing, and gate itself is taken"},
                       {sigmoid, "sigmoid(gate), not multiplied by gate"},
                       {tanh, "tanh"},
                       {elu, "ELU"},
                       {mish, "Mish"},
                       {hard_swish, "hard swish, gate clamp(gate / 6 + 0.5, 0, 1)"},
                       {softplus, "softplus"},
                       {one, "missing, and up alone is the result"}};
    struct proof proof;
    for (size_t f = 0; f < sizeof(activations) / sizeof(*activations); f++) {
        struct formula formula = {activations[f].act, ACT_TIMES_UP, INFINITY, false, 1, 1};
        if (holds(solve, &formula, &proof)) {
            proof_tell(solve, &proof, found, "The activation is another function: it is %s.", activations[f].name);
            return true;
        }
    }
    return false;
}

static bool is_other_form(const struct solve *solve, struct diagnosis *found)
{
    static const char *const what[] = {
        [ACT_OF_PRODUCT] = "The activation is that of gate times up.",
        [ACT_PLUS_UP] = "up is added to the activated gate instead of multiplied.",
        [ACT_ALONE] = "The activated gate is not multiplied by up.",
        [ACT_TWICE] = "The activation is applied twice.",
        [ACT_OF_BOTH] = "The activation is applied to up as well.",
    };
    struct proof proof;
    for (unsigned form = ACT_OF_PRODUCT; form <= ACT_OF_BOTH; form++) {
        struct formula formula = {own_activation(solve->evidence->step), form, INFINITY, false, 1, 1};
        if (holds(solve, &formula, &proof)) {
            proof_tell(solve, &proof, found, "%s", what[form]);
            return true;
        }
    }
    return false;
}

/* gate and up are clamped where this family does not: the limit is a multiple of 1/4. */
static bool is_clamped(const struct solve *solve, struct diagnosis *found)
{
    struct proof proof;
    for (int quarters = 0; quarters <= 128; quarters++) {
        for (int both = 0; both < 2; both++) {
            struct formula formula = {own_activation(solve->evidence->step), ACT_TIMES_UP, quarters / 4.0, both, 1, 1};
            if (holds(solve, &formula, &proof)) {
                found->solved = solved_number("limit of gate and up", INFINITY, formula.limit);
                proof_tell(solve, &proof, found, "gate and up are clamped at %.6g%s, which this family does not do.",
                           formula.limit, both ? " on both sides" : ", gate from above alone");
                return true;
            }
        }
    }
    return false;
}

#define MOST_FACTOR 16.0 /* of gate inside the activation, and its inverse */
#define FACTORS 64       /* tried first, evenly spaced in their logarithm */
#define REFINEMENTS 60

/* What is left of the first failing row's squares, where gate is multiplied by `input` and y by the factor that fits
 * best: *output. */
static double miss_with(const struct evidence *evidence, activation *act, double input, double *output)
{
    double product = 0, square = 0, recorded = 0;
    for (uint32_t d = 0; d < evidence->stage->width; d++) {
        double y = evidence_actual(evidence, 0)[d];
        double value = act(input * evidence->rows[0].in[0][d]) * evidence->rows[0].in[1][d];
        product += value * y;
        square += value * value;
        recorded += y * y;
    }
    *output = product / square;
    return recorded - product * product / square;
}

/* The factor of gate that leaves the least: the best of a grid, refined by golden sections. */
static double find_input(const struct evidence *evidence, activation *act)
{
    const double section = 0.6180339887498949, width = 2 * log(MOST_FACTOR) / FACTORS;
    double at = 0, best = INFINITY, output;
    for (int i = 0; i <= FACTORS; i++) {
        double logarithm = -log(MOST_FACTOR) + i * width, miss = miss_with(evidence, act, exp(logarithm), &output);
        at = miss < best ? logarithm : at;
        best = fmin(best, miss);
    }
    double a = at - width, b = at + width;
    for (int i = 0; i < REFINEMENTS; i++) {
        double left = b - section * (b - a), more = a + section * (b - a);
        bool lower = miss_with(evidence, act, exp(left), &output) < miss_with(evidence, act, exp(more), &output);
        *(lower ? &b : &a) = lower ? more : left;
    }
    return exp((a + b) / 2);
}

/* A rounded factor of gate, and of y: as they fit, or so that small gates come out as they should. */
static bool holds_rounded(const struct solve *solve, struct formula *formula, double input, struct proof *proof)
{
    for (int digits = 1; digits <= MOST_DIGITS; digits++) {
        double fitting;
        formula->input = round_digits(input, digits);
        miss_with(solve->evidence, formula->act, formula->input, &fitting);
        const double outputs[] = {1, 1 / formula->input, round_digits(fitting, digits)};
        for (size_t i = 0; i < sizeof(outputs) / sizeof(*outputs) && formula->input != 1; i++) {
            formula->output = outputs[i];
            if (holds(solve, formula, proof)) {
                return true;
            }
        }
    }
    return false;
}

/* act(a gate) in place of act(gate): a scale inside the activation. */
static bool is_scaled_inside(const struct solve *solve, struct diagnosis *found)
{
    static const struct {
        activation *act;
        const char *name;
    } activations[] = {{silu, "SiLU"}, {gelu_tanh, "GELU in its tanh form"}, {gelu_erf, "GELU with erf"}};
    struct proof proof;
    for (size_t f = 0; f < sizeof(activations) / sizeof(*activations); f++) {
        struct formula formula = {activations[f].act, ACT_TIMES_UP, INFINITY, false, 1, 1};
        if (!holds_rounded(solve, &formula, find_input(solve->evidence, formula.act), &proof)) {
            continue;
        }
        char also[64] = "";
        if (formula.output != 1) {
            snprintf(also, sizeof(also), ", and the result by %.6g", formula.output);
        }
        found->solved = solved_number("factor of gate inside the activation", 1, formula.input);
        proof_tell(solve, &proof, found, "The activation is %s of another input: gate is multiplied by %.6g%s.",
                   activations[f].name, formula.input, also);
        return true;
    }
    return false;
}

bool solve_activation(const struct solve *solve, struct diagnosis *found)
{
    return solve->evidence->step->variant == VARIANT_NONE && !proof_is_blank(solve) &&
           (is_other_function(solve, found) || is_other_form(solve, found) || is_clamped(solve, found) ||
            is_scaled_inside(solve, found));
}
