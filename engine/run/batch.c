#include "engine/run/batch.h"

#include <string.h>

#include "engine/device/submit.h"
#include "engine/placement/upload.h"

/* The batch fits, and the keys and values of all earlier positions are in the cache. */
static enum status check_positions(const struct engine *engine, const struct batch *batch, struct error *err)
{
    const struct buffers *buffers = &engine->buffers;
    uint64_t end = (uint64_t)batch->first_position + batch->n_rows;
    if (batch->n_rows == 0 || batch->n_rows > buffers->max_rows) {
        return error_set(err, STATUS_BAD_INPUT, NULL, NULL, ERROR_NO_OFFSET,
                         "a batch has %u rows, 1 to %u are possible", batch->n_rows, buffers->max_rows);
    }
    if (end > buffers->max_positions) {
        return error_set(err, STATUS_BAD_INPUT, NULL, NULL, ERROR_NO_OFFSET,
                         "position %llu does not fit into a KV cache of %u positions", (unsigned long long)end - 1,
                         buffers->max_positions);
    }
    for (uint32_t i = 0; i < buffers->plan->n_steps; i++) {
        if (buffers->cached[i].size && engine->filled[i] < batch->first_position) {
            char label[64];
            return error_set(err, STATUS_BAD_INPUT, "engine", step_label(&buffers->plan->steps[i], label),
                             ERROR_NO_OFFSET,
                             "a batch starts at position %u, but keys and values exist only for %u positions",
                             batch->first_position, engine->filled[i]);
        }
    }
    return STATUS_OK;
}

static enum status check_tokens(const struct plan *plan, const struct batch *batch, struct error *err)
{
    for (uint32_t i = 0; i < plan->n_steps; i++) {
        const struct step *step = &plan->steps[i];
        for (uint32_t row = 0; step->op == OP_embed && row < batch->n_rows; row++) {
            if (batch->tokens[row] < 0 || (uint32_t)batch->tokens[row] >= step->params.embed.vocab) {
                return error_set(err, STATUS_BAD_INPUT, "engine", "tokens", ERROR_NO_OFFSET,
                                 "token %d, expected 0 to %u", batch->tokens[row], step->params.embed.vocab - 1);
            }
        }
    }
    return STATUS_OK;
}

enum status batch_begin(struct engine *engine, const struct batch *batch, struct error *err)
{
    const struct plan *plan = engine->buffers.plan;
    TRY(check_positions(engine, batch, err));
    TRY(check_tokens(plan, batch, err));
    TRY(submit_settle(&engine->device, err));
    engine->shape = NULL;
    TRY(state_use_shape(engine, batch->n_rows, err));
    engine->shape->last_used = ++engine->clock;
    capture_ring_advance(&engine->ring, batch->n_rows);
    engine->batch = *batch;
    engine->batch.tokens = NULL;
    engine->reset = false;
    state_mark_filled(engine, 0, plan->n_steps, batch->first_position); /* later positions are forgotten */
    uint32_t *words = engine->buffers.next_batch.mapped;
    words[0] = batch->first_position;
    words[1] = batch->decode;
    memcpy(words + 2, batch->tokens, batch->n_rows * sizeof(int32_t));
    return STATUS_OK;
}

/* Fills the slots with sentinels before the first step of a batch is run, written or read by itself. */
static enum status reset_once(struct engine *engine, struct error *err)
{
    if (engine->reset) {
        return STATUS_OK;
    }
    TRY(shape_reset(engine->shape, engine->ring.place, err));
    engine->reset = true;
    return STATUS_OK;
}

static enum status run_part(struct engine *engine, uint32_t first, uint32_t last, struct error *err)
{
    engine->ring.tokens[engine->ring.place].whole = false;
    TRY(reset_once(engine, err));
    return shape_run_part(engine->shape, engine->ring.place, first, last, err);
}

