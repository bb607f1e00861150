#include "workbench/diagnose/config_numbers.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/stop.h"

#define GRID 160       /* values of the first look, evenly spaced in their logarithm */
#define REFINEMENTS 48 /* each leaves 0.618 of the interval */
#define MOST_DIGITS 4  /* people's numbers are round: one that needs more explains nothing */
#define MOST_WORK 1e7  /* multiplications of one evaluation */
#define MOST_WINDOWS 512

/* One number that an op is told, a float of its parameters. */
struct parameter {
    enum op op;
    const char *fault, *config; /* its name here, and in a config.json */
    size_t field;
    double low, high;    /* where it is looked for */
    bool inverse_square; /* the config gives n, the op gets n^-1/2 */
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

/* Its probabilities' parameters begin with its own. */
_Static_assert(FIELD(attention_probs.attention) == FIELD(attention), "one place for both");
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
        step->params.rope.scale = (float)(0.1 * log(value) + 1); /* as the config's factor makes it */
    }
}

/* The sum of squares by which a step misses what was recorded of a row. */
static double distance(const struct parameters_case *failing, const struct step *step, const struct op_row *row)
{
    double *y = xcalloc(step->width, sizeof(*y)), sum = 0;
    op_run(&(struct op_batch){.step = step, .weights_dtype = failing->weights_dtype, .n_rows = 1, .rows = row, .y = y});
    for (uint32_t i = 0; i < step->width; i++) {
        sum += (y[i] - row->recorded[i]) * (y[i] - row->recorded[i]);
    }
    free(y);
    return isfinite(sum) ? sum : INFINITY;
}

static double distance_at(const struct parameters_case *failing, struct step *step, size_t field, double logarithm)
{
    set(step, field, exp(logarithm));
    return distance(failing, step, failing->lowest);
}

