#include "workbench/bench_kernels.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/engine.h"
#include "workbench/bench_time.h"
#include "workbench/fault.h"
#include "workbench/json_file.h"
#include "workbench/kernel.h"

/* What the copies of a kernel take together: several times what the largest caches hold. Many rows reuse their weights,
 * and have more of their own. */
#define GPU_COLD_BYTES (256ull << 20)
#define CPU_COLD_BYTES (32ull << 20)
#define PREFILL_COLD_BYTES (64ull << 20)

/* Device time of one way of one kernel: runs of so long, until so many are done or so much is spent. A kernel that
 * takes longer than that is run once. */
#define RUN_NS 3e6
#define WAY_NS 25e6
#define RUNS 7
#define MOST_TIMES 4096

enum { WAY_LEVEL, WAY_APART, N_WAYS }; /* each time waits for the one before; none does */

struct result {
    double ratio;
    bool same;
    struct {
        double median_us, min_us;
    } ways[N_WAYS];
};

struct bench {
    const struct arguments *arguments;
    struct backend engine; /* ops NULL: not yet open */
    struct plan plan;      /* that the engine has: an edit of the kernel's, if a fault was asked for */
    double bandwidth;
    bool is_cpu, planted;
    uint32_t n_run, n_wrong;
    json_t *kernels, *reasons;
    bool prints;
};

static enum status run_times(struct bench *bench, struct engine_repeat *repeat, double *each_us, double *spent,
                             struct error *err)
{
    double ns = 0;
    enum status status = engine_time_repeat(&bench->engine, repeat, &ns, err);
    *spent += ns;
    *each_us = ns / repeat->times / 1e3;
    double times = *each_us > 0 ? RUN_NS / 1e3 / *each_us : MOST_TIMES;
    repeat->times = times < 1 ? 1 : times > MOST_TIMES ? MOST_TIMES : (uint32_t)times;
    return status;
}

/* The median and the least of several runs, after two that say how often a run repeats it. */
static enum status measure_way(struct bench *bench, const struct kernel *kernel, int way, struct result *result,
                               struct error *err)
{
    struct engine_repeat repeat = {.first = kernel->first,
                                   .n_steps = kernel->n_steps,
                                   .n_copies = kernel->n_copies,
                                   .stride = kernel->stride,
                                   .times = 1,
                                   .waits = way == WAY_LEVEL};
    double us[RUNS], spent = 0;
    uint32_t n = 0;
    enum status status = run_times(bench, &repeat, &us[0], &spent, err);
    if (status == STATUS_OK && spent < WAY_NS)
        status = run_times(bench, &repeat, &us[0], &spent, err);
    for (n = 0; n < RUNS && spent < WAY_NS && status == STATUS_OK; n++) {
        uint32_t times = repeat.times;
        status = run_times(bench, &repeat, &us[n], &spent, err);
        repeat.times = times;
    }
    n = n ? n : 1;
    result->ways[way].median_us = bench_median(us, n, &result->ways[way].min_us);
    return status;
}

/* Plants the faults that apply to this kernel in the engine's copy of its plan. */
static enum status plant(struct bench *bench, struct engine_options *options, struct error *err)
{
    for (uint32_t i = 0; i < bench->arguments->n_faults; i++) {
        struct fault_request request;
        int32_t step;
        enum status status = fault_parse(&request, bench->arguments->faults[i], err);
        if (status != STATUS_OK)
            return status;
        status = fault_plant(&request, &bench->plan, &step, err);
        if (status != STATUS_OK && status != STATUS_BAD_INPUT) /* it does not apply to this one */
            return status;
        bench->planted = bench->planted || status == STATUS_OK;
        options->pad_buffers = options->pad_buffers || request.fault->edit == EDIT_PAD_BUFFERS;
    }
    return STATUS_OK;
}

/* Has the engine run this kernel's plan. */
static enum status replan(struct bench *bench, const struct kernel *kernel, struct error *err)
{
    struct plan old = bench->plan; /* the engine has it until it has another */
    struct engine_options options = {.max_positions = kernel->n_positions,
                                     .max_rows = kernel->n_positions < 512 ? kernel->n_positions : 512};
    plan_copy(&bench->plan, &kernel->plan);
    enum status status = plant(bench, &options, err);
    if (status == STATUS_OK)
        status = engine_replan(&bench->engine, &bench->plan, &options, err);
    plan_free(&old);
    return status;
}

