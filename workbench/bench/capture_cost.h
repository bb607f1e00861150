/* bench --capture both: what capturing every stage costs. Decoding is timed with and without it, by turns, in one
 * process. */
#ifndef LOCKSTEP_WORKBENCH_BENCH_CAPTURE_COST_H
#define LOCKSTEP_WORKBENCH_BENCH_CAPTURE_COST_H

#include "model/backend.h"

/* Where the next token is chosen, how many tokens one submit decodes, and what is copied to the host. */
enum decode_way {
    DECODE_TO_HOST,  /* host, 1 token a submit; waits for the logits; other stages are copied during the next token */
    DECODE_CHOSEN,   /* device, 1 token a submit; captured stages stay on the device */
    DECODE_CHAINED,  /* device, ENGINE_TOKENS_A_SUBMIT tokens a submit; captured stages stay on the device */
    DECODE_STREAMED, /* device, 1 token a submit; captured stages are copied during the next token */
    N_DECODE_WAYS
};

/* Milliseconds a token: medians over five rounds. off: only the logits are captured; all: every stage is. */
struct capture_cost {
    double off_ms[N_DECODE_WAYS], all_ms[N_DECODE_WAYS];
};

/* Decoding behind a prompt whose keys and values are in the cache. */
struct decode_run {
    struct backend *engine;
    const int32_t *tokens; /* [n] to feed; where the device chooses, only the first is used */
    uint32_t first, n;     /* positions [first, first + n) */
};

/* Times decoding where the device chooses each token and feeds it back. a_submit: tokens in one submit, at most n.
 * *ms: median milliseconds a token. */
enum status decode_on_device_time(const struct decode_run *run, uint32_t a_submit, double *ms, struct error *err);

/* Fails with STATUS_USAGE if n is less than ENGINE_TOKENS_A_SUBMIT. Leaves the engine capturing every stage. */
enum status capture_cost_measure(const struct decode_run *run, struct capture_cost *cost, struct error *err);

#endif
