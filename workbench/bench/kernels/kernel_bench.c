/* Runs the kernels of kernel_table.c: opens the engine, checks and times each, collects the report. */
#include "workbench/bench/kernels/kernel_bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/stop.h"
#include "workbench/bench/kernels/kernel_report.h"
#include "workbench/bench/kernels/kernel_time.h"
#include "workbench/bench/model_bench.h"
#include "workbench/fault/fault.h"
#include "workbench/report/provenance.h"
#include "workbench/trace/json_file.h"

/* Bytes that the copies of a kernel take together: several times the largest caches, so that no copy's weights are
 * cached when its turn comes. With many rows the weights are reused anyway, and a CPU would take too long. */
#define GPU_COLD_BYTES (256ull << 20)
#define CPU_COLD_BYTES (32ull << 20)
#define PREFILL_COLD_BYTES (64ull << 20)

#define MAX_ROWS 512 /* of a batch */

struct kernel_bench {
    const struct kernel_bench_options *options;
    const char *words;     /* as in the options, never NULL */
    struct backend engine; /* ops NULL: not open */
    struct plan plan;      /* the engine's: a copy of the kernel's, with the faults planted */
    double bandwidth;      /* read bandwidth of the device, bytes a second */
    bool is_cpu;
    bool planted; /* a fault applied to at least one kernel */
    uint32_t n_done, n_wrong;
    json_t *kernels, *reasons;
};

/* Plants the faults that apply to this kernel in the engine's copy of its plan. */
static enum status plant(struct kernel_bench *bench, struct engine_options *options, struct error *err)
{
    for (uint32_t i = 0; i < bench->options->n_faults; i++) {
        struct fault_request request;
        int32_t step;
        TRY(fault_parse(&request, bench->options->faults[i], err));
        bool applies = fault_plant(&request, &bench->plan, &step, NULL) == STATUS_OK;
        bench->planted = bench->planted || applies;
        options->pad_buffers = options->pad_buffers || request.fault->pads_buffers;
    }
    return STATUS_OK;
}

/* Gives the engine this kernel's plan. A plan that the engine cannot run closes it and fills result->absent. */
static enum status replan(struct kernel_bench *bench, const struct kernel *kernel, struct kernel_result *result,
                          struct error *err)
{
    struct plan old = bench->plan; /* the engine uses it until engine_replan */
    struct engine_options options = {.max_positions = kernel->n_positions,
                                     .max_rows = kernel->n_positions < MAX_ROWS ? kernel->n_positions : MAX_ROWS};
    plan_copy(&bench->plan, &kernel->plan);
    enum status status = plant(bench, &options, err);
    if (status == STATUS_OK) {
        struct error refused = {0};
        status = engine_replan(&bench->engine, &bench->plan, &options, &refused);
        if (status == STATUS_BAD_INPUT) {
            snprintf(result->absent, sizeof(result->absent), "%.255s", refused.text);
        } else if (status != STATUS_OK) {
            *err = refused;
        }
    }
    plan_free(&old);
    return result->absent[0] ? STATUS_OK : status;
}

static void build_nothing(struct kernel *kernel, const struct kernel_case *row)
{
    (void)row;
    kernel_add_values(kernel, 64);
}

/* Opens the engine with a trivial plan. The device must be known before the first kernel is built, for the size of its
 * copies. */
static enum status open_engine(struct kernel_bench *bench, struct error *err)
{
    static const struct kernel_case nothing = {.name = "nothing", .build = build_nothing, .rows = KERNEL_1};
    struct kernel *kernel = xmalloc(sizeof(*kernel));
    kernel_open(kernel, &nothing, DTYPE_F32, 1, 0);
    plan_free(&bench->plan);
    plan_copy(&bench->plan, &kernel->plan);
    struct engine_options options = {
        .device = bench->options->device, .max_positions = 1, .statistics = bench->options->verbose};
    enum status status = engine_open(&bench->engine, &bench->plan, &options, err);
    if (status == STATUS_OK && bench->bandwidth == 0) {
        status = engine_read_bandwidth(&bench->engine, &bench->bandwidth, err);
    }
    if (status == STATUS_OK) {
        bench->is_cpu = engine_device(&bench->engine)->is_cpu;
    }
    kernel_close(kernel);
    free(kernel);
    return status;
}

