#include "workbench/diagnose/config_numbers.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/stop.h"

#define GRID 160         /* values tried first, evenly spaced in their logarithm */
#define REFINEMENTS 48   /* each shortens the interval to 0.618 of it */
#define MOST_DIGITS 4    /* configs hold round numbers; one with more digits explains nothing */
#define MOST_WORK 1e7    /* multiplications per evaluation of a row */
#define MOST_WINDOWS 512 /* windows tried */

/* A number of the config: one float of an op's parameters. */
struct parameter {
    enum op op;
    const char *name, *config; /* in reports; in config.json */
    size_t field;
    double low, high;    /* the range searched */
    bool inverse_square; /* the config holds n, the op gets n^-1/2 */
};

#define FIELD(name) offsetof(union step_params, name)
static const struct parameter parameters[] = {
    {OP_rms_norm, "wrong-eps", "rms_norm_eps", FIELD(rms_norm.eps), 1e-13, 10, false},
    {OP_rope, "wrong-rope-theta", "rope_theta", FIELD(rope.theta), 10, 1e9, false},
    {OP_rope, "wrong-rope-factor", "rope scaling's factor", FIELD(rope.factor), 0.1, 200, false},
    {OP_rope, "wrong-rope-original", "rope scaling's original_max_position_embeddings", FIELD(rope.original), 16, 1e6,
     false},
    {OP_rope, "wrong-rope-scale", "the factor of rope's cos and sin", FIELD(rope.scale), 0.1, 10, false},
    {OP_attention, "wrong-attention-scale", "query_pre_attn_scalar (or head_dim)", FIELD(attention.scale), 1e-3, 4,
     true},
    {OP_attention, "wrong-attention-softcap", "attn_logit_softcapping", FIELD(attention.softcap), 0.5, 2000, false},
    {OP_softcap, "wrong-final-softcap", "final_logit_softcapping", FIELD(softcap.cap), 0.5, 2000, false},
    {OP_swiglu, "wrong-swiglu-alpha", "swiglu_alpha", FIELD(swiglu.alpha), 0.1, 100, false},
};

/* The parameters of attention_probs begin with those of attention. */
_Static_assert(FIELD(attention_probs.attention) == FIELD(attention), "one offset for both");
static bool is_attention(const struct step *step)
{
    return step->op == OP_attention || step->op == OP_attention_probs;
}

static float get(const struct step *step, size_t field)
{
    float value;
    memcpy(&value, (const char *)&step->params + field, sizeof(value));
    return value;
}

static void set(struct step *step, size_t field, double value)
{
    float rounded = (float)value;
    memcpy((char *)&step->params + field, &rounded, sizeof(rounded));
    if (field == FIELD(rope.factor) && step->params.rope.type == ROPE_TYPE_YARN) {
        step->params.rope.scale = (float)(0.1 * log(value) + 1); /* YaRN derives it from the factor */
    }
}

/* The sum of squared differences between what a step computes and what was recorded of a row. */
static double distance(const struct config_search *search, const struct step *step, const struct op_row *row)
{
    double *y = xcalloc(step->width, sizeof(*y)), sum = 0;
    op_run(&(struct op_batch){.step = step, .weights_dtype = search->weights_dtype, .n_rows = 1, .rows = row, .y = y});
    for (uint32_t i = 0; i < step->width; i++) {
        sum += (y[i] - row->recorded[i]) * (y[i] - row->recorded[i]);
    }
    free(y);
    return isfinite(sum) ? sum : INFINITY;
}

static double distance_at(const struct config_search *search, struct step *step, size_t field, double logarithm)
{
    set(step, field, exp(logarithm));
    return distance(search, step, search->lowest);
}

/* The value with which the lowest failing row comes nearest to the recorded one: the best of a grid, refined by golden
 * sections. */