/* The recorded run fills the slots with sentinels itself. A batch of several rows covers all places, so it waits for
 * the copies of all of them. */
static enum status run_whole(struct engine *engine, struct error *err)
{
    uint32_t place = engine->ring.place;
    struct captured_token *tokens = engine->ring.tokens;
    const uint64_t *copies = &engine->device.copies.submitted;
    bool one = engine->batch.n_rows == 1;
    enum status status = shape_run_whole(engine->shape, place, one ? tokens[place].copied : *copies, err);
    for (uint32_t i = 0; i < CAPTURE_RING; i++) {
        tokens[i].copied = one && i != place ? tokens[i].copied : *copies;
    }
    tokens[place].copied_last = 0;
    tokens[place].whole = one && status == STATUS_OK;
    tokens[place].position = engine->batch.first_position;
    return status;
}

enum status batch_run(struct engine *engine, uint32_t first, uint32_t last, struct error *err)
{
    uint32_t n_steps = engine->buffers.plan->n_steps;
    ASSERT(first <= last && last <= n_steps);
    TRY(state_require_batch(engine, err));
    bool whole = first == 0 && last == n_steps;
    TRY(whole ? run_whole(engine, err) : run_part(engine, first, last, err));
    engine->reset = true;
    state_mark_filled(engine, first, last, engine->batch.first_position + engine->batch.n_rows);
    return STATUS_OK;
}

enum status batch_write(struct engine *engine, uint32_t step, const float *rows, struct error *err)
{
    const struct buffers *buffers = &engine->buffers;
    uint32_t place = engine->ring.place;
    ASSERT(step < buffers->plan->n_steps);
    TRY(state_require_batch(engine, err));
    TRY(reset_once(engine, err));
    TRY(submit_wait(&engine->device, &engine->device.copies, engine->ring.tokens[place].copied, err));
    const struct region *slot = &engine->shape->schedule.slots[step], *cached = &buffers->cached[step];
    VkDeviceSize start = place * buffers->ring_stride;
    VkDeviceSize row = buffers->plan->steps[step].width * sizeof(float);
    struct upload uploads[2] = {
        {.to = &buffers->arena, .offset = start + slot->offset, .bytes = rows, .n_bytes = slot->size},
        {.to = &buffers->cache,
         .offset = cached->offset + engine->batch.first_position * row,
         .bytes = rows,
         .n_bytes = slot->size},
    };
    TRY(upload_run(&engine->device, uploads, cached->size ? 2 : 1, err));
    memcpy((uint8_t *)buffers->readback.mapped + start + slot->offset, rows, slot->size);
    state_mark_filled(engine, step, step + 1, engine->batch.first_position + engine->batch.n_rows);
    return STATUS_OK;
}

enum status batch_read(struct engine *engine, uint32_t step, float *rows, struct error *err)
{
    ASSERT(step < engine->buffers.plan->n_steps);
    TRY(state_require_batch(engine, err));
    TRY(reset_once(engine, err));
    struct capture_read read = {
        .place = engine->ring.place, .step = step, .end = engine->batch.first_position + engine->batch.n_rows};
    return capture_ring_read(&engine->ring, engine->shape, &read, rows, err);
}

enum status batch_read_at(struct engine *engine, uint32_t position, uint32_t step, float *row, struct error *err)
{
    ASSERT(step < engine->buffers.plan->n_steps);
    TRY(submit_settle(&engine->device, err));
    const struct shape *shape = state_decode_shape(engine);
    struct capture_read read = {.step = step, .end = position + 1};
    if (shape && capture_ring_find(&engine->ring, position, &read.place)) {
        return capture_ring_read(&engine->ring, shape, &read, row, err);
    }
    return error_set(err, STATUS_DEVICE, NULL, NULL, ERROR_NO_OFFSET,
                     "position %u: its stages are not kept: it is not among the last %u tokens decoded", position,
                     CAPTURE_RING);
}
