/* How fast a side runs a model. A token's time is from the begin of its batch until its logits are in host memory. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "model/stop.h"
#include "workbench/bench/bench.h"
#include "workbench/bench/bench_time.h"

#define WARM_UP 2

static double cpu_ms(void)
{
    struct timespec now;
    ASSERT(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now) == 0);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec * 1e-6;
}

int32_t bench_token(const struct bench *bench, uint32_t position)
{
    return (int32_t)((504 + (uint64_t)position * 13) % bench->session.model.config.vocab);
}

/* Runs the whole plan on positions [first, first + n). */
static enum status run_batch(struct bench *bench, uint32_t first, uint32_t n, bool decode, struct error *err)
{
    struct backend *backend = &bench->session.backend[bench->source];
    struct batch batch = {first, n, bench->tokens + first, decode};
    enum status status = backend->ops->begin(backend, &batch, err);
    return status == STATUS_OK ? backend->ops->run(backend, 0, backend->plan->n_steps, err) : status;
}

/* The logits of the last position: what is wrong with them spoils the quality. */
static enum status check_logits(struct bench *bench, uint32_t n_rows, struct error *err)
{
    struct backend *backend = &bench->session.backend[bench->source];
    uint32_t last = backend->plan->n_steps - 1, width = backend->plan->steps[last].width;
    n_rows = backend->last_row_alone ? 1 : n_rows;
    float *rows = xmalloc((uint64_t)n_rows * width * sizeof(*rows));
    enum status status = backend->ops->read(backend, last, rows, err);
    const char *wrong = status == STATUS_OK ? bench_logits_wrong(rows, (uint64_t)n_rows * width) : NULL;
    if (wrong) {
        snprintf(bench->reason, sizeof(bench->reason), "%s", wrong);
    }
    free(rows);
    return status;
}

static enum status run_prefill(struct bench *bench, struct error *err)
{
    enum status status = STATUS_OK;
    uint32_t most = bench->session.backend[bench->source].max_rows, n = 0;
    double start = bench_now_ms();
    for (uint32_t first = 0; status == STATUS_OK && first < bench->n_prompt; first += n) {
        n = bench->n_prompt - first < most ? bench->n_prompt - first : most;
        status = run_batch(bench, first, n, false, err);
    }
    bench->prefill_ms = bench_now_ms() - start;
    if (status == STATUS_OK) {
        status = check_logits(bench, n, err);
    }
    bench->ttft_ms = bench_now_ms() - start;
    return status;
}

static enum status run_decode(struct bench *bench, uint32_t n, struct error *err)
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
        double start = bench_now_ms();
        status = run_batch(bench, bench->n_prompt + i, 1, true, err);
        ms[i] = bench_now_ms() - start;
    }
    if (status == STATUS_OK && n > 0) {
        bench->cpu_ms = (cpu_ms() - cpu_start) / n;
        status = check_logits(bench, 1, err);
        bench->median_ms = bench_median(ms, n, &bench->min_ms);
    }
    if (bench->source == SOURCE_ENGINE && n > 0) {
        engine_costs(backend, &bench->costs);
        bench->submits = (uint32_t)((bench->costs.submits - before.submits) / n);
    }
    free(ms);
    return status;
}

/* The positions of a prompt to audit: a few, but as many as it takes to run tiled kernels, if those ran. Not always in
 * the same shape: attention_tile.comp takes 16 rows a workgroup only where there are many; tests/engine/prefill.c
 * audits that. */
static uint32_t audited_prefill(const struct bench *bench)
{
    const struct backend *backend = &bench->session.backend[bench->source];
    uint32_t many = bench->source == SOURCE_ENGINE ? engine_many_rows(backend) : 0;
    return many > BENCH_AUDITED_PREFILL && many <= bench->n_prompt ? many : BENCH_AUDITED_PREFILL;
}