static void build_nothing(struct kernel *kernel, const struct kernel_case *row)
{
    (void)row;
    kernel_values(kernel, 64);
}

/* Opens the engine, on a plan that is no kernel: which are measured, and how, depends on the device. */
static enum status open_engine(struct bench *bench, struct error *err)
{
    static const struct kernel_case nothing = {.name = "nothing", .build = build_nothing, .rows = KERNEL_1};
    struct kernel *kernel = xmalloc(sizeof(*kernel));
    kernel_open(kernel, &nothing, DTYPE_F32, 1, 0);
    plan_copy(&bench->plan, &kernel->plan);
    struct engine_options options = {.device = bench->arguments->device, .max_positions = 1};
    enum status status = engine_open(&bench->engine, &bench->plan, &options, err);
    if (status == STATUS_OK)
        status = engine_read_bandwidth(&bench->engine, &bench->bandwidth, err);
    if (status == STATUS_OK)
        bench->is_cpu = strcmp(engine_device(&bench->engine)->type, "CPU") == 0;
    kernel_close(kernel);
    free(kernel);
    return status;
}

/* Without capture, where that makes a difference: stages between the ops of a group are not stored. */
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

static bool is_right(const struct result *result)
{
    return result->ratio <= 1 && result->same;
}

static double per_second(double n, double us)
{
    return us > 0 ? n / us * 1e6 : 0;
}

static void print_header(const struct bench *bench)
{
    printf("%s, reads at %.1f GB/s\n%-42s %10s %10s %9s %6s %10s %6s\n", engine_device(&bench->engine)->name,
           bench->bandwidth / 1e9, "kernel", "level us", "apart us", "GB/s", "share", "GFLOP/s", "error");
}

static void print_kernel(const struct bench *bench, const struct kernel *kernel, const struct result *result)
{
    if (!is_right(result)) {
        printf("%-42s WRONG: error %.3g times its bound%s\n", kernel->name, result->ratio,
               result->same ? "" : ", and copies differ");
        return;
    }
    double rate = per_second(kernel->bytes, result->ways[WAY_APART].median_us);
    printf("%-42s %10.2f %10.2f %9.1f %5.1f%%", kernel->name, result->ways[WAY_LEVEL].median_us,
           result->ways[WAY_APART].median_us, rate / 1e9, rate / bench->bandwidth * 100);
    if (kernel->flops > 0)
        printf(" %10.1f", per_second(kernel->flops, result->ways[WAY_APART].median_us) / 1e9);
    else
        printf(" %10s", "");
    printf(" %6.3f\n", result->ratio);
    fflush(stdout);
}

static void put_way(json_t *one, const struct bench *bench, const struct kernel *kernel, const struct result *result,
                    int way, const char *key)
{
    json_t *times = json_object();
    double us = result->ways[way].median_us, rate = per_second(kernel->bytes, us);
    json_put(times, "median_us", json_real(us));
    json_put(times, "min_us", json_real(result->ways[way].min_us));
    json_put(times, "gb_s", json_real(rate / 1e9));
    json_put(times, "gflop_s", json_real(per_second(kernel->flops, us) / 1e9));
    json_put(times, "read_bandwidth_share", json_real(rate / bench->bandwidth));
    json_put(one, key, times);
}

static void record(struct bench *bench, const struct kernel *kernel, const struct result *result)
{
    json_t *one = json_object();
    const struct step *step = &kernel->plan.steps[kernel->first];
    json_put(one, "name", json_text(kernel->name));
    json_put(one, "op", json_text(op_info(step->op)->name));
    json_put(one, "dtype", json_text(dtype_info(kernel->dtype)->name));
    json_put(one, "rows", json_integer(kernel->n_rows));
    json_put(one, "bytes", json_real(kernel->bytes));
    json_put(one, "flop", json_real(kernel->flops));
    json_put(one, "copies", json_integer(kernel->n_copies));
    json_put(one, "ratio", json_number_or_text(result->ratio));
    json_put(one, "ok", json_boolean(is_right(result)));
    if (is_right(result)) { /* a kernel that is wrong has no time */
        put_way(one, bench, kernel, result, WAY_LEVEL, "level");
        put_way(one, bench, kernel, result, WAY_APART, "apart");
    } else {
        char reason[192];
        snprintf(reason, sizeof(reason), "%s: error %.3g times its bound%s", kernel->name, result->ratio,
                 result->same ? "" : ", and copies differ");
        json_push(bench->reasons, json_text(reason));
        bench->n_wrong++;
    }
    json_push(bench->kernels, one);
}

