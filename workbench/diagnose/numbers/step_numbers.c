/* Numbers of the config that explain a recorded step. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "workbench/diagnose/numbers/config_numbers.h"
#include "workbench/diagnose/proof.h"

#define MOST_WORK 1e7 /* multiplications of a row that is computed some hundred times */

static bool step_explains(void *context, const struct step *step)
{
    double worst;
    const struct solve *solve = context;
    const struct candidate candidate = trial_candidate(solve->trial, step);
    return trial_explains(solve->trial, &candidate, solve->evidence, &worst);
}

static double row_distance(void *context, const struct step *step, bool highest)
{
    const struct solve *solve = context;
    const struct op_row *rows = solve->trial->rows.rows;
    uint32_t lowest =
        rows[0].position == 0 && solve->trial->n_failing > 1; /* position 0 tells nothing of frequencies */
    const struct op_row *row = &rows[highest ? solve->trial->n_failing - 1 : lowest];
    double *y = xcalloc(step->width, sizeof(*y)), sum = 0;
    uint32_t weights_dtype = solve->trial->stage->weights_dtype;
    op_run(&(struct op_batch){.step = step, .weights_dtype = weights_dtype, .n_rows = 1, .rows = row, .y = y});
    for (uint32_t i = 0; i < step->width; i++) {
        sum += (y[i] - row->recorded[i]) * (y[i] - row->recorded[i]);
    }
    free(y);
    return isfinite(sum) ? sum : INFINITY;
}

/* Whether a row can be computed some hundred times. */
static bool row_is_cheap(const struct step *step, const struct op_row *row)
{
    bool reads_keys = step->op == OP_attention || step->op == OP_attention_probs;
    return row->recorded && (reads_keys ? row->position + 1.0 : 1) * step->width <= MOST_WORK;
}

bool numbers_try(const struct solve *solve, struct diagnosis *found)
{
    const struct op_trial *trial = solve->trial;
    const struct op_row *rows = trial->rows.rows, *lowest = &rows[0], *highest = &rows[trial->n_failing - 1];
    struct config_search search = {.step = solve->evidence->step,
                                   .lowest = lowest->position,
                                   .highest = highest->position,
                                   .distance = row_distance,
                                   .reproduces = step_explains,
                                   .context = (void *)solve};
    struct config_number number;
    if (trial->n_failing < 2 || !row_is_cheap(search.step, lowest) || !row_is_cheap(search.step, highest) ||
        !config_number_find(&search, &number)) {
        return false;
    }
    config_number_name(&number, solve->evidence->step_index, found);
    snprintf(found->text, sizeof(found->text),
             "%s. Computed with it, all %u rows come out as recorded; MODEL's value fails in %u.", number.text,
             trial->rows.n, trial->n_failing);
    return true;
}
