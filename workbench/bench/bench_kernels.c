#include "workbench/bench/bench_kernels.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/stop.h"
#include "workbench/bench/bench_time.h"
#include "workbench/bench/kernel_report.h"
#include "workbench/fault/fault.h"
#include "workbench/trace/json_file.h"

/* What the copies of a kernel take together: several times what the largest caches hold. Many rows reuse their weights,
 * and on a processor take so long that more copies would be more time alone. */
#define GPU_COLD_BYTES (256ull << 20)
#define CPU_COLD_BYTES (32ull << 20)
#define PREFILL_COLD_BYTES (64ull << 20)

/* Device time of one way of one kernel: runs of so long, until so many are done or so much is spent. A kernel that
 * takes longer than that is run once. */
#define RUN_NS 3e6
#define WAY_NS 25e6
#define RUNS 7
#define MOST_TIMES 4096

#define MAX_ROWS 512 /* of a batch */

struct bench {
    const struct bench_kernels_options *options;
    const char *words;     /* of the names that are asked for */
    struct backend engine; /* ops NULL: not open */
    struct plan plan;      /* that the engine has: an edit of the kernel's, if a fault was asked for */
    double bandwidth;      /* bytes a second */
    bool is_cpu, planted;
    uint32_t n_done, n_wrong;
    json_t *kernels, *reasons;
};

static enum status run_times(struct bench *bench, struct engine_repeat *repeat, double *us, double *spent,
                             struct error *err)
{
    double ns = 0;
    enum status status = engine_time_repeat(&bench->engine, repeat, &ns, err);
    *spent += ns;
    *us = ns / repeat->times / 1e3;
    return status;
}

static struct engine_repeat repeat_of(const struct kernel *kernel, bool waits)
{
    return (struct engine_repeat){.first = kernel->first,
                                  .n_steps = kernel->n_steps,
                                  .n_copies = kernel->n_copies,
                                  .stride = kernel->stride,
                                  .times = 1,
                                  .waits = waits};
}

static uint32_t times_a_run(double us)
{
    double times = us > 0 ? RUN_NS / 1e3 / us : MOST_TIMES;
    return times < 1 ? 1 : times > MOST_TIMES ? MOST_TIMES : (uint32_t)times;
}

/* The median and the least of several runs, after two that say how often a run repeats it. */
static enum status measure_way(struct bench *bench, const struct kernel *kernel, enum kernel_way way,
                               struct kernel_result *result, struct error *err)
{
    struct engine_repeat repeat = repeat_of(kernel, way == WAY_LEVEL);
    double us[RUNS], spent = 0;
    uint32_t n = 0;
    enum status status = STATUS_OK;
    for (int i = 0; i < 2 && spent < WAY_NS && status == STATUS_OK; i++) {
        status = run_times(bench, &repeat, &us[0], &spent, err);
        repeat.times = times_a_run(us[0]);
    }
    for (; n < RUNS && spent < WAY_NS && status == STATUS_OK; n++)
        status = run_times(bench, &repeat, &us[n], &spent, err);
    n = n ? n : 1;
    result->ways[way].median_us = bench_median(us, n, &result->ways[way].min_us);
    result->ways[way].n_runs = n;
    return status;
}

/* Before it is measured: a GPU that was idle while the reference ran has low clocks at first. */
static enum status warm_up(struct bench *bench, const struct kernel *kernel, struct error *err)
{
    struct engine_repeat repeat = repeat_of(kernel, false);
    double us = 0, spent = 0, end = bench_now_ms() + GPU_WARM_UP_MS;
    enum status status = STATUS_OK;
    while (!bench->is_cpu && status == STATUS_OK && bench_now_ms() < end) {
        status = run_times(bench, &repeat, &us, &spent, err);
        repeat.times = times_a_run(us);
        status = status == STATUS_OK ? stop_check(err) : status;
    }
    return status;
}

/* One that takes all of a run has none beside it that it could wait for. */
static enum status measure(struct bench *bench, const struct kernel *kernel, struct kernel_result *result,
                           struct error *err)
{
    enum status status = warm_up(bench, kernel, err);
    if (status == STATUS_OK)
        status = measure_way(bench, kernel, WAY_LEVEL, result, err);
    if (status == STATUS_OK && result->ways[WAY_LEVEL].median_us * 1e3 > WAY_NS)
        result->ways[WAY_APART] = result->ways[WAY_LEVEL];
    else if (status == STATUS_OK)
        status = measure_way(bench, kernel, WAY_APART, result, err);
    return status;
}

/* Plants the faults that apply to this kernel in the engine's copy of its plan. */
static enum status plant(struct bench *bench, struct engine_options *options, struct error *err)
{
    for (uint32_t i = 0; i < bench->options->n_faults; i++) {
        struct fault_request request;
        int32_t step;
        enum status status = fault_parse(&request, bench->options->faults[i], err);
        if (status != STATUS_OK)
            return status;
        status = fault_plant(&request, &bench->plan, &step, NULL); /* else it does not apply to this one */
        bench->planted = bench->planted || status == STATUS_OK;
        options->pad_buffers = options->pad_buffers || request.fault->pads_buffers;
    }
    return STATUS_OK;
}

