/* Measures how fast a side runs a model. A token's time lasts from the begin of its batch until its logits are in host
 * memory. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "model/stop.h"
#include "workbench/bench/model_bench.h"
#include "workbench/bench/timing.h"

#define WARM_UP_TOKENS 2 /* decoded before the measurement */

static double cpu_ms(void)
{
    struct timespec now;
    ASSERT(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now) == 0);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec * 1e-6;
}

int32_t model_bench_token(const struct model_bench *bench, uint32_t position)
{
    return (int32_t)((504 + (uint64_t)position * 13) % bench->session.model.config.vocab);
}

/* Runs the whole plan on positions [first, first + n). */
static enum status run_batch(struct model_bench *bench, uint32_t first, uint32_t n, bool decode, struct error *err)
{
    struct backend *backend = &bench->session.backend[bench->source];
    struct batch batch = {first, n, bench->tokens + first, decode};
    TRY(backend->ops->begin(backend, &batch, err));
    return backend->ops->run(backend, 0, backend->plan->n_steps, err);
}

const char *logits_wrong(const float *logits, uint64_t n)
{
    bool differ = n < 2;
    for (uint64_t i = 0; i < n; i++) {
        if (!isfinite(logits[i])) {
            return "a logit is not finite";
        }
        differ = differ || logits[i] != logits[0];
    }
    return differ ? NULL : "all logits are the same";
}

/* Wrong logits at the last position become the reason why the quality is not ok. */
static enum status check_logits(struct model_bench *bench, uint32_t n_rows, struct error *err)
{
    struct backend *backend = &bench->session.backend[bench->source];
    uint32_t last = backend->plan->n_steps - 1, width = backend->plan->steps[last].width;
    n_rows = backend->last_row_alone ? 1 : n_rows;
    float *rows = xmalloc((uint64_t)n_rows * width * sizeof(*rows));
    enum status status = backend->ops->read(backend, last, rows, err);
    const char *wrong = status == STATUS_OK ? logits_wrong(rows, (uint64_t)n_rows * width) : NULL;
    if (wrong) {
        snprintf(bench->reason, sizeof(bench->reason), "%s", wrong);
    }
    free(rows);
    return status;
}

static enum status run_prefill(struct model_bench *bench, struct error *err)
{
    enum status status = STATUS_OK;
    uint32_t most = bench->session.backend[bench->source].max_rows, n = 0;
    double start = now_ms();
    for (uint32_t first = 0; status == STATUS_OK && first < bench->n_prompt; first += n) {
        n = bench->n_prompt - first < most ? bench->n_prompt - first : most;
        status = run_batch(bench, first, n, false, err);
    }
    bench->prefill_ms = now_ms() - start;
    if (status == STATUS_OK) {
        status = check_logits(bench, n, err);
    }
    bench->ttft_ms = now_ms() - start;
    return status;
}

static enum status run_decode(struct model_bench *bench, uint32_t n, struct error *err)
{
    enum status status = STATUS_OK;
    double *ms = xmalloc((n + 1) * sizeof(*ms));
    const struct backend *backend = &bench->session.backend[bench->source];
    struct engine_costs before = {0};
    if (bench->source == SOURCE_ENGINE) {
        engine_costs(backend, &before);
    }
    double cpu_start = cpu_ms();
    for (uint32_t i = 0; status == STATUS_OK && i < n; i++) {
        double start = now_ms();
        status = run_batch(bench, bench->n_prompt + i, 1, true, err);
        ms[i] = now_ms() - start;
    }
    if (status == STATUS_OK && n > 0) {
        bench->cpu_ms = (cpu_ms() - cpu_start) / n;
        status = check_logits(bench, 1, err);
        bench->median_ms = median(ms, n, &bench->min_ms);
    }
    if (bench->source == SOURCE_ENGINE && n > 0) {
        engine_costs(backend, &bench->costs);
        bench->submits = (uint32_t)((bench->costs.submits - before.submits) / n);
    }
    free(ms);
    return status;
}

/* How many positions of the prompt to audit: a few, or as many as make the engine use its tiled kernels, if the
 * measurement used them. attention_tile.comp may still run in another shape, with fewer than 16 rows a workgroup;
 * tests/engine/prefill.c audits that one. */
static uint32_t audited_prefill(const struct model_bench *bench)
{
    const struct backend *backend = &bench->session.backend[bench->source];
    uint32_t n_tiled = bench->source == SOURCE_ENGINE ? engine_many_rows(backend) : 0;
    bool tiled_ran = n_tiled > MODEL_BENCH_AUDITED_PREFILL && n_tiled <= bench->n_prompt;
    return tiled_ran ? n_tiled : MODEL_BENCH_AUDITED_PREFILL;
}