static enum status measure(struct bench *bench, struct kernel *kernel, struct error *err)
{
    struct result result = {0};
    enum status status = replan(bench, kernel, err);
    if (status == STATUS_OK)
        status = kernel_begin(kernel, &bench->engine, err);
    if (status == STATUS_OK)
        status = kernel_check(kernel, &bench->engine, &result.ratio, &result.same, err);
    if (status == STATUS_OK && is_right(&result))
        status = release_capture(bench, kernel, err);
    for (int way = 0; way < N_WAYS && status == STATUS_OK && is_right(&result); way++)
        status = measure_way(bench, kernel, way, &result, err);
    if (status != STATUS_OK)
        return status;
    if (bench->prints && bench->n_run == 0)
        print_header(bench);
    if (bench->prints)
        print_kernel(bench, kernel, &result);
    record(bench, kernel, &result);
    bench->n_run++;
    return STATUS_OK;
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

/* Whether every word of the filter begins one of the name. */
static bool is_asked(const char *filter, const char *name)
{
    while (filter && *filter) {
        char word[64];
        size_t length = strcspn(filter, " ");
        snprintf(word, sizeof(word), "%.*s", (int)length, filter);
        if (!has_word(name, word))
            return false;
        filter += length + (filter[length] == ' ');
    }
    return true;
}

static const uint32_t row_counts[] = {1, 128, 512};

static uint64_t cold_bytes(const struct bench *bench, uint32_t n_rows)
{
    if (bench->is_cpu)
        return n_rows == 1 ? CPU_COLD_BYTES : 0;
    return n_rows == 1 ? GPU_COLD_BYTES : PREFILL_COLD_BYTES;
}

static enum status run_kernel(struct bench *bench, const struct kernel_case *row, uint32_t dtype, uint32_t n_rows,
                              struct error *err)
{
    enum status status = bench->engine.ops ? STATUS_OK : open_engine(bench, err);
    if (status != STATUS_OK)
        return status;
    struct kernel *kernel = xmalloc(sizeof(*kernel));
    kernel_open(kernel, row, dtype, n_rows, cold_bytes(bench, n_rows));
    status = measure(bench, kernel, err);
    kernel_close(kernel);
    free(kernel);
    return status;
}

/* A row of the table in one format. */
static enum status run_row(struct bench *bench, const struct kernel_case *row, uint32_t dtype, struct error *err)
{
    enum status status = STATUS_OK;
    for (uint32_t i = 0; i < sizeof(row_counts) / sizeof(row_counts[0]) && status == STATUS_OK; i++) {
        char name[96];
        kernel_name(name, sizeof(name), row, dtype, row_counts[i]);
        if (row->rows & 1u << i && is_asked(bench->arguments->positional[0], name))
            status = run_kernel(bench, row, dtype, row_counts[i], err);
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
    if (status == STATUS_OK && bench->n_run == 0)
        return error_set(err, STATUS_USAGE, NULL, "--kernels", ERROR_NO_OFFSET,
                         "\"%s\", expected words of a kernel's name like matmul 6912x1152 Q4_0 decode",
                         bench->arguments->positional[0]);
    if (status == STATUS_OK && bench->arguments->n_faults > 0 && !bench->planted)
        return error_set(err, STATUS_BAD_INPUT, NULL, "--fault", ERROR_NO_OFFSET,
                         "%s applies to none of the kernels that were run", bench->arguments->faults[0]);
    return status;
}

static enum status write_json(const struct bench *bench, struct error *err)
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
    json_put(root, "quality", quality);
    return json_write_file(root, bench->arguments->json, err);
}

enum status bench_kernels(const struct arguments *arguments, struct error *err)
{
    struct bench bench = {.arguments = arguments,
                          .kernels = json_array(),
                          .reasons = json_array(),
                          .prints = !arguments->json || strcmp(arguments->json, "-") != 0};
    enum status status = run_all(&bench, err);
    if (status == STATUS_OK && arguments->json)
        status = write_json(&bench, err);
    if (bench.engine.ops)
        bench.engine.ops->close(&bench.engine);
    plan_free(&bench.plan);
    json_decref(bench.kernels);
    json_decref(bench.reasons);
    return status == STATUS_OK && bench.n_wrong > 0 ? STATUS_DIVERGED : status;
}