/* Has the engine run this kernel's plan. What it cannot run, it says; it is closed then. */
static enum status replan(struct bench *bench, const struct kernel *kernel, struct kernel_result *result,
                          struct error *err)
{
    struct plan old = bench->plan; /* the engine has it until it has another */
    struct engine_options options = {.max_positions = kernel->n_positions,
                                     .max_rows = kernel->n_positions < MAX_ROWS ? kernel->n_positions : MAX_ROWS};
    plan_copy(&bench->plan, &kernel->plan);
    enum status status = plant(bench, &options, err);
    if (status == STATUS_OK) {
        struct error refused = {0};
        status = engine_replan(&bench->engine, &bench->plan, &options, &refused);
        if (status == STATUS_BAD_INPUT)
            snprintf(result->absent, sizeof(result->absent), "%.255s", refused.text);
        else if (status != STATUS_OK)
            *err = refused;
    }
    plan_free(&old);
    return result->absent[0] ? STATUS_OK : status;
}

static void build_nothing(struct kernel *kernel, const struct kernel_case *row)
{
    (void)row;
    kernel_values(kernel, 64);
}

/* Opens the engine, on a plan that is no kernel: how kernels are measured depends on the device. */
static enum status open_engine(struct bench *bench, struct error *err)
{
    static const struct kernel_case nothing = {.name = "nothing", .build = build_nothing, .rows = KERNEL_1};
    struct kernel *kernel = xmalloc(sizeof(*kernel));
    kernel_open(kernel, &nothing, DTYPE_F32, 1, 0);
    plan_free(&bench->plan);
    plan_copy(&bench->plan, &kernel->plan);
    struct engine_options options = {
        .device = bench->options->device, .max_positions = 1, .statistics = bench->options->verbose};
    enum status status = engine_open(&bench->engine, &bench->plan, &options, err);
    if (status == STATUS_OK && bench->bandwidth == 0)
        status = engine_read_bandwidth(&bench->engine, &bench->bandwidth, err);
    if (status == STATUS_OK)
        bench->is_cpu = engine_device(&bench->engine)->is_cpu;
    kernel_close(kernel);
    free(kernel);
    return status;
}

/* Without capture, where that makes a difference: stages between the ops of a group are not stored then. */
static enum status release_capture(struct bench *bench, const struct kernel *kernel, struct error *err)
{
    if (kernel->n_steps == 1)
        return STATUS_OK;
    bool *captured = xcalloc(kernel->plan.n_steps, sizeof(*captured));
    captured[kernel->plan.n_steps - 1] = true;
    enum status status = engine_capture(&bench->engine, captured, err);
    free(captured);
    return status == STATUS_OK ? kernel_begin(kernel, &bench->engine, err) : status;
}

/* Checks a kernel, and if it is right measures it. */
static enum status run(struct bench *bench, struct kernel *kernel, struct kernel_result *result, struct error *err)
{
    enum status status = replan(bench, kernel, result, err);
    if (status != STATUS_OK || result->absent[0])
        return status;
    status = kernel_begin(kernel, &bench->engine, err);
    if (status == STATUS_OK)
        status = kernel_check(kernel, &bench->engine, &result->ratio, &result->same, err);
    bool right = kernel_is_right(result);
    if (status == STATUS_OK && right)
        status = release_capture(bench, kernel, err);
    struct engine_programs list = {.programs = result->programs, .most = KERNEL_PROGRAMS};
    if (status == STATUS_OK)
        status = engine_list_programs(&bench->engine, kernel->first, kernel->first + kernel->n_steps, &list, err);
    result->n_programs = list.n;
    return status == STATUS_OK && right ? measure(bench, kernel, result, err) : status;
}

static void report(struct bench *bench, const struct kernel *kernel, const struct kernel_result *result)
{
    const char *json = bench->options->json;
    if (!json || strcmp(json, "-") != 0)
        kernel_print(kernel, result, bench->bandwidth, bench->options->verbose);
    json_push(bench->kernels, kernel_json(kernel, result, bench->bandwidth));
    bench->n_done++;
    if (result->absent[0] || kernel_is_right(result))
        return;
    char reason[192];
    kernel_reason(kernel, result, reason, sizeof(reason));
    json_push(bench->reasons, json_text(reason));
    bench->n_wrong++;
}

/* Whether a word of the name begins so. */
static bool has_word(const char *name, const char *word)
{
    for (const char *at = strstr(name, word); at; at = strstr(at + 1, word)) {
        if (at == name || at[-1] == ' ')
            return true;
    }
    return false;
}