/* The value at which the lowest failing row is nearest to as recorded: the best of a grid, then golden sections. */
static double search(const struct parameters_case *failing, struct step step, const struct parameter *parameter)
{
    double low = log(parameter->low), high = log(parameter->high), width = (high - low) / (GRID - 1), best = INFINITY;
    double at = low;
    for (int i = 0; i < GRID; i++) {
        double miss = distance_at(failing, &step, parameter->field, low + i * width);
        if (miss < best) {
            best = miss;
            at = low + i * width;
        }
    }
    const double section = 0.6180339887498949;
    double a = at - width, b = at + width;
    for (int i = 0; i < REFINEMENTS; i++) {
        double left = b - section * (b - a), right = a + section * (b - a);
        if (distance_at(failing, &step, parameter->field, left) <
            distance_at(failing, &step, parameter->field, right)) {
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

/* Whether the step holds with a round number near `value`, the roundest first: a power of ten. It goes to *taken. */
static bool holds_near(const struct parameters_case *failing, struct step *step, const struct parameter *parameter,
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
        if (failing->holds(failing->context, step)) {
            return true;
        }
    }
    return false;
}

static bool try_parameter(const struct parameters_case *failing, const struct parameter *parameter,
                          struct parameters_found *found)
{
    struct step step = *failing->step;
    double had = get(&step, parameter->field), value;
    if (parameter->field == FIELD(rope.factor) && step.params.rope.type == ROPE_TYPE_DEFAULT) {
        step.params.rope.type = ROPE_TYPE_LINEAR;
    }
    if (parameter->field == FIELD(rope.original) && step.params.rope.type == ROPE_TYPE_LINEAR) {
        return false;
    }
    if (!holds_near(failing, &step, parameter, search(failing, step, parameter), &value)) {
        return false;
    }
    char instead[64] = "none";
    if (had != 0) {
        snprintf(instead, sizeof(instead), "%.6g", parameter->inverse_square ? 1 / (had * had) : had);
    }
    snprintf(found->name, sizeof(found->name), "%s", parameter->fault);
    snprintf(found->text, sizeof(found->text), "%s is %.6g where MODEL has %s", parameter->config, value, instead);
    return true;
}

/* What is wrong is not a number but that there is a scaling at all. */
static bool try_plain_rope(const struct parameters_case *failing, struct parameters_found *found)
{
    struct step step = *failing->step;
    struct rope_params *rope = &step.params.rope;
    if (step.op != OP_rope || rope->type == ROPE_TYPE_DEFAULT) {
        return false;
    }
    rope->type = ROPE_TYPE_DEFAULT;
    rope->factor = rope->scale = 1;
    if (!failing->holds(failing->context, &step)) {
        return false;
    }
    snprintf(found->name, sizeof(found->name), "wrong-rope-type");
    snprintf(found->text, sizeof(found->text), "rope is not scaled where MODEL has a rope scaling");
    return true;
}

/* As many values in heads of another size: no shape tells. */
static bool try_heads(const struct parameters_case *failing, struct parameters_found *found)
{
    static const uint32_t dims[] = {8, 16, 24, 32, 48, 64, 80, 96, 112, 128, 160, 192, 256};
    for (size_t i = 0; failing->step->op == OP_rope && i < sizeof(dims) / sizeof(*dims); i++) {
        struct step step = *failing->step;
        if (dims[i] == step.params.rope.dim || step.width % dims[i] != 0) {
            continue;
        }
        step.params.rope.dim = dims[i];
        step.params.rope.heads = step.width / dims[i];
        if (!failing->holds(failing->context, &step)) {
            continue;
        }
        snprintf(found->name, sizeof(found->name), "wrong-head-dim");
        snprintf(found->text, sizeof(found->text), "there are %u heads of head_dim %u where MODEL has %u of %u",
                 step.params.rope.heads, dims[i], failing->step->params.rope.heads, failing->step->params.rope.dim);
        return true;
    }
    return false;
}

static bool holds_window(const struct parameters_case *failing, uint32_t window, struct parameters_found *found)
{
    struct step step = *failing->step;
    uint32_t had = step.params.attention.window;
    step.params.attention.window = window;
    if (window == had || !failing->holds(failing->context, &step)) {
        return false;
    }
    char is[16] = "none", instead[16] = "none";
    if (window) {
        snprintf(is, sizeof(is), "%u", window);
    }
    if (had) {
        snprintf(instead, sizeof(instead), "%u", had);
    }
    snprintf(found->name, sizeof(found->name), "wrong-sliding-window");
    snprintf(found->text, sizeof(found->text), "sliding_window is %s where MODEL has %s in this layer", is, instead);
    return true;
}

/* A smaller window shows first at the position that is the first not to see all that it should: it is as large as that
 * position's number. A larger one is looked for at the last row. */
static bool try_window(const struct parameters_case *failing, struct parameters_found *found)
{
    uint32_t had = failing->step->params.attention.window, end = failing->highest->position + 1, best = 0;
    if (!is_attention(failing->step)) {
        return false;
    }
    if (holds_window(failing, failing->lowest->position, found) || holds_window(failing, 0, found)) {
        return true;
    }
    double least = INFINITY;
    for (uint32_t window = had + 1; had > 0 && window < end && window - had <= MOST_WINDOWS; window++) {
        struct step step = *failing->step;
        step.params.attention.window = window;
        double miss = distance(failing, &step, failing->highest);
        if (miss < least) {
            least = miss;
            best = window;
        }
    }
    return best > 0 && holds_window(failing, best, found);
}

/* How much one evaluation of a row costs. */
static double work_of(const struct step *step, const struct op_row *row)
{
    double keys = is_attention(step) ? row->position + 1.0 : 1;
    return keys * step->width;
}

bool parameters_find(const struct parameters_case *failing, struct parameters_found *found)
{
    const struct step *step = failing->step;
    if (!failing->lowest->recorded || !failing->highest->recorded || work_of(step, failing->highest) > MOST_WORK) {
        return false;
    }
    if (try_plain_rope(failing, found) || try_heads(failing, found) || try_window(failing, found)) {
        return true;
    }
    for (size_t i = 0; i < sizeof(parameters) / sizeof(*parameters) && !stop_asked(); i++) {
        if ((parameters[i].op == step->op || (parameters[i].op == OP_attention && is_attention(step))) &&
            try_parameter(failing, &parameters[i], found)) {
            return true;
        }
    }
    return false;
}