/* Ends the capture of a group's inner stages, so that they are not stored while it is timed. */
static enum status end_capture(struct kernel_bench *bench, const struct kernel *kernel, struct error *err)
{
    if (kernel->n_steps == 1) {
        return STATUS_OK;
    }
    bool *captured = xcalloc(kernel->plan.n_steps, sizeof(*captured));
    captured[kernel->plan.n_steps - 1] = true;
    enum status status = engine_capture(&bench->engine, captured, err);
    free(captured);
    return status == STATUS_OK ? kernel_begin_batch(kernel, &bench->engine, err) : status;
}

/* Checks a kernel and, if it is right, times it. */
static enum status run(struct kernel_bench *bench, struct kernel *kernel, struct kernel_result *result,
                       struct error *err)
{
    struct backend *engine = &bench->engine;
    TRY(replan(bench, kernel, result, err));
    if (result->absent[0]) {
        return STATUS_OK;
    }
    TRY(kernel_begin_batch(kernel, engine, err));
    TRY(kernel_check(kernel, engine, &result->ratio, &result->same, err));
    bool right = kernel_is_right(result);
    if (right) {
        TRY(end_capture(bench, kernel, err));
    }
    struct engine_programs list = {.programs = result->programs, .most = KERNEL_PROGRAMS};
    TRY(engine_list_programs(engine, kernel->first, kernel->first + kernel->n_steps, &list, err));
    result->n_programs = list.n;
    return right ? kernel_time(kernel, engine, result, err) : STATUS_OK;
}

static void report(struct kernel_bench *bench, const struct kernel *kernel, const struct kernel_result *result)
{
    if (!bench->options->quiet) {
        kernel_print(kernel, result, bench->bandwidth, bench->options->verbose);
    }
    json_push(bench->kernels, kernel_json(kernel, result, bench->bandwidth));
    bench->n_done++;
    if (result->absent[0] || kernel_is_right(result)) {
        return;
    }
    char reason[192];
    kernel_reason(kernel, result, reason, sizeof(reason));
    json_push(bench->reasons, json_text(reason));
    bench->n_wrong++;
}

/* Whether a word of the name begins with this one. */
static bool has_word(const char *name, const char *word)
{
    for (const char *at = strstr(name, word); at; at = strstr(at + 1, word)) {
        if (at == name || at[-1] == ' ') {
            return true;
        }
    }
    return false;
}

/* Whether each of the words begins a word of the name. */
static bool is_asked(const char *words, const char *name)
{
    while (*words) {
        char word[64];
        size_t length = strcspn(words, " ");
        snprintf(word, sizeof(word), "%.*s", (int)length, words);
        if (!has_word(name, word)) {
            return false;
        }
        words += length + (words[length] == ' ');
    }
    return true;
}

static uint64_t cold_bytes(const struct kernel_bench *bench, uint32_t n_rows)
{
    if (bench->is_cpu) {
        return n_rows == 1 ? CPU_COLD_BYTES : 0;
    }
    return n_rows == 1 ? GPU_COLD_BYTES : PREFILL_COLD_BYTES;
}

static enum status run_kernel(struct kernel_bench *bench, const struct kernel_case *row, uint32_t dtype,
                              uint32_t n_rows, struct error *err)
{
    TRY(stop_check(err));
    if (!bench->engine.ops) {
        TRY(open_engine(bench, err));
    }
    if (bench->n_done == 0 && !bench->options->quiet) {
        kernel_print_header(engine_device(&bench->engine)->name, bench->bandwidth);
    }
    struct kernel *kernel = xmalloc(sizeof(*kernel));
    struct kernel_result *result = xcalloc(1, sizeof(*result));
    kernel_open(kernel, row, dtype, n_rows, cold_bytes(bench, n_rows));
    enum status status = run(bench, kernel, result, err);
    if (status == STATUS_OK) {
        report(bench, kernel, result);
    }
    kernel_close(kernel);
    free(kernel);
    free(result);
    return status;
}

