/* What capture costs: decoding with and without it, one after the other in one process, several times. Each way three
 * times: every token looked at on the host; the next token chosen on the device, one a submit, which leaves the
 * captured stages there; and many a submit. */
#include "workbench/bench_capture.h"

#include <stdlib.h>
#include <time.h>

#include "engine/engine.h"

#define ROUNDS 5

struct decoder {
    struct backend *engine;
    const int32_t *tokens;
    uint32_t first, n;
};

static double now_ms(void)
{
    struct timespec now;
    ASSERT(clock_gettime(CLOCK_MONOTONIC, &now) == 0);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec * 1e-6;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, uint32_t n)
{
    qsort(values, n, sizeof(*values), by_value);
    return values[n / 2];
}

static enum status one_by_one(const struct decoder *decoder, double *ms, struct error *err)
{
    enum status status = STATUS_OK;
    double *each = xcalloc(decoder->n, sizeof(*each));
    for (uint32_t i = 0; i < decoder->n && status == STATUS_OK; i++) {
        struct batch batch = {decoder->first + i, 1, decoder->tokens + i, true};
        double start = now_ms();
        status = decoder->engine->ops->begin(decoder->engine, &batch, err);
        if (status == STATUS_OK)
            status = decoder->engine->ops->run(decoder->engine, 0, decoder->engine->plan->n_steps, err);
        each[i] = now_ms() - start;
    }
    *ms = median(each, decoder->n);
    free(each);
    return status;
}

static enum status fed_back(const struct decoder *decoder, uint32_t a_submit, double *ms, struct error *err)
{
    enum status status = STATUS_OK;
    uint32_t n = decoder->n / a_submit;
    double *each = xcalloc(n, sizeof(*each));
    int32_t *ids = xcalloc(a_submit, sizeof(*ids)), token = decoder->tokens[0];
    for (uint32_t i = 0; i < n && status == STATUS_OK; i++) {
        double start = now_ms();
        status = engine_decode(decoder->engine, decoder->first + i * a_submit, token, -1, a_submit, ids, err);
        each[i] = (now_ms() - start) / a_submit;
        token = ids[a_submit - 1];
    }
    *ms = median(each, n);
    free(each);
    free(ids);
    return status;
}

enum status bench_fed_back(struct backend *engine, const int32_t *tokens, uint32_t first, uint32_t n, uint32_t a_submit,
                           double *ms, struct error *err)
{
    struct decoder decoder = {engine, tokens, first, n};
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
    return status;
}

enum status bench_capture(struct backend *engine, const int32_t *tokens, uint32_t first, uint32_t n,
                          struct bench_captured *captured, struct error *err)
{
    double ms[2][BENCH_WAYS][ROUNDS];
    struct decoder decoder = {engine, tokens, first, n / ENGINE_TOKENS_A_SUBMIT * ENGINE_TOKENS_A_SUBMIT};
    *captured = (struct bench_captured){0};
    if (decoder.n == 0)
        return error_set(err, STATUS_USAGE, NULL, "-n", ERROR_NO_OFFSET, "%u, expected at least %u tokens", n,
                         ENGINE_TOKENS_A_SUBMIT);
    bool *last = xcalloc(engine->plan->n_steps, sizeof(*last));
    last[engine->plan->n_steps - 1] = true;
    enum status status = STATUS_OK;
    for (int round = 0; round < ROUNDS && status == STATUS_OK; round++) {
        for (int on = 0; on < 2 && status == STATUS_OK; on++) {
            double measured[BENCH_WAYS] = {0};
            status = engine_capture(engine, on ? NULL : last, err);
            for (int warm = 1; warm >= 0 && status == STATUS_OK; warm--)
                status = measure(&decoder, measured, err);
            for (int way = 0; way < BENCH_WAYS; way++)
                ms[on][way][round] = measured[way];
        }
    }
    for (int way = 0; way < BENCH_WAYS && status == STATUS_OK; way++) {
        captured->off_ms[way] = median(ms[0][way], ROUNDS);
        captured->all_ms[way] = median(ms[1][way], ROUNDS);
    }
    free(last);
    return status;
}
