#include "engine/run/generate.h"

#include <string.h>

#include "engine/device/submit.h"
#include "engine/recording/chain.h"
#include "engine/run/batch.h"

/* Checks that the shape of decoding can choose tokens, and that n of them fit behind the batch that was begun. */
static enum status check_chain(const struct engine *engine, const struct shape *shape, uint32_t n, struct error *err)
{
    uint32_t first = engine->batch.first_position;
    if (shape->schedule.choose != 0 && (uint64_t)first + n <= engine->buffers.max_positions) {
        return STATUS_OK;
    }
    return error_set(err, STATUS_BAD_INPUT, NULL, NULL, ERROR_NO_OFFSET,
                     "%u tokens from position %u do not fit into a KV cache of %u positions", n, first,
                     engine->buffers.max_positions);
}

/* The ids that the device chose, from the one that follows `position` on. */
static const int32_t *chosen_ids(const struct engine *engine, uint32_t position)
{
    return (const int32_t *)engine->buffers.chosen_ids.mapped + position;
}

static void mark_filled(struct engine *engine, uint32_t end)
{
    state_mark_filled(engine, 0, engine->buffers.plan->n_steps, end);
}

enum status generate_chains(struct backend *backend, const struct engine_decoding *decoding, struct error *err)
{
    struct engine *engine = engine_of(backend);
    int32_t *ids = decoding->ids;
    for (uint32_t done = 0, now; done < decoding->n; done += now) {
        now = decoding->n - done < CHAIN_TOKENS ? 1 : CHAIN_TOKENS;
        struct batch batch = {decoding->first_position + done, 1, done ? &ids[done - 1] : &decoding->token, true};
        TRY(batch_begin(engine, &batch, err));
        TRY(check_chain(engine, engine->shape, now, err));
        TRY(chain_run(engine->shape, (uint32_t)decoding->masked, now, err));
        memcpy(ids + done, chosen_ids(engine, batch.first_position), now * sizeof(*ids));
        mark_filled(engine, batch.first_position + now);
        engine->shape = NULL; /* the slots hold only the last token: no batch that could be read */
    }
    return STATUS_OK;
}

/* A run of tokens, several of which are computed or copied at a time. */
struct stream {
    struct engine *engine;
    struct shape *shape;
    uint32_t first_position;
    uint32_t first_place;            /* of the ring */
    uint64_t computed[CAPTURE_RING]; /* for each place: number of the submit that computes its token */
};

static uint32_t place_of(const struct stream *stream, uint32_t i)
{
    return (stream->first_place + i) % CAPTURE_RING;
}

/* Submits token i. */
static enum status submit_token(struct stream *stream, uint32_t i, struct error *err)
{
    struct engine *engine = stream->engine;
    uint32_t place = place_of(stream, i);
    struct captured_token *token = &engine->ring.tokens[place];
    token->whole = false;
    TRY(chain_submit(stream->shape, place, i == 0, token->copied, err));
    stream->computed[place] = engine->device.compute.submitted;
    token->copied = token->copied_last = engine->device.copies.submitted;
    token->position = stream->first_position + i;
    return STATUS_OK;
}

/* Waits until token i is computed. A read of its stages waits for their copy. */
static enum status receive_token(struct stream *stream, uint32_t i, int32_t *id, struct error *err)
{
    struct engine *engine = stream->engine;
    uint32_t place = place_of(stream, i);
    TRY(submit_wait(&engine->device, &engine->device.compute, stream->computed[place], err));
    *id = *chosen_ids(engine, stream->first_position + i);
    engine->ring.tokens[place].whole = true;
    mark_filled(engine, stream->first_position + i + 1);
    return STATUS_OK;
}

static enum status run_stream(struct backend *backend, const struct engine_decoding *decoding,
                              engine_token_function *each, void *context, struct error *err)
{
    struct engine *engine = engine_of(backend);
    uint32_t first = decoding->first_position;
    TRY(batch_begin(engine, &(struct batch){first, 1, &decoding->token, true}, err));
    struct stream stream = {
        .engine = engine, .shape = engine->shape, .first_position = first, .first_place = engine->ring.place};
    engine->shape = NULL;
    TRY(check_chain(engine, stream.shape, decoding->n, err));
    TRY(chain_prepare(stream.shape, (uint32_t)decoding->masked, err));
    const uint32_t ahead = CAPTURE_RING - 1;
    for (uint32_t i = 0; i < decoding->n + ahead; i++) {
        if (i < decoding->n) {
            TRY(submit_token(&stream, i, err));
        }
        if (i >= ahead) {
            int32_t *id = &decoding->ids[i - ahead];
            TRY(receive_token(&stream, i - ahead, id, err));
            TRY(each(context, backend, first + i - ahead, *id, err));
        }
    }
    return STATUS_OK;
}

enum status generate_stream(struct backend *backend, const struct engine_decoding *decoding,
                            engine_token_function *each, void *context, struct error *err)
{
    enum status status = run_stream(backend, decoding, each, context, err);
    if (status != STATUS_OK) {
        engine_of(backend)->device.interrupted = true; /* tokens that were submitted ahead may still run */
    }
    return status;
}