/* One row of the table in one format, for each number of rows that it lists. */
static enum status run_row(struct kernel_bench *bench, const struct kernel_case *row, uint32_t dtype, struct error *err)
{
    static const uint32_t counts[] = {1, 128, 512}; /* KERNEL_ bits */
    enum status status = STATUS_OK;
    for (uint32_t i = 0; i < sizeof(counts) / sizeof(counts[0]) && status == STATUS_OK; i++) {
        char name[96];
        kernel_name(name, sizeof(name), row, dtype, counts[i]);
        if (row->rows & 1u << i && is_asked(bench->words, name)) {
            status = run_kernel(bench, row, dtype, counts[i], err);
        }
    }
    return status;
}

static enum status run_all(struct kernel_bench *bench, struct error *err)
{
    enum status status = STATUS_OK;
    for (uint32_t i = 0; i < n_kernel_cases && status == STATUS_OK; i++) {
        const struct kernel_case *row = &kernel_cases[i];
        for (uint32_t dtype = 0; dtype < DTYPE_COUNT && status == STATUS_OK; dtype++) {
            if (row->formats & 1u << dtype || (row->formats == 0 && dtype == DTYPE_F32)) {
                status = run_row(bench, row, dtype, err);
            }
        }
    }
    if (status == STATUS_OK && bench->n_done == 0) {
        return error_set(err, STATUS_USAGE, NULL, "--kernels", ERROR_NO_OFFSET,
                         "\"%s\" selects no kernel, expected words of a name like matmul 6912x1152 Q4_0 decode",
                         bench->words);
    }
    if (status == STATUS_OK && bench->options->n_faults > 0 && !bench->planted) {
        return error_set(err, STATUS_BAD_INPUT, NULL, "--fault", ERROR_NO_OFFSET,
                         "%s applies to none of the kernels that were run", bench->options->faults[0]);
    }
    return status;
}

static json_t *document(const struct kernel_bench *bench)
{
    const struct device_info *device = engine_device(&bench->engine);
    json_t *root = json_object(), *quality = json_object();
    json_put(root, "format", json_text("lockstep-bench"));
    json_put(root, "version", json_integer(1));
    json_put(root, "on", json_text("engine"));
    json_put(root, "device", json_text(device->name));
    json_put(root, "driver", json_text(device->driver));
    json_put(root, "device_features", bench_device_json(device));
    json_put(root, "read_bandwidth", json_real(bench->bandwidth));
    json_put(root, "kernels", json_incref(bench->kernels));
    json_put(quality, "ok", json_boolean(bench->n_wrong == 0));
    json_put(quality, "reasons", json_incref(bench->reasons));
    json_put(quality, "checked", json_text("each kernel against the reference"));
    json_put(root, "quality", quality);
    json_put(root, "provenance", provenance_run());
    return root;
}

enum status kernel_bench_run(const struct kernel_bench_options *options, json_t **result, struct error *err)
{
    struct kernel_bench bench = {.options = options,
                                 .words = options->words ? options->words : "",
                                 .kernels = json_array(),
                                 .reasons = json_array()};
    enum status status = run_all(&bench, err);
    if (status == STATUS_OK && result != NULL && !bench.engine.ops) {
        status = open_engine(&bench, err); /* the report names the device; a refused plan closed it */
    }
    if (status == STATUS_OK && result != NULL) {
        *result = document(&bench);
    }
    if (bench.engine.ops) {
        bench.engine.ops->close(&bench.engine);
    }
    plan_free(&bench.plan);
    json_decref(bench.kernels);
    json_decref(bench.reasons);
    return status == STATUS_OK && bench.n_wrong > 0 ? STATUS_DIVERGED : status;
}
