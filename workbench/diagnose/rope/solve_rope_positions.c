/* Positions: each failing row is rotated as another position, the same for all its pairs. A row has dim/2 angles for
 * one whole number. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/stop.h"
#include "workbench/diagnose/rope/rope_turns.h"

#define MOST_SHIFT 65536 /* positions tried on either side */
#define ANGLE_OFF 0.02   /* radians; the proof decides */

/* Whether all angles of a row are about those of a position. */
static bool is_near(const struct rope_turns *turns, uint32_t row, double position)
{
    for (uint32_t i = 0; i < turns->pairs; i++) {
        uint64_t at = (uint64_t)row * turns->pairs + i;
        double off = remainder(turns->angle[at] - position * turns->frequencies[i], 2 * M_PI);
        if (turns->weight[at] > 0 && !(fabs(off) < ANGLE_OFF)) {
            return false;
        }
    }
    return true;
}

static bool fits(const struct rope_turns *turns, uint32_t row, double shift)
{
    if (shift == 0 || !is_near(turns, row, turns->rows[row].position + shift)) {
        return false;
    }
    const struct rope_trial trial = {.shift = shift};
    struct op_row tried = turns->rows[row];
    tried.rope = &trial;
    trial_run(turns->solve->trial, turns->solve->evidence->step, &tried, 1);
    return trial_row_ratio(turns->solve->trial, &tried, 0) <= 1;
}

/* Finds a row's shift: that of the row before, the same multiple of the position, or the nearest that fits. */
static bool find_shift(const struct rope_turns *turns, uint32_t row, struct rope_trial *trials)
{
    double position = turns->rows[row].position;
    if (row > 0) {
        double before = turns->rows[row - 1].position, was = trials[row - 1].shift;
        const double guesses[] = {was, before > 0 ? round(position * was / before) : 0, was + before - position};
        for (size_t i = 0; i < sizeof(guesses) / sizeof(*guesses); i++) {
            if (fits(turns, row, guesses[i])) {
                trials[row].shift = guesses[i];
                return true;
            }
        }
    }
    for (double shift = 1; shift <= MOST_SHIFT && !stop_asked(); shift++) {
        for (int sign = 1; sign >= -1; sign -= 2) {
            if (fits(turns, row, sign * shift)) {
                trials[row].shift = sign * shift;
                return true;
            }
        }
    }
    return false;
}

/* Whether every shift is what rounding the position to a type of floats makes; the passing rows' is 0. */
static bool is_rounded(const struct rope_turns *turns, const struct rope_trial *trials, enum rounding_type type)
{
    for (uint32_t i = 0; i < turns->solve->trial->rows.n; i++) {
        double position = turns->solve->trial->rows.rows[i].position, shift = i < turns->n ? trials[i].shift : 0;
        if (round_number(type, position) != position + shift) {
            return false;
        }
    }
    return true;
}

/* The rule of the shifts in words. */
static void describe(const struct rope_turns *turns, const struct rope_trial *trials, char text[200],
                     struct solved *solved)
{
    double first = turns->rows[0].position, multiple = 1 + trials[0].shift / first;
    double next = turns->n > 1 ? turns->rows[1].position + trials[1].shift : 0;
    double slope = turns->n > 2 ? (next - first - trials[0].shift) / (turns->rows[1].position - first) : 0;
    bool same = true, times = first > 0, stands = true, line = slope > 0;
    for (uint32_t i = 0; i < turns->n; i++) {
        double position = turns->rows[i].position, shift = trials[i].shift;
        same &= shift == trials[0].shift;
        times &= position + shift == position * multiple;
        stands &= position + shift == first + trials[0].shift;
        line &= position + shift == first + trials[0].shift + (position - first) * slope;
    }
    *solved = (struct solved){.expected = first, .found = first + trials[0].shift};
    snprintf(solved->name, sizeof(solved->name), "position of row %g", first);
    if (same) {
        const char *why = trials[0].shift == first ? ", as where a chunk's offset is counted twice" : "";
        snprintf(text, 200, "their positions are %g too %s%s", fabs(trials[0].shift),
                 trials[0].shift > 0 ? "large" : "small", why);
    } else if (times) {
        snprintf(text, 200, "their positions are multiplied by %g", multiple);
    } else if (stands) {
        snprintf(text, 200, "they all have the position %g", first + trials[0].shift);
    } else if (line) {
        double start = first + trials[0].shift - first * slope;
        snprintf(text, 200, "position p is taken for %g p %c %g", slope, start < 0 ? '-' : '+', fabs(start));
    } else {
        snprintf(text, 200, "their positions are not their own");
    }
}

bool solve_rope_positions(const struct solve *solve, struct diagnosis *found)
{
    struct rope_turns turns;
    double worst;
    rope_turns_open(&turns, solve);
    struct rope_trial *trials = xcalloc(turns.n, sizeof(*trials));
    uint32_t n = 0;
    while (n < turns.n && turns.pairs > 1 && find_shift(&turns, n, trials)) {
        n++;
    }
    bool explains = n == turns.n && rope_explains(solve, solve->evidence->step, trials, false, &worst);
    if (explains) {
        char rule[200];
        describe(&turns, trials, rule, &found->solved);
        for (enum rounding_type type = ROUNDING_F16; type <= ROUNDING_BF16; type++) {
            if (is_rounded(&turns, trials, type)) {
                found->kind = KIND_PRECISION;
                snprintf(found->fault, sizeof(found->fault), "%s", fault_kind_name(KIND_PRECISION));
                snprintf(rule, sizeof(rule), "their positions are rounded to %s", rounding_name(type));
            }
        }
        uint32_t first = turns.rows[0].position, last = turns.rows[n - 1].position;
        if (trials[0].shift == -2.0 * first && strstr(rule, "multiplied by -1")) {
            found->kind = KIND_FORMULA; /* the sign of sin */
            snprintf(found->fault, sizeof(found->fault), "%s", fault_kind_name(KIND_FORMULA));
            snprintf(rule, sizeof(rule), "pairs are turned backwards, for sin has the wrong sign");
        }
        proof_tell(solve, &(struct proof){.worst = worst}, found,
                   "Rows %s%u-%u are rotated as other positions: %s. Row %u is rotated as %g.",
                   last - first == n - 1 ? "" : "among ", first, last, rule, first, first + trials[0].shift);
    }
    free(trials);
    rope_turns_close(&turns);
    return explains;
}
