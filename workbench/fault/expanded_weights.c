#include "workbench/fault/expanded_weights.h"

#include <stdlib.h>
#include <string.h>

#include "model/stop.h"
#include "reference/reference.h"

enum status parse_weights(const char *text, uint32_t *dtype, struct error *err)
{
    *dtype = DTYPE_COUNT;
    if (text == NULL) {
        return STATUS_OK;
    }
    if (strcmp(text, "f32") == 0) {
        *dtype = DTYPE_F32;
    } else if (strcmp(text, "f16") == 0) {
        *dtype = DTYPE_F16;
    } else {
        return error_set(err, STATUS_USAGE, NULL, "--weights", ERROR_NO_OFFSET, "\"%s\", expected f32 or f16", text);
    }
    return STATUS_OK;
}

static struct tensor *decode(struct arena *arena, const struct tensor *tensor, uint32_t dtype)
{
    uint64_t n_rows = tensor_rows(tensor), n = tensor_row_elems(tensor), size = dtype_info(dtype)->block_bytes;
    struct tensor *copy = arena_alloc(arena, sizeof(*copy));
    uint8_t *bytes = arena_alloc(arena, n_rows * n * size);
    *copy = *tensor;
    copy->dtype = dtype;
    copy->layout = LAYOUT_ROWS;
    copy->bytes = bytes;
    copy->scales = NULL;
    copy->n_bytes = n_rows * n * size;
#pragma omp parallel
    {
        float *row = xmalloc(n * sizeof(*row));
#pragma omp for schedule(static)
        for (uint64_t r = 0; r < n_rows; r++) {
            if (stop_asked()) {
                continue;
            }
            weights_decode(tensor, r, 0, n, row);
            if (dtype == DTYPE_F32) {
                memcpy(bytes + r * n * size, row, n * size);
                continue;
            }
            uint16_t *halves = (uint16_t *)(void *)bytes + r * n;
            for (uint64_t i = 0; i < n; i++) {
                halves[i] = half_of(row[i]);
            }
        }
        free(row);
    }
    return copy;
}

/* The copy already made of the same weight for an earlier step, as of tied embeddings; or NULL. */
static const struct tensor *find_copy(const struct plan *plan, const struct tensor *const *before, uint32_t i)
{
    for (uint32_t k = 0; k < i; k++) {
        if (before[k] == before[i]) {
            return plan->steps[k / OP_MAX_WEIGHTS].weight[k % OP_MAX_WEIGHTS];
        }
    }
    return NULL;
}

void plan_decode_weights(struct plan *plan, uint32_t dtype)
{
    const struct tensor **before = xcalloc((uint64_t)plan->n_steps * OP_MAX_WEIGHTS, sizeof(struct tensor *));
    for (uint32_t i = 0; i < plan->n_steps * OP_MAX_WEIGHTS; i++) {
        struct step *step = &plan->steps[i / OP_MAX_WEIGHTS];
        const struct tensor *tensor = step->weight[i % OP_MAX_WEIGHTS], *copy;
        before[i] = tensor;
        if (tensor == NULL || tensor->dtype == dtype) {
            continue;
        }
        copy = find_copy(plan, before, i);
        step->weight[i % OP_MAX_WEIGHTS] = copy != NULL ? copy : decode(&plan->arena, tensor, dtype);
    }
    for (uint32_t i = 0; i < plan->n_steps; i++) {
        if (plan->steps[i].op == OP_embed) {
            plan->steps[i].params.embed.scale = round_to_dtype(plan->steps[i].params.embed.scale, dtype);
        }
    }
    free(before);
}
