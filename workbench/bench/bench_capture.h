/* bench --capture both: decoding with and without capture, alternating in one process. */
#ifndef LOCKSTEP_WORKBENCH_BENCH_BENCH_CAPTURE_H
#define LOCKSTEP_WORKBENCH_BENCH_BENCH_CAPTURE_H

#include "model/backend.h"

enum bench_way {
    BENCH_TO_HOST,  /* a token a submit, its logits awaited on the host; other stages come while the next one runs */
    BENCH_CHOSEN,   /* a token a submit, chosen on the device; stages stay there */
    BENCH_CHAINED,  /* ENGINE_TOKENS_A_SUBMIT tokens a submit; stages stay there */
    BENCH_STREAMED, /* a token a submit, chosen on the device; logits or all stages come while the next one runs */
    BENCH_WAYS
};

struct bench_captured {
    double off_ms[BENCH_WAYS], all_ms[BENCH_WAYS]; /* a token: medians of five medians */
};

/* Decodes n tokens, each chosen on the device and fed back there, `a_submit` a submit (1, ENGINE_TOKENS_A_SUBMIT; n is
 * no less). *ms: the median of a token. */
enum status bench_fed_back(struct backend *engine, const int32_t *tokens, uint32_t first, uint32_t n, uint32_t a_submit,
                           double *ms, struct error *err);

/* Decodes n tokens behind position first - 1, whose keys are in the cache. Leaves everything captured. */
enum status bench_capture(struct backend *engine, const int32_t *tokens, uint32_t first, uint32_t n,
                          struct bench_captured *captured, struct error *err);

#endif
