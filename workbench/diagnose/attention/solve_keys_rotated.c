/* Keys in the cache that are rotated again, or by an angle of their own: k_rope as recorded is right, and attention
 * reads something else. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/stop.h"
#include "workbench/diagnose/attention/attention_rows.h"

#define MOST_SHIFT 4096 /* positions on either side */
#define MOST_TURNED 3e5 /* values turned in search of a shift */

/* What attention reads in place of the keys. */
struct reading {
    bool again;    /* key j is rotated by j positions once more */
    bool back;     /* key j is not rotated at all */
    double shift;  /* every key is rotated by so many positions more */
    bool but_own;  /* the row's own key is right */
    uint32_t from; /* keys from this position on are right */
};

/* Failing rows with other keys. keys, errors and values: those of all positions, the changed keys first, then the
 * recorded ones. */
struct reread {
    uint32_t n_positions;
    float *keys, *values;
    double *errors;
    uint32_t *seen;                 /* [n_failing, n_positions] */
    struct attention_trial *trials; /* [n_failing] */
    struct op_row *rows;            /* [n_failing] */
};

/* Turns the keys of the first n positions by the rope that made them. The recorded keys have its factor of cos and sin
 * already: keys that are rotated twice have it twice, keys that are not rotated do not have it. */
static void turn_keys(struct reread *reread, const struct solve *solve, const struct step *rope,
                      const struct reading *reading, uint32_t n)
{
    uint64_t n_values = (uint64_t)n * rope->width;
    struct step step = *rope;
    float *scale = &step.params.rope.scale;
    *scale = reading->again ? *scale : reading->back ? 1 / *scale : 1;
    const float *recorded = solve->trial->rows.rows[0].in[1];
    struct op_row *rows = xcalloc(n, sizeof(*rows));
    struct rope_trial *trials = xcalloc(n, sizeof(*trials));
    double *y = xmalloc(n_values * sizeof(*y));
    for (uint32_t i = 0; i < n; i++) {
        trials[i].shift = reading->again ? 0 : reading->back ? -2.0 * i : reading->shift - i;
        rows[i] = (struct op_row){.arith = solve->trial->rows.rows[0].arith,
                                  .in = {recorded + (uint64_t)i * rope->width},
                                  .position = i,
                                  .rope = &trials[i]};
    }
    op_run(&(struct op_batch){.step = &step, .n_rows = n, .rows = rows, .y = y, .bound = reread->errors});
    for (uint64_t i = 0; i < n_values; i++) {
        reread->keys[i] = (float)y[i];
    }
    free(y);
    free(trials);
    free(rows);
}

static void reread_open(struct reread *reread, const struct solve *solve, const struct step *rope)
{
    const struct op_row *first = &solve->trial->rows.rows[0];
    uint32_t n = solve->evidence->trace->n_positions, n_failing = solve->trial->n_failing;
    uint64_t n_values = (uint64_t)n * rope->width;
    *reread = (struct reread){.n_positions = n,
                              .keys = xcalloc(2 * n_values, sizeof(float)),
                              .values = xcalloc(2 * n_values, sizeof(float)),
                              .errors = xcalloc(2 * n_values, sizeof(double)),
                              .seen = xcalloc((uint64_t)n_failing * n, sizeof(uint32_t)),
                              .trials = xcalloc(n_failing, sizeof(*reread->trials)),
                              .rows = xcalloc(n_failing, sizeof(*reread->rows))};
    memcpy(reread->keys + n_values, first->in[1], n_values * sizeof(float));
    memcpy(reread->values, first->in[2], n_values * sizeof(float));
    memcpy(reread->values + n_values, first->in[2], n_values * sizeof(float));
}

static void reread_close(struct reread *reread)
{
    free(reread->keys);
    free(reread->values);
    free(reread->errors);
    free(reread->seen);
    free(reread->trials);
    free(reread->rows);
}

/* Sets failing row i to a reading. */
static void set_row(struct reread *reread, const struct solve *solve, const struct reading *reading, uint32_t i)
{
    struct op_row *row = &reread->rows[i];
    *row = solve->trial->rows.rows[i];
    uint32_t *seen = reread->seen + (uint64_t)i * reread->n_positions, n = 0, own = row->position;
    uint32_t window = solve->evidence->step->params.attention.window;
    for (uint32_t key = window && own >= window ? own + 1 - window : 0; key <= own; key++) {
        bool is_right = key >= reading->from || (key == own && reading->but_own);
        seen[n++] = key + (is_right ? reread->n_positions : 0);
    }
    reread->trials[i] = (struct attention_trial){.keys = seen, .n_keys = n};
    row->in[1] = reread->keys;
    row->in[2] = reread->values;
    row->error[1] = reread->errors;
    row->attention = &reread->trials[i];
}

