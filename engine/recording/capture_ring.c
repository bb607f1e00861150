/* What came to the host: the rows of the current batch, and those of the tokens decoded before it, which stay for a
 * while. Who reads waits for the copy that brings them, and for no other. */
#include <stdlib.h>
#include <string.h>

#include "engine/engine.h"
#include "engine/run/state.h"

const struct shape *engine_decode_shape(const struct engine *engine)
{
    for (uint32_t i = 0; i < MAX_SHAPES; i++) {
        if (engine->shapes[i].schedule.n_rows == 1) {
            return &engine->shapes[i];
        }
    }
    return NULL;
}

void engine_forget_kept(struct engine *engine)
{
    for (uint32_t i = 0; i < CAPTURE_RING; i++) {
        engine->kept[i].whole = false;
    }
}

/* A row of nothing but sentinels was never written: the engine failed, which is no divergence. */
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

/* TAMPER_HEADS_FIRST: [rows, heads, dim] as [heads, rows, dim]. */
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

/* The rows of a step of a batch of n_rows that ends before position `end`, from a place of the ring. */
static enum status read_place(struct engine *engine, const struct shape *shape, uint32_t place, uint32_t step,
                              uint32_t end, float *rows, struct error *err)
{
    const struct step *s = &engine->store.plan->steps[step];
    const struct region *slot = &shape->schedule.slots[step];
    uint32_t batch_rows = shape->schedule.n_rows, n_rows = store_step_rows(&engine->store, step, batch_rows);
    if (!engine->captured[step]) {
        char label[64];
        return error_set(err, STATUS_DEVICE, NULL, NULL, ERROR_NO_OFFSET,
                         "%s: not captured: the engine brings other stages to the host", step_label(s, label));
    }
    const struct kept *kept = &engine->kept[place];
    bool is_last = step + 1 == engine->store.plan->n_steps;
    TRY(device_wait(&engine->device, &engine->device.copies, is_last ? kept->copied_last : kept->copied, err));
    const uint8_t *readback = engine->store.readback.mapped;
    memcpy(rows, readback + place * engine->store.ring_stride + slot->offset, slot->size);
    if (s->tamper.how == TAMPER_HEADS_FIRST) {
        exchange_heads(rows, batch_rows, (uint32_t)s->tamper.with, s->width / (uint32_t)s->tamper.with);
    }
    return check_captured(s, (const uint32_t *)(const void *)rows, end - n_rows, n_rows, err);
}

static enum status read(struct engine *engine, uint32_t step, float *rows, struct error *err)
{
    ASSERT(step < engine->store.plan->n_steps);
    TRY(engine_require_batch(engine, err));
    TRY(engine_reset_once(engine, err));
    return read_place(engine, engine->shape, engine->place, step, engine->batch.first_position + engine->batch.n_rows,
                      rows, err);
}

enum status engine_read(struct backend *backend, uint32_t step, float *rows, struct error *err)
{
    struct engine *engine = engine_of(backend);
    return engine_checked(engine, read(engine, step, rows, err), err);
}

static enum status read_at(struct engine *engine, uint32_t position, uint32_t step, float *row, struct error *err)
{
    ASSERT(step < engine->store.plan->n_steps);
    TRY(device_settle(&engine->device, err));
    const struct shape *shape = engine_decode_shape(engine);
    for (uint32_t place = 0; shape && place < CAPTURE_RING; place++) {
        if (engine->kept[place].whole && engine->kept[place].position == position) {
            return read_place(engine, shape, place, step, position + 1, row, err);
        }
    }
    return error_set(err, STATUS_DEVICE, NULL, NULL, ERROR_NO_OFFSET,
                     "position %u: its stages are not kept: it is not among the last %u tokens decoded", position,
                     CAPTURE_RING);
}

enum status engine_read_at(const struct backend *backend, uint32_t position, uint32_t step, float *row,
                           struct error *err)
{
    struct engine *engine = engine_of(backend);
    return engine_checked(engine, read_at(engine, position, step, row, err), err);
}
