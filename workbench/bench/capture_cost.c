/* Times decoding in four ways (enum decode_way), each with and without capture. The two alternate, so that a machine
 * that grows slower or faster during the measurement does not favour one of them. */
#include "workbench/bench/capture_cost.h"

#include <stdlib.h>

#include "engine/engine.h"
#include "workbench/bench/timing.h"

#define ROUNDS 5

struct decoder {
    struct decode_run run;
    uint32_t awaited; /* a captured step: reading its row waits until the token's stages are on the host */
    float *row;       /* room for that row */
};

/* Waits for a token's stages after the next token was computed, so a copy that takes longer than a token shows. */
static enum status decode_to_host(const struct decoder *decoder, uint32_t i, struct error *err)
{
    const struct decode_run *run = &decoder->run;
    struct batch batch = {run->first + i, 1, run->tokens + i, true};
    TRY(run->engine->ops->begin(run->engine, &batch, err));
    TRY(run->engine->ops->run(run->engine, 0, run->engine->plan->n_steps, err));
    return i == 0 ? STATUS_OK
                  : engine_read_at(run->engine, batch.first_position - 1, decoder->awaited, decoder->row, err);
}

static enum status time_to_host(const struct decoder *decoder, double *ms, struct error *err)
{
    enum status status = STATUS_OK;
    double *each = xcalloc(decoder->run.n, sizeof(*each));
    for (uint32_t i = 0; i < decoder->run.n && status == STATUS_OK; i++) {
        double start = now_ms();
        status = decode_to_host(decoder, i, err);
        each[i] = now_ms() - start;
    }
    *ms = median(each, decoder->run.n, NULL);
    free(each);
    return status;
}

struct arrivals {
    const struct decoder *decoder;
    double *ms; /* [n] from one token's arrival to the next */
    double last;
};

static enum status note_arrival(void *context, const struct backend *engine, uint32_t position, int32_t id,
                                struct error *err)
{
    struct arrivals *arrivals = context;
    const struct decoder *decoder = arrivals->decoder;
    (void)id;
    enum status status = engine_read_at(engine, position, decoder->awaited, decoder->row, err);
    double now = now_ms();
    arrivals->ms[position - decoder->run.first] = now - arrivals->last;
    arrivals->last = now;
    return status;
}

static enum status time_streamed(const struct decoder *decoder, double *ms, struct error *err)
{
    const struct decode_run *run = &decoder->run;
    int32_t *ids = xcalloc(run->n, sizeof(*ids));
    struct arrivals arrivals = {decoder, xcalloc(run->n, sizeof(*arrivals.ms)), now_ms()};
    struct engine_decoding decoding = {
        .first_position = run->first, .token = run->tokens[0], .masked = -1, .n = run->n, .ids = ids};
    enum status status = engine_stream(run->engine, &decoding, note_arrival, &arrivals, err);
    *ms = median(arrivals.ms, run->n, NULL);
    free(arrivals.ms);
    free(ids);
    return status;
}

static enum status time_chained(const struct decode_run *run, uint32_t a_submit, double *ms, struct error *err)
{
    enum status status = STATUS_OK;
    uint32_t n = run->n / a_submit;
    double *each = xcalloc(n, sizeof(*each));
    int32_t *ids = xcalloc(a_submit, sizeof(*ids)), token = run->tokens[0];
    for (uint32_t i = 0; i < n && status == STATUS_OK; i++) {
        double start = now_ms();
        struct engine_decoding decoding = {
            .first_position = run->first + i * a_submit, .token = token, .masked = -1, .n = a_submit, .ids = ids};
        status = engine_decode(run->engine, &decoding, err);
        each[i] = (now_ms() - start) / a_submit;
        token = ids[a_submit - 1];
    }
    *ms = median(each, n, NULL);
    free(each);
    free(ids);
    return status;
}

enum status decode_on_device_time(const struct decode_run *run, uint32_t a_submit, double *ms, struct error *err)
{
    TRY(time_chained(run, a_submit, ms, err)); /* warm-up: records command buffers */
    return time_chained(run, a_submit, ms, err);
}

static enum status time_all_ways(const struct decoder *decoder, double ms[N_DECODE_WAYS], struct error *err)
{
    TRY(time_to_host(decoder, &ms[DECODE_TO_HOST], err));
    TRY(time_chained(&decoder->run, 1, &ms[DECODE_CHOSEN], err));
    TRY(time_chained(&decoder->run, ENGINE_TOKENS_A_SUBMIT, &ms[DECODE_CHAINED], err));
    return time_streamed(decoder, &ms[DECODE_STREAMED], err);
}

/* Captures every stage, or the logits alone, and times all ways, after a run to warm up. */
static enum status time_capture(struct decoder *decoder, bool all, double ms[N_DECODE_WAYS], struct error *err)
{
    uint32_t n_steps = decoder->run.engine->plan->n_steps;
    bool *logits = xcalloc(n_steps, sizeof(*logits));
    logits[n_steps - 1] = true;
    decoder->awaited = all ? 0 : n_steps - 1;
    enum status status = engine_capture(decoder->run.engine, all ? NULL : logits, err);
    for (int run = 0; run < 2 && status == STATUS_OK; run++) {
        status = time_all_ways(decoder, ms, err);
    }
    free(logits);
    return status;
}

enum status capture_cost_measure(const struct decode_run *run, struct capture_cost *cost, struct error *err)
{
    double ms[2][N_DECODE_WAYS][ROUNDS];
    const struct plan *plan = run->engine->plan;
    struct decoder decoder = {.run = *run};
    decoder.run.n = run->n / ENGINE_TOKENS_A_SUBMIT * ENGINE_TOKENS_A_SUBMIT;
    *cost = (struct capture_cost){0};
    if (decoder.run.n == 0) {
        return error_set(err, STATUS_USAGE, NULL, "-n", ERROR_NO_OFFSET, "%u, expected at least %u tokens", run->n,
                         ENGINE_TOKENS_A_SUBMIT);
    }
    uint64_t width = (uint64_t)plan->steps[0].width + plan->steps[plan->n_steps - 1].width; /* enough for either */
    decoder.row = xmalloc(width * sizeof(*decoder.row));
    enum status status = STATUS_OK;
    for (int round = 0; round < ROUNDS && status == STATUS_OK; round++) {
        for (int all = 0; all < 2 && status == STATUS_OK; all++) {
            double measured[N_DECODE_WAYS] = {0};
            status = time_capture(&decoder, all, measured, err);
            for (int way = 0; way < N_DECODE_WAYS; way++) {
                ms[all][way][round] = measured[way];
            }
        }
    }
    for (int way = 0; way < N_DECODE_WAYS && status == STATUS_OK; way++) {
        cost->off_ms[way] = median(ms[0][way], ROUNDS, NULL);
        cost->all_ms[way] = median(ms[1][way], ROUNDS, NULL);
    }
    free(decoder.row);
    return status;
}