static double best_value(const struct config_search *search, struct step step, const struct parameter *parameter)
{
    double low = log(parameter->low), high = log(parameter->high), width = (high - low) / (GRID - 1), best = INFINITY;
    double at = low;
    for (int i = 0; i < GRID; i++) {
        double miss = distance_at(search, &step, parameter->field, low + i * width);
        if (miss < best) {
            best = miss;
            at = low + i * width;
        }
    }
    const double section = 0.6180339887498949;
    double a = at - width, b = at + width;
    for (int i = 0; i < REFINEMENTS; i++) {
        double left = b - section * (b - a), right = a + section * (b - a);
        if (distance_at(search, &step, parameter->field, left) < distance_at(search, &step, parameter->field, right)) {
            b = right;
        } else {
            a = left;
        }
    }
    return exp((a + b) / 2);
}

static double round_digits(double value, int digits)
{
    char text[32];
    snprintf(text, sizeof(text), "%.*e", digits - 1, value);
    return strtod(text, NULL);
}

/* Whether a round number near `value` reproduces all rows. The roundest is tried first: a power of ten. *taken: the
 * number, as the config holds it. */
static bool reproduced_near(const struct config_search *search, struct step *step, const struct parameter *parameter,
                            double value, double *taken)
{
    double before = 0;
    double given = parameter->inverse_square ? 1 / (value * value) : value;
    for (int digits = 0; digits <= MOST_DIGITS; digits++) {
        *taken = digits == 0 ? round_digits(pow(10, round(log10(given))), 1) : round_digits(given, digits);
        if (*taken == before || !(*taken > 0)) {
            continue;
        }
        before = *taken;
        set(step, parameter->field, parameter->inverse_square ? 1 / sqrt(*taken) : *taken);
        if (search->reproduces(search->context, step)) {
            return true;
        }
    }
    return false;
}

/* A scale that is a round multiple of MODEL's, which no round number of the config gives. */
static bool try_multiple(const struct config_search *search, const struct parameter *parameter, double had, double best,
                         struct config_number *found)
{
    struct step step = *search->step;
    for (int digits = 1; parameter->inverse_square && had != 0 && digits <= MOST_DIGITS; digits++) {
        double multiple = round_digits(best / had, digits);
        set(&step, parameter->field, had * multiple);
        if (multiple == 1 || !search->reproduces(search->context, &step)) {
            continue;
        }
        found->solved = solved_number("scale of attention's scores", had, had * multiple);
        snprintf(found->name, sizeof(found->name), "%s", parameter->name);
        snprintf(found->text, sizeof(found->text), "The scale of attention's scores is %.6g, %.6g times MODEL's",
                 had * multiple, multiple);
        return true;
    }
    return false;
}

static bool try_parameter(const struct config_search *search, const struct parameter *parameter,
                          struct config_number *found)
{
    struct step step = *search->step;
    double had = get(&step, parameter->field), value;
    if (parameter->field == FIELD(rope.factor) && step.params.rope.type == ROPE_TYPE_DEFAULT) {
        step.params.rope.type = ROPE_TYPE_LINEAR;
    }
    if (parameter->field == FIELD(rope.original) && step.params.rope.type == ROPE_TYPE_LINEAR) {
        return false;
    }
    double best = best_value(search, step, parameter);
    if (!reproduced_near(search, &step, parameter, best, &value)) {
        return try_multiple(search, parameter, had, best, found);
    }
    char instead[64] = "none";
    if (had != 0) {
        snprintf(instead, sizeof(instead), "%.6g", parameter->inverse_square ? 1 / (had * had) : had);
    }
    found->solved =
        solved_number(parameter->config, parameter->inverse_square && had != 0 ? 1 / (had * had) : had, value);
    snprintf(found->name, sizeof(found->name), "%s", parameter->name);
    snprintf(found->text, sizeof(found->text), "%s is %.6g where MODEL has %s", parameter->config, value, instead);
    return true;
}

/* No number is wrong, but rope is not scaled at all. */
static bool try_plain_rope(const struct config_search *search, struct config_number *found)
{
    struct step step = *search->step;
    struct rope_params *rope = &step.params.rope;
    if (step.op != OP_rope || rope->type == ROPE_TYPE_DEFAULT) {
        return false;
    }
    rope->type = ROPE_TYPE_DEFAULT;
    rope->factor = rope->scale = 1;
    if (!search->reproduces(search->context, &step)) {
        return false;
    }
    found->solved = solved_number("rope scaling", search->step->params.rope.type, ROPE_TYPE_DEFAULT);
    snprintf(found->name, sizeof(found->name), "wrong-rope-type");
    snprintf(found->text, sizeof(found->text), "rope is not scaled where MODEL has a rope scaling");
    return true;
}