static bool explains_row(struct reread *reread, const struct solve *solve, const struct reading *reading, uint32_t i)
{
    set_row(reread, solve, reading, i);
    trial_run(solve->trial, solve->evidence->step, &reread->rows[i], 1);
    return trial_row_ratio(solve->trial, &reread->rows[i], 0) <= 1;
}

static bool explains_all(struct reread *reread, const struct solve *solve, const struct reading *reading, double *worst)
{
    uint32_t n = solve->trial->rows.n, n_failing = solve->trial->n_failing;
    struct op_row *rows = xcalloc(n, sizeof(*rows));
    memcpy(rows, solve->trial->rows.rows, n * sizeof(*rows));
    for (uint32_t i = 0; i < n_failing; i++) {
        set_row(reread, solve, reading, i);
        rows[i] = reread->rows[i];
    }
    struct candidate candidate = trial_candidate(solve->trial, solve->evidence->step);
    candidate.rows = rows;
    bool explains = trial_explains(solve->trial, &candidate, solve->evidence, worst);
    free(rows);
    return explains;
}

/* The step whose output attention reads as its keys, if it is a rope; and its input is recorded nowhere else. */
static const struct step *rope_of(const struct solve *solve)
{
    int32_t index = solve->evidence->step->input[1];
    const struct step *rope = index >= 0 ? &solve->evidence->plan->steps[index] : NULL;
    return rope && rope->op == OP_rope ? rope : NULL;
}

static void describe(const struct solve *solve, const struct reading *reading, double worst, struct diagnosis *found)
{
    char which[64] = "keys";
    if (reading->from < UINT32_MAX) {
        snprintf(which, sizeof(which), "keys before position %u", reading->from);
    } else if (reading->but_own) {
        snprintf(which, sizeof(which), "keys of earlier positions");
    }
    if (reading->again) {
        proof_tell(solve, &(struct proof){.worst = worst}, found, "Attention reads %s that are rotated twice.", which);
    } else if (reading->back) {
        proof_tell(solve, &(struct proof){.worst = worst}, found, "Attention reads %s that are not rotated.", which);
    } else {
        found->solved = solved_number("positions that keys are shifted by", 0, reading->shift);
        proof_tell(solve, &(struct proof){.worst = worst}, found,
                   "Attention reads %s that are rotated as positions %g %s.", which, fabs(reading->shift),
                   reading->shift > 0 ? "larger" : "smaller");
    }
}

/* Tries a way to rotate for all keys, for all but the row's own, and for those of the prompt. */
static bool try_reading(struct reread *reread, const struct solve *solve, const struct step *rope,
                        struct reading reading, struct diagnosis *found)
{
    const struct op_row *first = &solve->trial->rows.rows[0];
    uint32_t n_prompt = 0;
    while (n_prompt < reread->n_positions && solve->evidence->trace->phase[n_prompt] == PHASE_PREFILL) {
        n_prompt++;
    }
    turn_keys(reread, solve, rope, &reading, first->position + 1);
    for (unsigned which = 0; which < (first->decode ? 3 : 2); which++) {
        double worst;
        reading.but_own = which == 1;
        reading.from = which == 2 ? n_prompt : UINT32_MAX;
        if (!explains_row(reread, solve, &reading, 0)) {
            continue;
        }
        turn_keys(reread, solve, rope, &reading, reread->n_positions);
        if (explains_all(reread, solve, &reading, &worst)) {
            describe(solve, &reading, worst, found);
            return true;
        }
    }
    return false;
}

bool solve_keys_rotated(const struct solve *solve, struct diagnosis *found)
{
    const struct step *rope = rope_of(solve);
    struct reread reread;
    if (!rope || !solve->trial->rows.rows[0].in[0]) {
        return false;
    }
    reread_open(&reread, solve, rope);
    bool explains = try_reading(&reread, solve, rope, (struct reading){.again = true}, found) ||
                    try_reading(&reread, solve, rope, (struct reading){.back = true}, found);
    double a_shift = 2.0 * (solve->trial->rows.rows[0].position + 1) * rope->width;
    uint32_t n_shifts = 0;
    for (double shift = 1; shift <= fmin(MOST_SHIFT, MOST_TURNED / a_shift) && !explains && n_shifts < 2; shift++) {
        if (stop_asked()) {
            break;
        }
        struct diagnosis other = *found;
        for (int sign = 1; sign >= -1 && n_shifts < 2; sign -= 2) {
            n_shifts += try_reading(&reread, solve, rope, (struct reading){.shift = sign * shift},
                                    n_shifts == 0 ? found : &other);
        }
    }
    reread_close(&reread);
    return explains || n_shifts == 1; /* two shifts that fit are chance, as where a row sees almost one key */
}
