/* Tokens that are chosen on the device and fed back there: many a submit, or one a submit whose captured stages come to
 * the host while the next one is computed. */
#include <string.h>

#include "engine/engine.h"
#include "engine/run/state.h"

bool engine_can_choose(const struct backend *backend)
{
    return chain_possible(&engine_of(backend)->store);
}

/* The shape of decoding can choose, and n tokens from the position of the batch that was begun fit. */
static enum status check_chain(const struct engine *engine, const struct shape *shape, uint32_t n, struct error *err)
{
    uint32_t first = engine->batch.first_position;
    if (shape->schedule.choose != 0 && (uint64_t)first + n <= engine->store.max_positions) {
        return STATUS_OK;
    }
    return error_set(err, STATUS_BAD_INPUT, NULL, NULL, ERROR_NO_OFFSET,
                     "%u tokens from position %u do not fit into a KV cache of %u positions", n, first,
                     engine->store.max_positions);
}

static const int32_t *chosen(const struct engine *engine, uint32_t position)
{
    return (const int32_t *)engine->store.chosen.mapped + position;
}

static enum status decode(struct engine *engine, uint32_t first_position, int32_t token, int32_t masked, uint32_t n,
                          int32_t *ids, struct error *err)
{
    for (uint32_t done = 0, now; done < n; done += now) {
        now = n - done < CHAIN_TOKENS ? 1 : CHAIN_TOKENS;
        struct batch batch = {first_position + done, 1, done ? &ids[done - 1] : &token, true};
        TRY(engine_begin_batch(engine, &batch, err));
        TRY(check_chain(engine, engine->shape, now, err));
        TRY(chain_run(engine->shape, &engine->store, (uint32_t)masked, now, err));
        memcpy(ids + done, chosen(engine, batch.first_position), now * sizeof(*ids));
        engine_mark_filled(engine, batch.first_position + now);
        engine->shape = NULL; /* its slots hold the last token alone */
    }
    return STATUS_OK;
}

enum status engine_decode(struct backend *backend, uint32_t first_position, int32_t token, int32_t masked, uint32_t n,
                          int32_t *ids, struct error *err)
{
    struct engine *engine = engine_of(backend);
    return engine_checked(engine, decode(engine, first_position, token, masked, n, ids, err), err);
}

/* A run of tokens, several of them on their way. */
struct flow {
    struct engine *engine;
    struct shape *shape;
    uint32_t first_position;
    uint64_t computed[CAPTURE_RING]; /* of a place: the submit that fills it */
    uint32_t first_place;
};

static uint32_t place_of(const struct flow *flow, uint32_t i)
{
    return (flow->first_place + i) % CAPTURE_RING;
}

static enum status send(struct flow *flow, uint32_t i, struct error *err)
{
    struct engine *engine = flow->engine;
    uint32_t place = place_of(flow, i);
    struct kept *kept = &engine->kept[place];
    kept->whole = false;
    TRY(chain_submit(flow->shape, &engine->store, place, i == 0, kept->copied, err));
    flow->computed[place] = engine->device.compute.submitted;
    kept->copied = kept->copied_last = engine->device.copies.submitted;
    kept->position = flow->first_position + i;
    return STATUS_OK;
}

/* Its copy is waited for by whoever reads. */
static enum status receive(struct flow *flow, uint32_t i, int32_t *id, struct error *err)
{
    struct engine *engine = flow->engine;
    uint32_t place = place_of(flow, i);
    TRY(device_wait(&engine->device, &engine->device.compute, flow->computed[place], err));
    *id = *chosen(engine, flow->first_position + i);
    engine->kept[place].whole = true;
    engine_mark_filled(engine, flow->first_position + i + 1);
    return STATUS_OK;
}

static enum status stream(struct backend *backend, uint32_t first_position, int32_t token, int32_t masked, uint32_t n,
                          int32_t *ids, engine_token_function *each, void *context, struct error *err)
{
    struct engine *engine = engine_of(backend);
    TRY(engine_begin_batch(engine, &(struct batch){first_position, 1, &token, true}, err));
    struct flow flow = {
        .engine = engine, .shape = engine->shape, .first_position = first_position, .first_place = engine->place};
    engine->shape = NULL;
    TRY(check_chain(engine, flow.shape, n, err));
    TRY(chain_prepare(flow.shape, &engine->store, (uint32_t)masked, err));
    const uint32_t ahead = CAPTURE_RING - 1;
    for (uint32_t i = 0; i < n + ahead; i++) {
        if (i < n) {
            TRY(send(&flow, i, err));
        }
        if (i < ahead) {
            continue;
        }
        TRY(receive(&flow, i - ahead, &ids[i - ahead], err));
        TRY(each(context, backend, first_position + i - ahead, ids[i - ahead], err));
    }
    return STATUS_OK;
}

enum status engine_stream(struct backend *backend, uint32_t first_position, int32_t token, int32_t masked, uint32_t n,
                          int32_t *ids, engine_token_function *each, void *context, struct error *err)
{
    struct engine *engine = engine_of(backend);
    enum status status = stream(backend, first_position, token, masked, n, ids, each, context, err);
    if (status != STATUS_OK) {
        engine->device.working = true; /* on tokens behind the one that it ended with */
    }
    return engine_checked(engine, status, err);
}