/* The same width, divided into heads of another size. No shape check can notice it. */
static bool try_heads(const struct config_search *search, struct config_number *found)
{
    static const uint32_t dims[] = {8, 16, 24, 32, 48, 64, 80, 96, 112, 128, 160, 192, 256};
    for (size_t i = 0; search->step->op == OP_rope && i < sizeof(dims) / sizeof(*dims); i++) {
        struct step step = *search->step;
        if (dims[i] == step.params.rope.dim || step.width % dims[i] != 0) {
            continue;
        }
        step.params.rope.dim = dims[i];
        step.params.rope.heads = step.width / dims[i];
        if (!search->reproduces(search->context, &step)) {
            continue;
        }
        found->solved = solved_number("head_dim", search->step->params.rope.dim, dims[i]);
        snprintf(found->name, sizeof(found->name), "wrong-head-dim");
        snprintf(found->text, sizeof(found->text), "there are %u heads of head_dim %u where MODEL has %u of %u",
                 step.params.rope.heads, dims[i], search->step->params.rope.heads, search->step->params.rope.dim);
        return true;
    }
    return false;
}

static bool is_window(const struct config_search *search, uint32_t window, struct config_number *found)
{
    struct step step = *search->step;
    uint32_t had = step.params.attention.window;
    step.params.attention.window = window;
    if (window == had || !search->reproduces(search->context, &step)) {
        return false;
    }
    char is[16] = "none", instead[16] = "none";
    if (window) {
        snprintf(is, sizeof(is), "%u", window);
    }
    if (had) {
        snprintf(instead, sizeof(instead), "%u", had);
    }
    found->solved = solved_number("sliding_window", had, window);
    snprintf(found->name, sizeof(found->name), "wrong-sliding-window");
    snprintf(found->text, sizeof(found->text), "sliding_window is %s where MODEL has %s in this layer%s", is, instead,
             window == 0 ? ": its window is missing" : "");
    return true;
}

/* A window of n keys that is too small first fails at position n, so the lowest failing row gives its size. Larger
 * windows are compared at the highest failing row. */
static bool try_window(const struct config_search *search, struct config_number *found)
{
    uint32_t had = search->step->params.attention.window, end = search->highest->position + 1, best = 0;
    if (!is_attention(search->step)) {
        return false;
    }
    if (is_window(search, search->lowest->position, found) || is_window(search, 0, found)) {
        return true;
    }
    double least = INFINITY;
    for (uint32_t window = had + 1; had > 0 && window < end && window - had <= MOST_WINDOWS; window++) {
        struct step step = *search->step;
        step.params.attention.window = window;
        double miss = distance(search, &step, search->highest);
        if (miss < least) {
            least = miss;
            best = window;
        }
    }
    return best > 0 && is_window(search, best, found);
}

/* Multiplications per evaluation of a row. */
static double work_of(const struct step *step, const struct op_row *row)
{
    double keys = is_attention(step) ? row->position + 1.0 : 1;
    return keys * step->width;
}

bool config_number_find(const struct config_search *search, struct config_number *found)
{
    *found = (struct config_number){0};
    const struct step *step = search->step;
    if (!search->lowest->recorded || !search->highest->recorded || work_of(step, search->highest) > MOST_WORK) {
        return false;
    }
    if (try_plain_rope(search, found) || try_heads(search, found) || try_window(search, found)) {
        return true;
    }
    for (size_t i = 0; i < sizeof(parameters) / sizeof(*parameters) && !stop_asked(); i++) {
        if ((parameters[i].op == step->op || (parameters[i].op == OP_attention && is_attention(step))) &&
            try_parameter(search, &parameters[i], found)) {
            return true;
        }
    }
    return false;
}
