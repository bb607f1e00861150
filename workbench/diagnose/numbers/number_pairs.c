/* Two numbers of rope that are both wrong: another model's rope scaling, or one that was left out. They are searched
 * for together, for neither explains anything alone. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/stop.h"
#include "workbench/diagnose/numbers/config_numbers.h"
#include "workbench/diagnose/numbers/config_parameters.h"

#define GRID 14                /* values of each number that are tried first, evenly spaced in their logarithms */
#define MOST_STARTS 5          /* of the simplex */
#define REFINEMENTS 120        /* its steps */
#define TELLING_REFINEMENTS 30 /* after these, numbers that explain leave little */
#define LEAST_LEFT 0.1 /* of the squares that MODEL's numbers miss by: more is left by no numbers that explain */

struct pair {
    const struct config_search *search;
    const struct parameter *parameter[2];
};

/* A corner of the simplex: logarithms of both numbers, and what they miss by. */
struct corner {
    double at[2], miss;
};

static void set_numbers(const struct pair *pair, const double at[2], struct step *step)
{
    for (unsigned i = 0; i < 2; i++) {
        parameter_set(step, pair->parameter[i]->field, exp(at[i]));
    }
}

static struct corner corner_at(const struct pair *pair, double first, double second)
{
    struct step step = *pair->search->step;
    struct corner corner = {.at = {first, second}};
    if (step.params.rope.type == ROPE_TYPE_DEFAULT) {
        step.params.rope.type = ROPE_TYPE_LINEAR;
    }
    set_numbers(pair, corner.at, &step);
    corner.miss = pair->search->distance(pair->search->context, &step, false);
    return corner;
}

static double low(const struct pair *pair, unsigned i)
{
    return log(pair->parameter[i]->low);
}

static double grid_step(const struct pair *pair, unsigned i)
{
    return (log(pair->parameter[i]->high) - low(pair, i)) / (GRID - 1);
}

static int by_miss(const void *a, const void *b)
{
    const struct corner *left = a, *right = b;
    return (left->miss > right->miss) - (left->miss < right->miss);
}

/* Where the simplex begins: at MODEL's numbers, and at those of a grid that miss by less than their neighbours, the
 * best first: there are valleys that lead nowhere. Returns how many. */
static unsigned find_starts(const struct pair *pair, double right, struct corner starts[MOST_STARTS])
{
    struct corner grid[GRID * GRID], found[GRID * GRID];
    unsigned n = 0;
    for (unsigned i = 0; i < GRID * GRID && !stop_asked(); i++) {
        unsigned row = i / GRID, column = i % GRID;
        grid[i] = corner_at(pair, low(pair, 0) + row * grid_step(pair, 0), low(pair, 1) + column * grid_step(pair, 1));
    }
    for (unsigned i = 0; i < GRID * GRID && !stop_asked(); i++) {
        bool least = grid[i].miss < right;
        least &= i < GRID || grid[i].miss <= grid[i - GRID].miss;
        least &= i / GRID + 1 == GRID || grid[i].miss <= grid[i + GRID].miss;
        least &= i % GRID == 0 || grid[i].miss <= grid[i - 1].miss;
        least &= i % GRID + 1 == GRID || grid[i].miss <= grid[i + 1].miss;
        if (least) {
            found[n++] = grid[i];
        }
    }
    qsort(found, n, sizeof(*found), by_miss);
    n = n < MOST_STARTS - 1 ? n : MOST_STARTS - 1;
    memcpy(starts, found, n * sizeof(*starts));
    starts[n] = corner_at(pair, log(parameter_get(pair->search->step, pair->parameter[0]->field)),
                          log(parameter_get(pair->search->step, pair->parameter[1]->field)));
    return n + 1;
}

/* Nelder and Mead's simplex. */
static struct corner refine(const struct pair *pair, struct corner start, double right)
{
    struct corner s[3] = {start, corner_at(pair, start.at[0] + grid_step(pair, 0) / 2, start.at[1]),
                          corner_at(pair, start.at[0], start.at[1] + grid_step(pair, 1) / 2)};
    for (int n = 0; n < REFINEMENTS && !stop_asked(); n++) {
        qsort(s, 3, sizeof(*s), by_miss);
        if (n == TELLING_REFINEMENTS && s[0].miss > LEAST_LEFT * right) {
            break;
        }
        double middle[2] = {(s[0].at[0] + s[1].at[0]) / 2, (s[0].at[1] + s[1].at[1]) / 2};
        double away[2] = {middle[0] - s[2].at[0], middle[1] - s[2].at[1]};
        struct corner beyond = corner_at(pair, middle[0] + away[0], middle[1] + away[1]);
        if (beyond.miss < s[0].miss) {
            struct corner further = corner_at(pair, middle[0] + 2 * away[0], middle[1] + 2 * away[1]);
            s[2] = further.miss < beyond.miss ? further : beyond;
            continue;
        }
        if (beyond.miss < s[1].miss) {
            s[2] = beyond;
            continue;
        }
        struct corner nearer = corner_at(pair, middle[0] - away[0] / 2, middle[1] - away[1] / 2);
        if (nearer.miss < s[2].miss) {
            s[2] = nearer;
            continue;
        }
        for (unsigned i = 1; i < 3; i++) {
            s[i] = corner_at(pair, (s[i].at[0] + s[0].at[0]) / 2, (s[i].at[1] + s[0].at[1]) / 2);
        }
    }
    qsort(s, 3, sizeof(*s), by_miss);
    return s[0];
}

