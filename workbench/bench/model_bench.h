/* bench MODEL: measures prefill and decode of a model (model_measure.c) and reports them (model_report.c). */
#ifndef LOCKSTEP_WORKBENCH_BENCH_MODEL_BENCH_H
#define LOCKSTEP_WORKBENCH_BENCH_MODEL_BENCH_H

#include "workbench/bench/capture_cost.h"
#include "workbench/bench/op_times.h"
#include "workbench/session/session.h"

/* What is recorded and audited after the measurement, if stages are captured. */
#define MODEL_BENCH_AUDITED_PREFILL 4 /* positions of the prompt, at least */
#define MODEL_BENCH_AUDITED_DECODE 2  /* tokens decoded after it */

struct model_bench {
    struct session session;
    enum source source; /* the side that runs */
    uint32_t n_prompt, n_decoded;
    int32_t *tokens;                              /* [n_prompt + n_decoded] */
    double load_ms;                               /* opening the model and the side, weights on the device included */
    double prefill_ms, ttft_ms;                   /* ttft: time to the first token */
    double median_ms, min_ms;                     /* of one decoded token */
    double cpu_ms;                                /* processor time of one decoded token, over all threads */
    double bandwidth;                             /* read bandwidth of the device, bytes a second; 0: not measured */
    uint32_t submits;                             /* for one decoded token */
    double chosen_on_device_ms, many_a_submit_ms; /* one token, chosen on the device; 0: not measured */
    bool compares_capture;                        /* --capture both */
    struct capture_cost capture_cost;
    struct op_times prefill_ops, decode_ops;
    struct engine_costs costs;
    char reason[160]; /* why the quality is not ok; empty: it is ok */
    char checked[96]; /* what the quality was judged by */
};

/* A made-up token for each position: speed does not depend on which tokens run. */
int32_t model_bench_token(const struct model_bench *bench, uint32_t position);

/* Measures prefill and decode, and each op if op_times is set; then judges the run's quality: by an audit if stages are
 * captured, else by whether the logits can be right. The session must be open. */
enum status model_bench_measure(struct model_bench *bench, bool captured, bool op_times, struct error *err);

/* Measures decoding where the device chooses the tokens and nothing between them is copied to the host. */
enum status model_bench_measure_on_device(struct model_bench *bench, struct error *err);

/* The reason why these logits are wrong for any model (one is nonfinite, or all are equal), or NULL. */
const char *logits_wrong(const float *logits, uint64_t n);

/* Prints the result for people. capture: "off", "all" or "both". */
void model_bench_print(const struct model_bench *bench, const char *capture);

/* What a device can do; the caller owns it. */
json_t *bench_device_json(const struct device_info *device);

/* Puts the result as a row into the table of devices of a Markdown file, in place of an earlier one of this device and
 * model; a file without the table gets one at its end. STATUS_USAGE: nothing was audited; STATUS_IO: it cannot be read
 * or written. (hardware_table.c) */
enum status model_bench_record(const struct model_bench *bench, const char *path, struct error *err);

/* The result as JSON; the caller owns it. */
json_t *model_bench_json(const struct model_bench *bench, const char *model, const char *capture);

#endif
