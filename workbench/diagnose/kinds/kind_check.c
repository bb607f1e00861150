#include "workbench/diagnose/kinds/kind_check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "workbench/audit/rows.h"

/* How far a number that was solved for may be from the planted one, as part of it. */
#define NUMBER_OFF 1e-3

/* Rows that must fail: fewer would have other explanations as well. */
#define FEWEST_ROWS 3

/* Computes the bug's rows into the recorded stage. false: it does not fit the step. */
static bool plant_bug(const struct kind_bug *bug, struct plant *plant, struct trace_stage *stage)
{
    uint32_t width = plant->right->width;
    plant->y = arena_alloc(&plant->arena, (uint64_t)plant->n * width * sizeof(*plant->y));
    if (!bug->plant(plant)) {
        return false;
    }
    for (uint64_t at = 0; at < (uint64_t)plant->n * width; at++) {
        stage->rows[(uint64_t)plant->rows[at / width].position * width + at % width] = (float)plant->y[at];
    }
    return true;
}

/* Whether the text leaves the number open, and this is one of those that it lists: "2 or 4". */
static bool is_listed(const struct diagnosis *found, double number)
{
    char text[48];
    snprintf(text, sizeof(text), " or %g ", number);
    return *found->solved.name == '\0' && strstr(found->text, text) != NULL;
}

static bool is_right(const struct kind_bug *bug, double number, const struct kind_outcome *outcome)
{
    const struct diagnosis *found = &outcome->found;
    bool says = strstr(found->text, bug->says) || strstr(found->fault, bug->says);
    bool solved =
        isnan(number) || is_listed(found, number) ||
        (*found->solved.name && fabs(found->solved.found - number) <= NUMBER_OFF * fmax(fabs(number), NUMBER_OFF));
    return outcome->n_found > 0 && found->how != HOW_CONSISTENT && found->kind == bug->kind && says && solved;
}

/* Asks each solver alone. */
static uint32_t ask_solvers(const struct plan *plan, uint32_t step, const struct trace *trace,
                            struct solver_claim claims[SOLVERS_MOST])
{
    struct op_trial trial;
    uint32_t n = 0;
    trial_open(&trial, plan, step, trace);
    if (trial_sort_failing_first(&trial, &plan->steps[step]) > 0 && !row_is_span(&trial.rows.rows[0])) {
        struct evidence evidence;
        evidence_open(&evidence, &trial, plan, step, trace);
        n = solvers_ask(&(struct solve){.trial = &trial, .evidence = &evidence}, claims);
        evidence_close(&evidence);
    }
    trial_close(&trial);
    return n;
}

/* Plants the bug in one step and diagnoses it, if it fits and shows there. */
static bool check_step(struct kind_outcome *outcome, const struct kind_bug *bug, const struct plan *plan,
                       struct trace *trace, uint32_t step)
{
    struct rows rows;
    struct trace_stage *stage = trace_find_step(trace, &plan->steps[step]);
    rows_gather(&rows, plan, step, trace, NULL);
    struct plant plant = {.plan = plan,
                          .trace = trace,
                          .right = &plan->steps[step],
                          .step = plan->steps[step],
                          .n = rows.n,
                          .rows = rows.rows,
                          .number = NAN};
    uint64_t size = (uint64_t)trace->n_positions * stage->width * sizeof(*stage->rows);
    float *healthy = xmalloc(size);
    memcpy(healthy, stage->rows, size);
    bool shows = rows.n > 0 && !row_is_span(&rows.rows[0]) && plant_bug(bug, &plant, stage) &&
                 diagnose_n_failing(plan, step, trace) >= FEWEST_ROWS;
    if (shows) {
        struct diagnosis found[8];
        outcome->step = step;
        outcome->n_found = diagnose_step(plan, step, trace, found, 8);
        outcome->found = outcome->n_found > 0 ? found[0] : outcome->found;
        outcome->ok = is_right(bug, plant.number, outcome);
        outcome->n_claims = ask_solvers(plan, step, trace, outcome->claims);
    }
    memcpy(stage->rows, healthy, size);
    free(healthy);
    arena_free(&plant.arena);
    rows_free(&rows);
    return shows;
}

void kind_check(struct kind_outcome *outcome, const struct kind_bug *bug, const struct plan *plan, struct trace *trace)
{
    *outcome = (struct kind_outcome){.step = -1};
    for (uint32_t i = 0; i < plan->n_steps; i++) {
        if (plan->steps[i].op == bug->op && trace_find_step(trace, &plan->steps[i]) &&
            check_step(outcome, bug, plan, trace, i)) {
            return;
        }
    }
}
