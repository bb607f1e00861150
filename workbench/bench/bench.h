/* `bench` of a model: what is measured (bench_run.c) and how it is said (bench_report.c). */
#ifndef LOCKSTEP_WORKBENCH_BENCH_BENCH_H
#define LOCKSTEP_WORKBENCH_BENCH_BENCH_H

#include "workbench/bench/bench_capture.h"
#include "workbench/bench/bench_ops.h"
#include "workbench/session/session.h"

/* What is recorded and audited after the measurement, where stages are captured. */
#define BENCH_AUDITED_PREFILL 4 /* positions of the prompt, at least */
#define BENCH_AUDITED_DECODE 2  /* tokens decoded after it */

struct bench {
    struct session session;
    enum source source;
    uint32_t n_prompt, n_decoded;
    int32_t *tokens; /* [n_prompt + n_decoded] */
    double prefill_ms, ttft_ms, median_ms, min_ms;
    double cpu_ms;    /* processor time of a decoded token, all threads: what a busy machine does not distort */
    double bandwidth; /* bytes a second; 0: not measured */
    uint32_t submits; /* a decoded token */
    double chosen_ms, chained_ms; /* a token chosen on the device: one a submit, many; 0: not measured */
    bool compares;                /* --capture both */
    struct bench_captured compared;
    struct bench_ops prefill_ops, decode_ops;
    struct engine_costs costs;
    char reason[160], checked[96]; /* reason: why the quality is not ok; empty: it is */
};

/* The token at a position. They are made up: speed does not depend on them. */
int32_t bench_token(const struct bench *bench, uint32_t position);

/* Measures prefill and decode, the time of each op if `ops`, and what the run's quality is: an audit if its stages are
 * captured. The session is open. */
enum status bench_measure(struct bench *bench, bool captured, bool ops, struct error *err);

/* Of tokens that are chosen on the device, where nobody looks between them. */
enum status bench_measure_fed_back(struct bench *bench, struct error *err);

/* For people, and as a document that the caller owns. capture: "off", "all", "both". */
void bench_print(const struct bench *bench, const char *capture);
json_t *bench_json(const struct bench *bench, const char *model, const char *capture);

#endif