/* Parity of what ran: a few positions recorded and audited, if stages are captured. */
static enum status check_quality(struct bench *bench, bool captured, struct error *err)
{
    uint32_t n_prefill = audited_prefill(bench), n = n_prefill + BENCH_AUDITED_DECODE;
    snprintf(bench->checked, sizeof(bench->checked), "logits are finite");
    if (!captured || bench->reason[0]) {
        return STATUS_OK;
    }
    int32_t *tokens = xmalloc(n * sizeof(*tokens));
    uint8_t *phase = xmalloc(n * sizeof(*phase));
    for (uint32_t i = 0; i < n; i++) {
        tokens[i] = bench_token(bench, i);
        phase[i] = i < n_prefill ? PHASE_PREFILL : PHASE_DECODE;
    }
    struct trace trace;
    const struct record_options options = {.n_positions = n, .tokens = tokens, .phase = phase};
    enum status status = session_record(&bench->session, bench->source, &options, &trace, err);
    free(tokens);
    free(phase);
    if (status != STATUS_OK) {
        return status;
    }
    struct audit audit;
    const struct trace *list[1] = {&trace};
    audit_run(&audit, &bench->session.plan, list, 1, NULL, NULL);
    status = stop_check(err);
    snprintf(bench->checked, sizeof(bench->checked), "audit of %u steps at %u positions", bench->session.plan.n_steps,
             n);
    for (uint32_t i = 0; status == STATUS_OK && i < bench->session.plan.n_steps && !bench->reason[0]; i++) {
        const struct finding *finding = audit_finding(&audit, i, 0);
        char label[64];
        if (finding->state != FINDING_AUDITED || finding_failed(finding)) {
            snprintf(bench->reason, sizeof(bench->reason), "%s: error %.3g times its bound",
                     step_label(&bench->session.plan.steps[i], label), finding->max_ratio);
        }
    }
    audit_free(&audit);
    trace_free(&trace);
    return status;
}

/* Once: pipelines, shapes, caches; on a GPU until its clocks are those of one that works. */
static enum status warm_up(struct bench *bench, struct error *err)
{
    const struct backend *backend = &bench->session.backend[bench->source];
    bool gpu = bench->source == SOURCE_ENGINE && !engine_device(backend)->is_cpu;
    double end = bench_now_ms() + (gpu ? GPU_WARM_UP_MS : 0);
    uint32_t n = bench->n_decoded < WARM_UP ? bench->n_decoded : WARM_UP;
    enum status status;
    do {
        status = run_prefill(bench, err);
        if (status == STATUS_OK) {
            status = run_decode(bench, n, err);
        }
    } while (status == STATUS_OK && bench_now_ms() < end);
    return status;
}

enum status bench_measure(struct bench *bench, bool captured, bool ops, struct error *err)
{
    struct backend *backend = &bench->session.backend[bench->source];
    enum status status = warm_up(bench, err);
    if (status == STATUS_OK) {
        status = run_prefill(bench, err);
    }
    ops = ops && bench->source == SOURCE_ENGINE;
    if (status == STATUS_OK && ops) {
        status = bench_ops_measure(backend, &bench->prefill_ops, err);
    }
    if (status == STATUS_OK) {
        status = run_decode(bench, bench->n_decoded, err);
    }
    if (status == STATUS_OK && ops && bench->n_decoded > 0) {
        status = bench_ops_measure(backend, &bench->decode_ops, err);
    }
    if (status == STATUS_OK && bench->source == SOURCE_ENGINE) {
        status = engine_read_bandwidth(backend, &bench->bandwidth, err);
    }
    return status == STATUS_OK ? check_quality(bench, captured, err) : status;
}

/* Without capture nobody looks between the tokens. */
enum status bench_measure_fed_back(struct bench *bench, struct error *err)
{
    if (bench->source != SOURCE_ENGINE || bench->n_decoded < ENGINE_TOKENS_A_SUBMIT) {
        return STATUS_OK;
    }
    struct backend *engine = &bench->session.backend[SOURCE_ENGINE];
    const int32_t *tokens = bench->tokens + bench->n_prompt;
    enum status status = bench_fed_back(engine, tokens, bench->n_prompt, bench->n_decoded, 1, &bench->chosen_ms, err);
    return status == STATUS_OK ? bench_fed_back(engine, tokens, bench->n_prompt, bench->n_decoded,
                                                ENGINE_TOKENS_A_SUBMIT, &bench->chained_ms, err)
                               : status;
}
