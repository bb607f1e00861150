/* Bugs of rope. */
#include <stdlib.h>

#include "workbench/diagnose/kinds/plant.h"

#define SHIFT 5
#define SLOWER 0.75
#define PAIR 1

static void turn_all(struct plant *plant, struct rope_trial trial)
{
    struct rope_trial *copy = arena_alloc(&plant->arena, sizeof(*copy));
    *copy = trial;
    for (uint32_t i = 0; i < plant->n; i++) {
        plant->rows[i].rope = copy;
    }
    plant_compute(plant);
}

bool plant_positions_shifted(struct plant *plant)
{
    turn_all(plant, (struct rope_trial){.shift = SHIFT});
    plant->number = plant->rows[0].position + SHIFT;
    return true;
}

bool plant_tables_bf16(struct plant *plant)
{
    turn_all(plant, (struct rope_trial){.table = ROUNDING_BF16});
    return true;
}

/* The frequencies, read off the op: what (1, 0) becomes at position 1. */
bool plant_one_frequency(struct plant *plant)
{
    struct step step = *plant->right;
    uint32_t dim = step.params.rope.dim, pairs = dim / 2;
    if (pairs < 3) { /* a theta and a factor give any two frequencies */
        return false;
    }
    step.params.rope.heads = 1;
    step.width = dim;
    float *x = arena_alloc(&plant->arena, dim * sizeof(*x));
    double *y = arena_alloc(&plant->arena, dim * sizeof(*y)), *frequencies = arena_alloc(&plant->arena, pairs * 8);
    for (uint32_t i = 0; i < pairs; i++) {
        x[i] = 1;
    }
    const struct op_row row = {.in = {x}, .position = 1};
    op_run(&(struct op_batch){.step = &step, .n_rows = 1, .rows = &row, .y = y});
    for (uint32_t i = 0; i < pairs; i++) {
        frequencies[i] = atan2(y[pairs + i], y[i]) * (i == PAIR ? SLOWER : 1);
    }
    turn_all(plant, (struct rope_trial){.frequencies = frequencies});
    plant->number = frequencies[PAIR];
    return true;
}
