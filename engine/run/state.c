#include "engine/run/state.h"

#include "engine/device/submit.h"

enum status state_check(struct engine *engine, enum status status, struct error *err)
{
    return status == STATUS_OK ? device_check_validation(&engine->device, err) : status;
}

enum status state_use_shape(struct engine *engine, uint32_t n_rows, struct error *err)
{
    struct shape *oldest = &engine->shapes[0];
    for (uint32_t i = 0; i < MAX_SHAPES; i++) {
        struct shape *shape = &engine->shapes[i];
        if (shape->schedule.n_rows == n_rows) {
            engine->shape = shape;
            return STATUS_OK;
        }
        bool is_free = shape->schedule.n_rows == 0, oldest_is_free = oldest->schedule.n_rows == 0;
        if (!oldest_is_free && (is_free || shape->last_used < oldest->last_used)) {
            oldest = shape;
        }
    }
    TRY(submit_wait_all(&engine->device, err));
    shape_close(oldest);
    TRY(shape_open(oldest, &engine->buffers, &engine->programs, n_rows, engine->captured, err));
    engine->shape = oldest;
    return STATUS_OK;
}

const struct shape *state_find_shape(const struct engine *engine, uint32_t n_rows)
{
    for (uint32_t i = 0; i < MAX_SHAPES; i++) {
        if (engine->shapes[i].schedule.n_rows == n_rows) {
            return &engine->shapes[i];
        }
    }
    return NULL;
}

const struct shape *state_decode_shape(const struct engine *engine)
{
    return state_find_shape(engine, 1);
}

void state_close_shapes(struct engine *engine)
{
    for (uint32_t i = 0; i < MAX_SHAPES; i++) {
        shape_close(&engine->shapes[i]);
    }
    engine->shape = NULL;
}

void state_mark_filled(struct engine *engine, uint32_t first, uint32_t last, uint32_t end)
{
    for (uint32_t i = first; i < last; i++) {
        engine->filled[i] = end;
    }
}

enum status state_require_batch(struct engine *engine, struct error *err)
{
    TRY(submit_settle(&engine->device, err));
    return engine->shape
               ? STATUS_OK
               : error_set(err, STATUS_DEVICE, NULL, NULL, ERROR_NO_OFFSET, "no batch was begun on the engine");
}
