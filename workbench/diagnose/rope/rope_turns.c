#include "workbench/diagnose/rope/rope_turns.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void solve_turn(struct rope_turns *turns, uint32_t row, uint32_t pair)
{
    const float *x = turns->rows[row].in[0], *y = turns->rows[row].recorded;
    double real = 0, imaginary = 0, weight = 0;
    for (uint32_t h = 0; h < turns->p->heads; h++) {
        uint64_t first = (uint64_t)h * turns->p->dim + pair, second = first + turns->pairs;
        double a = x[first], b = x[second], c = y[first], d = y[second];
        real += a * c + b * d;
        imaginary += a * d - b * c;
        weight += a * a + b * b;
    }
    uint64_t at = (uint64_t)row * turns->pairs + pair;
    turns->angle[at] = atan2(imaginary, real);
    turns->scale[at] = weight > 0 ? hypot(real, imaginary) / weight : 0;
    turns->weight[at] = weight;
}

/* The right frequency of a pair, from the op itself: a pair (1, 0) turned at position 1. */
static void find_frequencies(struct rope_turns *turns)
{
    struct step step = *turns->solve->evidence->step;
    step.params.rope.heads = 1;
    step.width = step.params.rope.dim;
    float *x = xcalloc(step.width, sizeof(*x));
    double *y = xcalloc(step.width, sizeof(*y));
    for (uint32_t i = 0; i < turns->pairs; i++) {
        x[i] = 1;
    }
    const struct op_row row = {.in = {x}, .position = 1};
    op_run(&(struct op_batch){.step = &step, .n_rows = 1, .rows = &row, .y = y});
    for (uint32_t i = 0; i < turns->pairs; i++) {
        turns->frequencies[i] = atan2(y[turns->pairs + i], y[i]);
    }
    free(y);
    free(x);
}

void rope_turns_open(struct rope_turns *turns, const struct solve *solve)
{
    const struct rope_params *p = &solve->evidence->step->params.rope;
    *turns = (struct rope_turns){
        .solve = solve, .p = p, .n = solve->trial->n_failing, .pairs = p->dim / 2, .rows = solve->trial->rows.rows};
    uint64_t n = (uint64_t)turns->n * turns->pairs;
    turns->angle = xcalloc(n, sizeof(*turns->angle));
    turns->scale = xcalloc(n, sizeof(*turns->scale));
    turns->weight = xcalloc(n, sizeof(*turns->weight));
    turns->frequencies = xcalloc(turns->pairs, sizeof(*turns->frequencies));
    for (uint64_t i = 0; i < n; i++) {
        solve_turn(turns, (uint32_t)(i / turns->pairs), (uint32_t)(i % turns->pairs));
    }
    find_frequencies(turns);
}

void rope_turns_close(struct rope_turns *turns)
{
    free(turns->angle);
    free(turns->scale);
    free(turns->weight);
    free(turns->frequencies);
}

bool rope_explains(const struct solve *solve, const struct step *step, const struct rope_trial *trials, bool of_all,
                   double *worst)
{
    const struct op_trial *trial = solve->trial;
    struct op_row *rows = xcalloc(trial->rows.n, sizeof(*rows));
    for (uint32_t i = 0; i < trial->rows.n; i++) {
        rows[i] = trial->rows.rows[i];
        rows[i].rope = of_all ? &trials[0] : i < trial->n_failing ? &trials[i] : NULL;
    }
    struct candidate candidate = trial_candidate(trial, step);
    candidate.rows = rows;
    bool explains = trial_explains(solve->trial, &candidate, solve->evidence, worst);
    free(rows);
    return explains;
}
