/* What plants share. */
#include "workbench/diagnose/kinds/plant.h"

#include <string.h>

void plant_compute(struct plant *plant)
{
    op_run(&(struct op_batch){.step = &plant->step,
                              .weights_dtype = trace_find_step(plant->trace, plant->right)->weights_dtype,
                              .n_rows = plant->n,
                              .rows = plant->rows,
                              .y = plant->y});
}

float *plant_copy_input(struct plant *plant, unsigned input, uint32_t width)
{
    float *copy = arena_alloc(&plant->arena, (uint64_t)plant->n * width * sizeof(*copy));
    for (uint32_t i = 0; i < plant->n; i++) {
        float *row = copy + (uint64_t)i * width;
        memcpy(row, plant->rows[i].in[input], width * sizeof(*copy));
        plant->rows[i].in[input] = row;
    }
    return copy;
}

float *plant_weights(struct plant *plant, const struct tensor *tensor, uint64_t row)
{
    float *w = arena_alloc(&plant->arena, tensor_row_elems(tensor) * sizeof(*w));
    weights_decode(tensor, row, 0, tensor_row_elems(tensor), w);
    return w;
}
