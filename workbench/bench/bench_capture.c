/* What capture costs: decoding with and without it, one after the other in one process, several times. Each in
 * four ways: the logits awaited on the host, where the other stages come while the next token runs; the next token
 * chosen on the device, one a submit, which leaves the captured stages there; many a submit, likewise; and chosen on
 * the device with every stage brought to the host meanwhile. */
#include "workbench/bench/bench_capture.h"

#include <stdlib.h>

#include "engine/engine.h"
#include "workbench/bench/bench_time.h"

#define ROUNDS 5

struct decoder {
    struct backend *engine;
    const int32_t *tokens;
    uint32_t first, n;
    uint32_t looked_at; /* a step that is captured: reading it waits for its token's copy */
    float *row;         /* of it */
};

/* The stages of a token are waited for when the next one was computed: a copy slower than that is not hidden. */
static enum status one_by_one(const struct decoder *decoder, double *ms, struct error *err)
{
    enum status status = STATUS_OK;
    double *each = xcalloc(decoder->n, sizeof(*each));
    for (uint32_t i = 0; i < decoder->n && status == STATUS_OK; i++) {
        struct batch batch = {decoder->first + i, 1, decoder->tokens + i, true};
        double start = bench_now_ms();
        status = decoder->engine->ops->begin(decoder->engine, &batch, err);
        if (status == STATUS_OK)
            status = decoder->engine->ops->run(decoder->engine, 0, decoder->engine->plan->n_steps, err);
        if (status == STATUS_OK && i > 0)
            status = engine_read_at(decoder->engine, batch.first_position - 1, decoder->looked_at, decoder->row, err);
        each[i] = bench_now_ms() - start;
    }
    *ms = bench_median(each, decoder->n, NULL);
    free(each);
    return status;
}

struct arrivals {
    const struct decoder *decoder;
    double *ms; /* [n] of each token, since the one before */
    double last;
};

static enum status note_arrival(void *context, const struct backend *engine, uint32_t position, int32_t id,
                                struct error *err)
{
    struct arrivals *arrivals = context;
    const struct decoder *decoder = arrivals->decoder;
    (void)id;
    enum status status = engine_read_at(engine, position, decoder->looked_at, decoder->row, err);
    double now = bench_now_ms();
    arrivals->ms[position - decoder->first] = now - arrivals->last;
    arrivals->last = now;
    return status;
}

static enum status streamed(const struct decoder *decoder, double *ms, struct error *err)
{
    int32_t *ids = xcalloc(decoder->n, sizeof(*ids));
    struct arrivals arrivals = {decoder, xcalloc(decoder->n, sizeof(double)), bench_now_ms()};
    struct engine_decoding decoding = {
        .first_position = decoder->first, .token = decoder->tokens[0], .masked = -1, .n = decoder->n, .ids = ids};
    enum status status = engine_stream(decoder->engine, &decoding, note_arrival, &arrivals, err);
    *ms = bench_median(arrivals.ms, decoder->n, NULL);
    free(arrivals.ms);
    free(ids);
    return status;
}

static enum status fed_back(const struct decoder *decoder, uint32_t a_submit, double *ms, struct error *err)
{
    enum status status = STATUS_OK;
    uint32_t n = decoder->n / a_submit;
    double *each = xcalloc(n, sizeof(*each));
    int32_t *ids = xcalloc(a_submit, sizeof(*ids)), token = decoder->tokens[0];
    for (uint32_t i = 0; i < n && status == STATUS_OK; i++) {
        double start = bench_now_ms();
        struct engine_decoding decoding = {
            .first_position = decoder->first + i * a_submit, .token = token, .masked = -1, .n = a_submit, .ids = ids};
        status = engine_decode(decoder->engine, &decoding, err);
        each[i] = (bench_now_ms() - start) / a_submit;
        token = ids[a_submit - 1];
    }
    *ms = bench_median(each, n, NULL);
    free(each);
    free(ids);
    return status;
}

enum status bench_fed_back(struct backend *engine, const int32_t *tokens, uint32_t first, uint32_t n, uint32_t a_submit,
                           double *ms, struct error *err)
{
    struct decoder decoder = {.engine = engine, .tokens = tokens, .first = first, .n = n};
    enum status status = fed_back(&decoder, a_submit, ms, err); /* the first time records */
    return status == STATUS_OK ? fed_back(&decoder, a_submit, ms, err) : status;
}

static enum status measure(const struct decoder *decoder, double ms[BENCH_WAYS], struct error *err)
{
    enum status status = one_by_one(decoder, &ms[BENCH_TO_HOST], err);
    if (status == STATUS_OK)
        status = fed_back(decoder, 1, &ms[BENCH_CHOSEN], err);
    if (status == STATUS_OK)
        status = fed_back(decoder, ENGINE_TOKENS_A_SUBMIT, &ms[BENCH_CHAINED], err);
    if (status == STATUS_OK)
        status = streamed(decoder, &ms[BENCH_STREAMED], err);
    return status;
}

enum status bench_capture(struct backend *engine, const int32_t *tokens, uint32_t first, uint32_t n,
                          struct bench_captured *captured, struct error *err)
{
    double ms[2][BENCH_WAYS][ROUNDS];
    uint32_t n_steps = engine->plan->n_steps;
    struct decoder decoder = {engine, tokens, first, n / ENGINE_TOKENS_A_SUBMIT * ENGINE_TOKENS_A_SUBMIT, 0, NULL};
    *captured = (struct bench_captured){0};
    if (decoder.n == 0)
        return error_set(err, STATUS_USAGE, NULL, "-n", ERROR_NO_OFFSET, "%u, expected at least %u tokens", n,
                         ENGINE_TOKENS_A_SUBMIT);
    bool *last = xcalloc(n_steps, sizeof(*last));
    last[n_steps - 1] = true;
    decoder.row = xmalloc(((uint64_t)engine->plan->steps[0].width + engine->plan->steps[n_steps - 1].width) *
                          sizeof(*decoder.row)); /* either's */
    enum status status = STATUS_OK;
    for (int round = 0; round < ROUNDS && status == STATUS_OK; round++) {
        for (int on = 0; on < 2 && status == STATUS_OK; on++) {
            double measured[BENCH_WAYS] = {0};
            status = engine_capture(engine, on ? NULL : last, err);
            decoder.looked_at = on ? 0 : n_steps - 1;
            for (int warm = 1; warm >= 0 && status == STATUS_OK; warm--)
                status = measure(&decoder, measured, err);
            for (int way = 0; way < BENCH_WAYS; way++)
                ms[on][way][round] = measured[way];
        }
    }
    for (int way = 0; way < BENCH_WAYS && status == STATUS_OK; way++) {
        captured->off_ms[way] = bench_median(ms[0][way], ROUNDS, NULL);
        captured->all_ms[way] = bench_median(ms[1][way], ROUNDS, NULL);
    }
    free(decoder.row);
    free(last);
    return status;
}