/* Records n positions, of which n_prefill are prefill. */
static enum status record(struct model_bench *bench, uint32_t n_prefill, uint32_t n, struct trace *trace,
                          struct error *err)
{
    int32_t *tokens = xmalloc(n * sizeof(*tokens));
    uint8_t *phase = xmalloc(n * sizeof(*phase));
    for (uint32_t i = 0; i < n; i++) {
        tokens[i] = model_bench_token(bench, i);
        phase[i] = i < n_prefill ? PHASE_PREFILL : PHASE_DECODE;
    }
    const struct record_options options = {.n_positions = n, .tokens = tokens, .phase = phase};
    enum status status = session_record(&bench->session, bench->source, &options, trace, err);
    free(tokens);
    free(phase);
    return status;
}

/* The first step that fails, or could not be audited, becomes the reason why the quality is not ok. */
static void find_failed_step(struct model_bench *bench, const struct audit *audit)
{
    for (uint32_t i = 0; i < bench->session.plan.n_steps && !bench->reason[0]; i++) {
        const struct finding *finding = audit_finding(audit, i, 0);
        char label[64];
        if (finding->state != FINDING_AUDITED || finding_failed(finding)) {
            snprintf(bench->reason, sizeof(bench->reason), "%s: error %.3g times its bound",
                     step_label(&bench->session.plan.steps[i], label), finding->max_ratio);
        }
    }
}

/* Records a few positions and audits them, if stages are captured. */
static enum status check_quality(struct model_bench *bench, bool captured, struct error *err)
{
    uint32_t n_prefill = audited_prefill(bench), n = n_prefill + MODEL_BENCH_AUDITED_DECODE;
    snprintf(bench->checked, sizeof(bench->checked), "logits are finite");
    if (!captured || bench->reason[0]) {
        return STATUS_OK;
    }
    struct trace trace;
    TRY(record(bench, n_prefill, n, &trace, err));
    struct audit audit;
    const struct trace *list[1] = {&trace};
    audit_run(&audit, &bench->session.plan, list, 1, NULL, NULL);
    snprintf(bench->checked, sizeof(bench->checked), "audit of %u steps at %u positions", bench->session.plan.n_steps,
             n);
    enum status status = stop_check(err);
    if (status == STATUS_OK) {
        find_failed_step(bench, &audit);
    }
    audit_free(&audit);
    trace_free(&trace);
    return status;
}

/* Builds pipelines and fills caches by one run; on a GPU, runs until its clock is up. */
static enum status warm_up(struct model_bench *bench, struct error *err)
{
    const struct backend *backend = &bench->session.backend[bench->source];
    bool gpu = bench->source == SOURCE_ENGINE && !engine_device(backend)->is_cpu;
    double end = now_ms() + (gpu ? GPU_WARM_UP_MS : 0);
    uint32_t n = bench->n_decoded < WARM_UP_TOKENS ? bench->n_decoded : WARM_UP_TOKENS;
    enum status status;
    do {
        status = run_prefill(bench, err);
        if (status == STATUS_OK) {
            status = run_decode(bench, n, err);
        }
    } while (status == STATUS_OK && now_ms() < end);
    return status;
}

enum status model_bench_measure(struct model_bench *bench, bool captured, bool op_times, struct error *err)
{
    struct backend *backend = &bench->session.backend[bench->source];
    bool is_engine = bench->source == SOURCE_ENGINE;
    TRY(warm_up(bench, err));
    TRY(run_prefill(bench, err));
    if (is_engine && op_times) {
        TRY(op_times_measure(backend, &bench->prefill_ops, err));
    }
    TRY(run_decode(bench, bench->n_decoded, err));
    if (is_engine && op_times && bench->n_decoded > 0) {
        TRY(op_times_measure(backend, &bench->decode_ops, err));
    }
    if (is_engine) {
        TRY(engine_read_bandwidth(backend, &bench->bandwidth, err));
    }
    return check_quality(bench, captured, err);
}

enum status model_bench_measure_on_device(struct model_bench *bench, struct error *err)
{
    if (bench->source != SOURCE_ENGINE || bench->n_decoded < ENGINE_TOKENS_A_SUBMIT) {
        return STATUS_OK;
    }
    struct decode_run run = {.engine = &bench->session.backend[SOURCE_ENGINE],
                             .tokens = bench->tokens + bench->n_prompt,
                             .first = bench->n_prompt,
                             .n = bench->n_decoded};
    TRY(decode_on_device_time(&run, 1, &bench->chosen_on_device_ms, err));
    return decode_on_device_time(&run, ENGINE_TOKENS_A_SUBMIT, &bench->many_a_submit_ms, err);
}
