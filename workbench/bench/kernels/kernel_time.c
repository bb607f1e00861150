#include "workbench/bench/kernels/kernel_time.h"

#include "model/stop.h"
#include "workbench/bench/timing.h"

/* A run repeats the kernel for about RUN_NS of device time. A way is measured by RUNS runs, or by fewer that take
 * WAY_NS together; a kernel that takes longer than WAY_NS runs once. */
#define RUN_NS 3e6
#define WAY_NS 25e6
#define RUNS 7
#define MAX_TIMES 4096 /* repetitions in a run */

/* us: of one repetition. Adds the device time of the run to *spent_ns. */
static enum status time_run(struct backend *engine, struct engine_repeat *repeat, double *us, double *spent_ns,
                            struct error *err)
{
    double ns = 0;
    enum status status = engine_time_repeat(engine, repeat, &ns, err);
    *spent_ns += ns;
    *us = ns / repeat->times / 1e3;
    return status;
}

static struct engine_repeat repeat_once(const struct kernel *kernel, bool waits)
{
    return (struct engine_repeat){.first = kernel->first,
                                  .n_steps = kernel->n_steps,
                                  .n_copies = kernel->n_copies,
                                  .stride = kernel->stride,
                                  .times = 1,
                                  .waits = waits};
}

/* How often a kernel that takes us microseconds is repeated in a run. */
static uint32_t times_a_run(double us)
{
    double times = us > 0 ? RUN_NS / 1e3 / us : MAX_TIMES;
    return times < 1 ? 1 : times > MAX_TIMES ? MAX_TIMES : (uint32_t)times;
}

/* Two runs find out how often a run repeats the kernel; the runs after them count. */
static enum status time_way(const struct kernel *kernel, struct backend *engine, enum kernel_way way,
                            struct kernel_result *result, struct error *err)
{
    struct engine_repeat repeat = repeat_once(kernel, way == WAY_LEVEL);
    double us[RUNS], spent_ns = 0;
    uint32_t n = 0;
    for (int i = 0; i < 2 && spent_ns < WAY_NS; i++) {
        TRY(time_run(engine, &repeat, &us[0], &spent_ns, err));
        repeat.times = times_a_run(us[0]);
    }
    for (; n < RUNS && spent_ns < WAY_NS; n++) {
        TRY(time_run(engine, &repeat, &us[n], &spent_ns, err));
    }
    n = n > 0 ? n : 1;
    result->ways[way].median_us = median(us, n, &result->ways[way].min_us);
    result->ways[way].n_runs = n;
    return STATUS_OK;
}

/* A GPU that was idle while the reference ran has low clocks at first. */
static enum status warm_up(const struct kernel *kernel, struct backend *engine, struct error *err)
{
    struct engine_repeat repeat = repeat_once(kernel, false);
    double us = 0, spent_ns = 0, end_ms = now_ms() + GPU_WARM_UP_MS;
    while (!engine_device(engine)->is_cpu && now_ms() < end_ms) {
        TRY(time_run(engine, &repeat, &us, &spent_ns, err));
        repeat.times = times_a_run(us);
        TRY(stop_check(err));
    }
    return STATUS_OK;
}

enum status kernel_time(const struct kernel *kernel, struct backend *engine, struct kernel_result *result,
                        struct error *err)
{
    TRY(warm_up(kernel, engine, err));
    TRY(time_way(kernel, engine, WAY_LEVEL, result, err));
    if (result->ways[WAY_LEVEL].median_us * 1e3 > WAY_NS) {
        result->ways[WAY_APART] = result->ways[WAY_LEVEL]; /* it ran once, so it never waited for another */
        return STATUS_OK;
    }
    return time_way(kernel, engine, WAY_APART, result, err);
}
