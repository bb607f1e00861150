#include "workbench/diagnose/numbers/config_numbers.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/stop.h"
#include "workbench/diagnose/numbers/config_parameters.h"

#define GRID 160       /* values tried first, evenly spaced in their logarithm */
#define REFINEMENTS 48 /* each shortens the interval to 0.618 of it */
#define SPAN_GRID 28   /* likewise in a span */
#define SPAN_REFINEMENTS 32
#define TELLING_REFINEMENTS 10 /* after these, a value that explains is within 2 % of a grid's step */
#define LEAST_LEFT 0.25        /* of the squares that MODEL's value misses by: more is left by no value that explains */
#define MOST_WINDOWS 512       /* windows tried */

static double distance_at(const struct config_search *search, struct step *step, size_t field, double logarithm)
{
    parameter_set(step, field, exp(logarithm));
    return search->distance(search->context, step, false);
}

/* The value with which the lowest failing row comes nearest to the recorded one: the best of a grid, refined by golden
 * sections. */
static double best_value(const struct config_search *search, struct step step, const struct parameter *parameter)
{
    int n_grid = search->in_span ? SPAN_GRID : GRID;
    double low = log(parameter->low), high = log(parameter->high), width = (high - low) / (n_grid - 1), best = INFINITY;
    double at = low, right = search->distance(search->context, search->step, false);
    double had = parameter_get(search->step, parameter->field);
    if (distance_at(search, &step, parameter->field, low) == right &&
        distance_at(search, &step, parameter->field, high) == right) {
        return had; /* it changes nothing: rope, or the scale of scores, at position 0 */
    }
    for (int i = 0; i < n_grid; i++) {
        double miss = distance_at(search, &step, parameter->field, low + i * width);
        if (miss < best) {
            best = miss;
            at = low + i * width;
        }
    }
    if (best >= right && search->in_span) {
        return had; /* no value comes nearer than MODEL's */
    }
    const double section = 0.6180339887498949;
    double a = at - width, b = at + width, left = b - section * (b - a), more = a + section * (b - a);
    double of_left = distance_at(search, &step, parameter->field, left);
    double of_more = distance_at(search, &step, parameter->field, more);
    for (int i = 0; i < (search->in_span ? SPAN_REFINEMENTS : REFINEMENTS); i++) {
        if (i == TELLING_REFINEMENTS && search->in_span && fmin(of_left, of_more) > LEAST_LEFT * right) {
            return had;
        }
        if (of_left < of_more) {
            b = more;
            more = left;
            of_more = of_left;
            left = b - section * (b - a);
            of_left = distance_at(search, &step, parameter->field, left);
        } else {
            a = left;
            left = more;
            of_left = of_more;
            more = a + section * (b - a);
            of_more = distance_at(search, &step, parameter->field, more);
        }
    }
    return exp((a + b) / 2);
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
        parameter_set(step, parameter->field, parameter->inverse_square ? 1 / sqrt(*taken) : *taken);
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
        parameter_set(&step, parameter->field, had * multiple);
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
    double had = parameter_get(&step, parameter->field), value;
    if (parameter->field == FIELD(rope.factor) && step.params.rope.type == ROPE_TYPE_DEFAULT) {
        step.params.rope.type = ROPE_TYPE_LINEAR;
    }
    if (!parameter_is_used(parameter, &step)) {
        return false;
    }
    double best = NAN;
    if (search->known) {
        best = parameter->inverse_square ? 1 / sqrt(search->known_value) : search->known_value;
    } else {
        best = best_value(search, step, parameter);
    }
    if (best == had) {
        return false;
    }
    if (!reproduced_near(search, &step, parameter, best, &value)) {
        return try_multiple(search, parameter, had, best, found);
    }
    config_number_tell(search->step, &step, found);
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
    config_number_tell(search->step, &step, found);
    return true;
}

/* YaRN's correction range, widened to whole dims or not. Where the rope is recorded, a solver tries it. */
static bool try_truncate(const struct config_search *search, struct config_number *found)
{
    struct step step = *search->step;
    struct rope_params *rope = &step.params.rope;
    if (step.op != OP_rope || rope->type != ROPE_TYPE_YARN || !search->in_span) {
        return false;
    }
    rope->truncate ^= 1;
    if (!search->reproduces(search->context, &step)) {
        return false;
    }
    config_number_tell(search->step, &step, found);
    return true;
}

/* The same width, divided into heads of another size. No shape check can notice it. */
static bool try_heads(const struct config_search *search, struct config_number *found)
{
    static const uint32_t dims[] = {8, 16, 24, 32, 48, 64, 80, 96, 112, 128, 160, 192, 256};
    for (size_t i = 0; search->step->op == OP_rope && !search->in_span && i < sizeof(dims) / sizeof(*dims); i++) {
        struct step step = *search->step;
        if (dims[i] == step.params.rope.dim || step.width % dims[i] != 0) {
            continue;
        }
        step.params.rope.dim = dims[i];
        step.params.rope.heads = step.width / dims[i];
        if (!search->reproduces(search->context, &step)) {
            continue;
        }
        config_number_tell(search->step, &step, found);
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
    config_number_tell(search->step, &step, found);
    return true;
}

/* A window of n keys that is too small first fails at position n, so the lowest failing row gives its size. Larger
 * windows are compared at the highest failing row. */
static bool try_window(const struct config_search *search, struct config_number *found)
{
    uint32_t had = search->step->params.attention.window, end = search->highest + 1, best = 0;
    if (!config_is_attention(search->step)) {
        return false;
    }
    if (is_window(search, search->lowest, found) || is_window(search, 0, found)) {
        return true;
    }
    double least = INFINITY;
    for (uint32_t window = had + 1; had > 0 && window < end && window - had <= MOST_WINDOWS; window++) {
        struct step step = *search->step;
        step.params.attention.window = window;
        double miss = search->distance(search->context, &step, true);
        if (miss < least) {
            least = miss;
            best = window;
        }
    }
    return best > 0 && is_window(search, best, found);
}

static bool is_asked_for(const struct config_search *search, const char *name)
{
    return !search->known || strcmp(search->known, name) == 0;
}

bool config_number_find(const struct config_search *search, struct config_number *found)
{
    *found = (struct config_number){0};
    const struct step *step = search->step;
    if ((is_asked_for(search, "wrong-rope-type") && try_plain_rope(search, found)) ||
        (is_asked_for(search, "wrong-yarn-truncate") && try_truncate(search, found)) ||
        (is_asked_for(search, "wrong-head-dim") && try_heads(search, found)) ||
        (is_asked_for(search, "wrong-sliding-window") && try_window(search, found))) {
        return true;
    }
    uint32_t n;
    const struct parameter *parameters = config_parameters(&n);
    for (uint32_t i = 0; i < n && !stop_asked(); i++) {
        if (parameter_is_of(&parameters[i], step) && (search->in_span || !parameters[i].in_spans) &&
            is_asked_for(search, parameters[i].name) && try_parameter(search, &parameters[i], found)) {
            return true;
        }
    }
    return config_pair_find(search, found);
}
