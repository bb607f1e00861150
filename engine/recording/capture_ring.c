#include "engine/recording/capture_ring.h"

#include <stdlib.h>
#include <string.h>

#include "engine/device/submit.h"

void capture_ring_advance(struct capture_ring *ring, uint32_t n_rows)
{
    ring->place = n_rows == 1 ? (ring->place + 1) % CAPTURE_RING : 0;
    for (uint32_t i = 0; i < CAPTURE_RING; i++) {
        ring->tokens[i].whole = ring->tokens[i].whole && n_rows == 1 && i != ring->place;
    }
}

void capture_ring_forget(struct capture_ring *ring)
{
    for (uint32_t i = 0; i < CAPTURE_RING; i++) {
        ring->tokens[i].whole = false;
    }
}

bool capture_ring_find(const struct capture_ring *ring, uint32_t position, uint32_t *place)
{
    for (uint32_t i = 0; i < CAPTURE_RING; i++) {
        if (ring->tokens[i].whole && ring->tokens[i].position == position) {
            *place = i;
            return true;
        }
    }
    return false;
}

/* A row of sentinels was never written: the engine failed. That is an error, never a divergence. */
static enum status check_captured(const struct step *step, const uint32_t *words, uint32_t first_position,
                                  uint32_t n_rows, struct error *err)
{
    for (uint32_t row = 0; row < n_rows; row++) {
        const uint32_t *values = words + (uint64_t)row * step->width;
        uint32_t i = 0;
        while (i < step->width && values[i] == SENTINEL_WORD) {
            i++;
        }
        if (i == step->width) {
            char label[64];
            return error_set(err, STATUS_DEVICE, NULL, NULL, ERROR_NO_OFFSET,
                             "%s, position %u: not captured by the engine", step_label(step, label),
                             first_position + row);
        }
    }
    return STATUS_OK;
}

/* The fault TAMPER_HEADS_FIRST: returns [rows, heads, dim] as [heads, rows, dim]. */
static void exchange_heads(float *rows, uint32_t n_rows, uint32_t heads, uint32_t dim)
{
    float *from = xmalloc((size_t)n_rows * heads * dim * sizeof(float));
    memcpy(from, rows, (size_t)n_rows * heads * dim * sizeof(float));
    for (uint32_t row = 0; row < n_rows; row++) {
        for (uint32_t h = 0; h < heads; h++) {
            memcpy(rows + ((size_t)h * n_rows + row) * dim, from + ((size_t)row * heads + h) * dim,
                   dim * sizeof(float));
        }
    }
    free(from);
}

enum status capture_ring_read(const struct capture_ring *ring, const struct shape *shape,
                              const struct capture_read *read, float *rows, struct error *err)
{
    const struct buffers *buffers = shape->buffers;
    const struct step *step = &buffers->plan->steps[read->step];
    const struct region *slot = &shape->schedule.slots[read->step];
    uint32_t batch_rows = shape->schedule.n_rows, n_rows = buffers_step_rows(buffers, read->step, batch_rows);
    if (!shape->captured[read->step]) {
        char label[64];
        return error_set(err, STATUS_DEVICE, NULL, NULL, ERROR_NO_OFFSET,
                         "%s: not captured: the engine copies only other stages to the host", step_label(step, label));
    }
    const struct captured_token *token = &ring->tokens[read->place];
    bool is_last = read->step + 1 == buffers->plan->n_steps;
    struct device *device = buffers->device;
    TRY(submit_wait(device, &device->copies, is_last ? token->copied_last : token->copied, err));
    const uint8_t *readback = buffers->readback.mapped;
    memcpy(rows, readback + read->place * buffers->ring_stride + slot->offset, slot->size);
    if (step->tamper.how == TAMPER_HEADS_FIRST) {
        uint32_t heads = (uint32_t)step->tamper.with;
        exchange_heads(rows, batch_rows, heads, step->width / heads);
    }
    return check_captured(step, (const uint32_t *)(const void *)rows, read->end - n_rows, n_rows, err);
}