/* Round numbers near one: a power of two, then of few digits. Returns how many. */
static unsigned round_numbers(double value, double list[MOST_DIGITS + 1])
{
    unsigned n = 0;
    list[n++] = exp2(round(log2(value)));
    for (int digits = 1; digits <= MOST_DIGITS; digits++) {
        double rounded = round_digits(value, digits);
        if (rounded != list[n - 1]) {
            list[n++] = rounded;
        }
    }
    return n;
}

/* Tells both: the first is the one that is solved for. */
static void tell(const struct pair *pair, const struct step *wrong, struct config_number *found)
{
    struct config_number second;
    struct step one = *pair->search->step;
    size_t field = pair->parameter[1]->field;
    parameter_set(&one, field, parameter_get(wrong, field));
    config_number_tell(pair->search->step, &one, &second);
    one = *pair->search->step;
    field = pair->parameter[0]->field;
    parameter_set(&one, field, parameter_get(wrong, field));
    config_number_tell(pair->search->step, &one, found);
    size_t length = strlen(found->text);
    snprintf(found->text + length, sizeof(found->text) - length, ", and %.110s", second.text);
}

static bool reproduced_near(const struct pair *pair, const struct corner *corner, struct config_number *found)
{
    double first[MOST_DIGITS + 1], second[MOST_DIGITS + 1];
    unsigned n_first = round_numbers(exp(corner->at[0]), first), n_second = round_numbers(exp(corner->at[1]), second);
    for (unsigned sum = 0; sum + 2 <= n_first + n_second; sum++) { /* the roundest together first */
        for (unsigned i = 0; i < n_first; i++) {
            if (i > sum || sum - i >= n_second) {
                continue;
            }
            struct step step = *pair->search->step;
            if (step.params.rope.type == ROPE_TYPE_DEFAULT) {
                step.params.rope.type = ROPE_TYPE_LINEAR;
            }
            set_numbers(pair, (const double[]){log(first[i]), log(second[sum - i])}, &step);
            bool both = true; /* differ from MODEL's */
            for (unsigned k = 0; k < 2; k++) {
                size_t field = pair->parameter[k]->field;
                both &= parameter_get(&step, field) != parameter_get(pair->search->step, field);
            }
            if (both && pair->search->reproduces(pair->search->context, &step)) {
                tell(pair, &step, found);
                return true;
            }
        }
    }
    return false;
}

/* Whether the first failing row tells anything of a number. */
static bool has_effect(const struct pair *pair, unsigned i, double right)
{
    const struct config_search *search = pair->search;
    struct step step = *search->step;
    parameter_set(&step, pair->parameter[i]->field, pair->parameter[i]->low);
    double at_low = search->distance(search->context, &step, false);
    parameter_set(&step, pair->parameter[i]->field, pair->parameter[i]->high);
    return at_low != right || search->distance(search->context, &step, false) != right;
}

static bool try_pair(const struct pair *pair, struct config_number *found)
{
    const struct config_search *search = pair->search;
    double right = search->distance(search->context, search->step, false);
    if (!has_effect(pair, 0, right) || !has_effect(pair, 1, right)) {
        return false;
    }
    struct corner starts[MOST_STARTS];
    unsigned n = find_starts(pair, right, starts);
    bool explains = false;
    for (unsigned i = 0; i < n && !explains && !stop_asked(); i++) {
        struct corner best = refine(pair, starts[i], right);
        explains = best.miss < LEAST_LEFT * right && reproduced_near(pair, &best, found);
    }
    return explains;
}

static const struct parameter *parameter_of(const struct step *step, size_t field)
{
    uint32_t n;
    const struct parameter *parameters = config_parameters(&n);
    for (uint32_t i = 0; i < n; i++) {
        if (parameters[i].field == field && parameter_is_of(&parameters[i], step) &&
            parameter_is_used(&parameters[i], step)) {
            return &parameters[i];
        }
    }
    return NULL;
}

bool config_pair_find(const struct config_search *search, struct config_number *found)
{
    static const size_t fields[][2] = {
        {FIELD(rope.factor), FIELD(rope.original)},
        {FIELD(rope.high), FIELD(rope.low)},
        {FIELD(rope.theta), FIELD(rope.factor)},
    };
    for (size_t i = 0; search->step->op == OP_rope && i < sizeof(fields) / sizeof(*fields) && !stop_asked(); i++) {
        struct pair pair = {search,
                            {parameter_of(search->step, fields[i][0]), parameter_of(search->step, fields[i][1])}};
        bool asked = !search->known || (pair.parameter[0] && strcmp(search->known, pair.parameter[0]->name) == 0);
        if (asked && pair.parameter[0] && pair.parameter[1] && try_pair(&pair, found)) {
            return true;
        }
    }
    return false;
}
