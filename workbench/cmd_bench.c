/* lockstep bench: how fast a side runs a model, what a token costs it, and whether what it ran was right. The tokens
 * are made up: speed does not depend on them. A token's time is from the begin of its batch until its logits are in
 * host memory. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "model/stop.h"
#include "workbench/bench_capture.h"
#include "workbench/bench_kernels.h"
#include "workbench/bench_ops.h"
#include "workbench/command.h"
#include "workbench/json_file.h"
#include "workbench/options.h"
#include "workbench/session.h"

#define DEFAULT_PROMPT 32
#define DEFAULT_DECODED 16
#define WARM_UP 2
#define AUDITED_PREFILL 4 /* positions of the run that is audited, and as many as follow one by one */
#define AUDITED_DECODE 2

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

static double now_ms(void)
{
    struct timespec now;
    ASSERT(clock_gettime(CLOCK_MONOTONIC, &now) == 0);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec * 1e-6;
}

static double cpu_ms(void)
{
    struct timespec now;
    ASSERT(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now) == 0);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec * 1e-6;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static int32_t token_at(const struct bench *bench, uint32_t position)
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

/* The logits of the last position; a value that is not finite spoils the quality. */
static enum status check_logits(struct bench *bench, uint32_t n_rows, struct error *err)
{
    struct backend *backend = &bench->session.backend[bench->source];
    uint32_t last = backend->plan->n_steps - 1, width = backend->plan->steps[last].width;
    n_rows = backend->last_row_alone ? 1 : n_rows;
    float *rows = xmalloc((uint64_t)n_rows * width * sizeof(*rows));
    enum status status = backend->ops->read(backend, last, rows, err);
    for (uint64_t i = 0; status == STATUS_OK && i < (uint64_t)n_rows * width; i++) {
        if (!isfinite(rows[i])) {
            snprintf(bench->reason, sizeof(bench->reason), "a logit is not finite");
            break;
        }
    }
    free(rows);
    return status;
}

static enum status run_prefill(struct bench *bench, struct error *err)
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
        double start = now_ms();
        status = run_batch(bench, bench->n_prompt + i, 1, true, err);
        ms[i] = now_ms() - start;
    }
    if (status == STATUS_OK && n > 0) {
        bench->cpu_ms = (cpu_ms() - cpu_start) / n;
        status = check_logits(bench, 1, err);
        qsort(ms, n, sizeof(*ms), by_value);
        bench->min_ms = ms[0];
        bench->median_ms = n % 2 ? ms[n / 2] : (ms[n / 2 - 1] + ms[n / 2]) / 2;
    }
    if (bench->source == SOURCE_ENGINE && n > 0) {
        engine_costs(backend, &bench->costs);
        bench->submits = (uint32_t)((bench->costs.submits - before.submits) / n);
    }
    free(ms);
    return status;
}