/* Whether every word that is asked for begins one of the name. */
static bool is_asked(const char *words, const char *name)
{
    while (*words) {
        char word[64];
        size_t length = strcspn(words, " ");
        snprintf(word, sizeof(word), "%.*s", (int)length, words);
        if (!has_word(name, word))
            return false;
        words += length + (words[length] == ' ');
    }
    return true;
}

static uint64_t cold_bytes(const struct bench *bench, uint32_t n_rows)
{
    if (bench->is_cpu)
        return n_rows == 1 ? CPU_COLD_BYTES : 0;
    return n_rows == 1 ? GPU_COLD_BYTES : PREFILL_COLD_BYTES;
}

static enum status run_kernel(struct bench *bench, const struct kernel_case *row, uint32_t dtype, uint32_t n_rows,
                              struct error *err)
{
    enum status status = stop_check(err);
    if (status == STATUS_OK && !bench->engine.ops)
        status = open_engine(bench, err);
    if (status != STATUS_OK)
        return status;
    const char *json = bench->options->json;
    if (bench->n_done == 0 && (!json || strcmp(json, "-") != 0))
        kernel_print_header(engine_device(&bench->engine)->name, bench->bandwidth);
    struct kernel *kernel = xmalloc(sizeof(*kernel));
    struct kernel_result *result = xcalloc(1, sizeof(*result));
    kernel_open(kernel, row, dtype, n_rows, cold_bytes(bench, n_rows));
    status = run(bench, kernel, result, err);
    if (status == STATUS_OK)
        report(bench, kernel, result);
    kernel_close(kernel);
    free(kernel);
    free(result);
    return status;
}

/* A row of the table in one format. */
static enum status run_row(struct bench *bench, const struct kernel_case *row, uint32_t dtype, struct error *err)
{
    static const uint32_t counts[] = {1, 128, 512}; /* KERNEL_ bits */
    enum status status = STATUS_OK;
    for (uint32_t i = 0; i < sizeof(counts) / sizeof(counts[0]) && status == STATUS_OK; i++) {
        char name[96];
        kernel_name(name, sizeof(name), row, dtype, counts[i]);
        if (row->rows & 1u << i && is_asked(bench->words, name))
            status = run_kernel(bench, row, dtype, counts[i], err);
    }
    return status;
}

static enum status run_all(struct bench *bench, struct error *err)
{
    enum status status = STATUS_OK;
    for (uint32_t i = 0; i < n_kernel_cases && status == STATUS_OK; i++) {
        const struct kernel_case *row = &kernel_cases[i];
        for (uint32_t dtype = 0; dtype < DTYPE_COUNT && status == STATUS_OK; dtype++) {
            if (row->formats & 1u << dtype || (row->formats == 0 && dtype == DTYPE_F32))
                status = run_row(bench, row, dtype, err);
        }
    }
    if (status == STATUS_OK && bench->n_done == 0)
        return error_set(err, STATUS_USAGE, NULL, "--kernels", ERROR_NO_OFFSET,
                         "\"%s\", expected words of a kernel's name like matmul 6912x1152 Q4_0 decode", bench->words);
    if (status == STATUS_OK && bench->options->n_faults > 0 && !bench->planted)
        return error_set(err, STATUS_BAD_INPUT, NULL, "--fault", ERROR_NO_OFFSET,
                         "%s applies to none of the kernels that were run", bench->options->faults[0]);
    return status;
}

static json_t *document(const struct bench *bench)
{
    const struct device_info *device = engine_device(&bench->engine);
    json_t *root = json_object(), *quality = json_object();
    json_put(root, "format", json_text("lockstep-bench"));
    json_put(root, "version", json_integer(1));
    json_put(root, "on", json_text("engine"));
    json_put(root, "device", json_text(device->name));
    json_put(root, "driver", json_text(device->driver));
    json_put(root, "read_bandwidth", json_real(bench->bandwidth));
    json_put(root, "kernels", json_incref(bench->kernels));
    json_put(quality, "ok", json_boolean(bench->n_wrong == 0));
    json_put(quality, "reasons", json_incref(bench->reasons));
    json_put(quality, "checked", json_text("each kernel against the reference"));
    json_put(root, "quality", quality);
    return root;
}

enum status bench_kernels(const struct bench_kernels_options *options, struct error *err)
{
    struct bench bench = {.options = options,
                          .words = options->words ? options->words : "",
                          .kernels = json_array(),
                          .reasons = json_array()};
    enum status status = run_all(&bench, err);
    if (status == STATUS_OK && options->json && !bench.engine.ops)
        status = open_engine(&bench, err); /* the last kernel was none for it */
    if (status == STATUS_OK && options->json)
        status = json_write_file(document(&bench), options->json, err);
    if (bench.engine.ops)
        bench.engine.ops->close(&bench.engine);
    plan_free(&bench.plan);
    json_decref(bench.kernels);
    json_decref(bench.reasons);
    return status == STATUS_OK && bench.n_wrong > 0 ? STATUS_DIVERGED : status;
}