/* Parity of what ran: a few positions recorded and audited, if stages are captured. */
static enum status check_quality(struct bench *bench, bool captured, struct error *err)
{
    uint32_t n = AUDITED_PREFILL + AUDITED_DECODE;
    const struct backend *backend = &bench->session.backend[bench->source];
    snprintf(bench->checked, sizeof(bench->checked), "logits are finite");
    if (!captured || bench->reason[0] || n > backend->max_positions) {
        return STATUS_OK;
    }
    int32_t tokens[AUDITED_PREFILL + AUDITED_DECODE];
    uint8_t phase[AUDITED_PREFILL + AUDITED_DECODE];
    for (uint32_t i = 0; i < n; i++) {
        tokens[i] = token_at(bench, i);
        phase[i] = i < AUDITED_PREFILL ? PHASE_PREFILL : PHASE_DECODE;
    }
    struct trace trace;
    enum status status =
        session_record(&bench->session, bench->source, n, tokens, phase, NULL, &trace, NULL, NULL, err);
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

static enum status measure(struct bench *bench, bool captured, bool ops, struct error *err)
{
    struct backend *backend = &bench->session.backend[bench->source];
    /* Once to warm up: pipelines, shapes, caches. */
    enum status status = run_prefill(bench, err);
    uint32_t warm_up = bench->n_decoded < WARM_UP ? bench->n_decoded : WARM_UP;
    if (status == STATUS_OK) {
        status = run_decode(bench, warm_up, err);
    }
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
static enum status measure_fed_back(struct bench *bench, struct error *err)
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

static double rate(double n, double ms)
{
    return ms > 0 ? n / ms * 1e3 : 0;
}

/* Bytes that one token in the middle of the decoded ones reads. */
static double bytes_per_token(const struct bench *bench)
{
    uint32_t positions = bench->n_prompt + bench->n_decoded / 2 + 1;
    return (double)bench->costs.weight_bytes + (double)bench->costs.cache_bytes * positions;
}

static double bandwidth_share(const struct bench *bench)
{
    double per_second = rate(bytes_per_token(bench), bench->median_ms);
    return bench->bandwidth > 0 ? per_second / bench->bandwidth : 0;
}

static const char *const way_names[BENCH_WAYS] = {"to the host", "chosen there", "many a submit"};

static void print_compared(const struct bench_captured *compared)
{
    for (int way = 0; way < BENCH_WAYS; way++) {
        printf("capture  %-14s %8.3f ms a token with it, %.3f without: %.3f times\n", way_names[way],
               compared->all_ms[way], compared->off_ms[way], compared->all_ms[way] / compared->off_ms[way]);
    }
}

static json_t *compared_json(const struct bench_captured *compared)
{
    static const char *const keys[BENCH_WAYS] = {"to_host", "chosen_on_device", "many_a_submit"};
    json_t *root = json_object();
    for (int way = 0; way < BENCH_WAYS; way++) {
        json_t *one = json_object();
        json_put(one, "all_ms", json_real(compared->all_ms[way]));
        json_put(one, "off_ms", json_real(compared->off_ms[way]));
        json_put(one, "ratio", json_real(compared->all_ms[way] / compared->off_ms[way]));
        json_put(root, keys[way], one);
    }
    json_put(root, "tokens_a_submit", json_integer(ENGINE_TOKENS_A_SUBMIT));
    return root;
}

static void print_text(const struct bench *bench, const char *capture)
{
    if (bench->prefill_ops.measured) {
        bench_ops_print(&bench->prefill_ops, "prefill");
    }
    if (bench->decode_ops.measured) {
        bench_ops_print(&bench->decode_ops, "decode");
    }
    printf("prefill  %u tokens in %.2f ms, %.1f tok/s; first token after %.2f ms\n", bench->n_prompt, bench->prefill_ms,
           rate(bench->n_prompt, bench->prefill_ms), bench->ttft_ms);
    printf("decode   %u tokens, %.3f ms a token (median; min %.3f; processor %.3f), %.1f tok/s, capture %s\n",
           bench->n_decoded, bench->median_ms, bench->min_ms, bench->cpu_ms, rate(1, bench->median_ms), capture);
    if (bench->source == SOURCE_ENGINE) {
        printf("a token  %u dispatches, %u barriers, %u submits, %.1f MB read, %.2f MB brought to the host\n",
               bench->costs.dispatches, bench->costs.barriers, bench->submits, bytes_per_token(bench) / 1e6,
               (double)bench->costs.readback_bytes / 1e6);
        printf("memory   reads at %.1f GB/s, decoding at %.0f%% of it; at most %.1f MB taken\n", bench->bandwidth / 1e9,
               bandwidth_share(bench) * 100, (double)bench->costs.memory_bytes / 1e6);
    }
    if (bench->chained_ms > 0) {
        printf("device   tokens chosen there: %.3f ms a token with one a submit, %.3f with %u\n", bench->chosen_ms,
               bench->chained_ms, ENGINE_TOKENS_A_SUBMIT);
    }
    if (bench->compares) {
        print_compared(&bench->compared);
    }
    printf("quality  %s%s%s\n", bench->reason[0] ? "NOT OK: " : "ok: ", bench->reason[0] ? bench->reason : "",
           bench->reason[0] ? "" : bench->checked);
}

static json_t *decode_json(const struct bench *bench)
{
    json_t *decode = json_object(), *ms = json_object();
    json_put(ms, "median", json_real(bench->median_ms));
    json_put(ms, "min", json_real(bench->min_ms));
    json_put(decode, "tokens", json_integer(bench->n_decoded));
    json_put(decode, "tok_s", json_real(rate(1, bench->median_ms)));
    json_put(decode, "ms_per_token", ms);
    json_put(decode, "cpu_ms_per_token", json_real(bench->cpu_ms));
    if (bench->chained_ms > 0) {
        json_put(decode, "chosen_on_device_ms", json_real(bench->chosen_ms));
        json_put(decode, "many_a_submit_ms", json_real(bench->chained_ms));
    }
    return decode;
}

static json_t *document(const struct bench *bench, const char *model, const char *capture)
{
    bool engine = bench->source == SOURCE_ENGINE;
    const struct device_info *device = engine ? engine_device(&bench->session.backend[SOURCE_ENGINE]) : NULL;
    json_t *root = json_object(), *prefill = json_object(), *quality = json_object(), *reasons = json_array();
    json_put(root, "format", json_text("lockstep-bench"));
    json_put(root, "version", json_integer(1));
    json_put(root, "on", json_text(source_name(bench->source)));
    json_put(root, "device", json_text(engine ? device->name : "host"));
    json_put(root, "driver", json_text(engine ? device->driver : "none"));
    json_put(root, "model", json_text(model));
    json_put(prefill, "tokens", json_integer(bench->n_prompt));
    json_put(prefill, "ms", json_real(bench->prefill_ms));
    json_put(prefill, "tok_s", json_real(rate(bench->n_prompt, bench->prefill_ms)));
    json_put(root, "prefill", prefill);
    json_put(root, "ttft_ms", json_real(bench->ttft_ms));
    json_put(root, "decode", decode_json(bench));
    json_put(root, "dispatches_per_token", json_integer(bench->costs.dispatches));
    json_put(root, "barriers_per_token", json_integer(bench->costs.barriers));
    json_put(root, "submits_per_token", json_integer(bench->submits));
    json_put(root, "bytes_per_token", json_integer((json_int_t)bytes_per_token(bench)));
    json_put(root, "read_bandwidth", json_real(bench->bandwidth));
    json_put(root, "read_bandwidth_share", json_real(bandwidth_share(bench)));
    json_put(root, "readback_bytes_per_token", json_integer((json_int_t)bench->costs.readback_bytes));
    json_put(root, "peak_memory_bytes", json_integer((json_int_t)bench->costs.memory_bytes));
    json_put(root, "capture", json_text(capture));
    if (bench->compares) {
        json_put(root, "captured", compared_json(&bench->compared));
    }
    if (bench->prefill_ops.measured) {
        json_put(root, "prefill_ops_us", bench_ops_json(&bench->prefill_ops));
    }
    if (bench->decode_ops.measured) {
        json_put(root, "decode_ops_us", bench_ops_json(&bench->decode_ops));
    }
    if (bench->reason[0]) {
        json_push(reasons, json_text(bench->reason));
    }
    json_put(quality, "ok", json_boolean(!bench->reason[0]));
    json_put(quality, "reasons", reasons);
    json_put(quality, "checked", json_text(bench->checked));
    json_put(root, "quality", quality);
    return root;
}

static enum status parse(const struct arguments *arguments, struct bench *bench, bool *captured, struct error *err)
{
    const char *capture = arguments->capture ? arguments->capture : "all";
    *captured = strcmp(capture, "all") == 0;
    bench->compares = strcmp(capture, "both") == 0;
    if (!*captured && !bench->compares && strcmp(capture, "off") != 0) {
        return error_set(err, STATUS_USAGE, NULL, "--capture", ERROR_NO_OFFSET, "\"%s\", expected off, all or both",
                         capture);
    }
    bench->n_prompt = arguments->n_prompt < 0 ? DEFAULT_PROMPT : (uint32_t)arguments->n_prompt;
    bench->n_decoded = arguments->n < 0 ? DEFAULT_DECODED : (uint32_t)arguments->n;
    if (bench->n_prompt == 0) {
        return error_set(err, STATUS_USAGE, NULL, "-p", ERROR_NO_OFFSET, "0, expected at least one token");
    }
    enum status status = parse_on_one(arguments->on, &bench->source, err);
    if (status == STATUS_OK && bench->compares && bench->source != SOURCE_ENGINE) {
        return error_set(err, STATUS_USAGE, NULL, "--capture", ERROR_NO_OFFSET, "both, expected the engine to run");
    }
    return status;
}

enum status command_bench(const struct arguments *arguments, struct error *err)
{
    if (arguments->kernels) {
        return bench_kernels(arguments, err);
    }
    if (arguments->n_positional == 0) {
        return error_set(err, STATUS_USAGE, NULL, "bench", ERROR_NO_OFFSET, "no MODEL given, nor --kernels");
    }
    struct bench bench = {0};
    bool captured;
    enum status status = parse(arguments, &bench, &captured, err);
    if (status != STATUS_OK) {
        return status;
    }
    uint32_t positions = bench.n_prompt + bench.n_decoded, audited = AUDITED_PREFILL + AUDITED_DECODE;
    struct session_options options = {
        .engine = bench.source == SOURCE_ENGINE,
        .reference = bench.source == SOURCE_REFERENCE,
        .device = arguments->device,
        .max_positions = positions > audited ? positions : audited,
        .faults = arguments->faults,
        .n_faults = arguments->n_faults,
        .no_capture = !captured,
    };
    status = session_open(&bench.session, arguments->positional[0], &options, err);
    if (status != STATUS_OK) {
        return status;
    }
    bench.tokens = xmalloc(positions * sizeof(*bench.tokens));
    for (uint32_t i = 0; i < positions; i++) {
        bench.tokens[i] = token_at(&bench, i);
    }
    status = measure(&bench, captured, arguments->ops, err);
    if (status == STATUS_OK && !captured) {
        status = measure_fed_back(&bench, err);
    }
    if (status == STATUS_OK && bench.compares) {
        status = bench_capture(&bench.session.backend[SOURCE_ENGINE], bench.tokens + bench.n_prompt, bench.n_prompt,
                               bench.n_decoded, &bench.compared, err);
    }
    if (status == STATUS_OK) {
        const char *capture = captured ? "all" : bench.compares ? "both" : "off";
        if (!arguments->json || strcmp(arguments->json, "-") != 0) {
            print_text(&bench, capture);
        }
        if (arguments->json) {
            status = json_write_file(document(&bench, arguments->positional[0], capture), arguments->json, err);
        }
    }
    free(bench.tokens);
    session_close(&bench.session);
    return status == STATUS_OK && bench.reason[0] ? STATUS_DIVERGED : status;
}
