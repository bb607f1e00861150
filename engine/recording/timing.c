#include "engine/recording/timing.h"

#include <stdlib.h>

#include "engine/device/submit.h"
#include "engine/recording/barriers.h"
#include "engine/recording/record_steps.h"

struct timing {
    VkQueryPool pool;
    VkCommandBuffer commands;
    uint64_t *ticks; /* [n] */
    uint32_t n;      /* timestamps recorded */
};

/* Records a timestamp behind everything before it. */
static void stamp(struct timing *timing)
{
    barrier_dispatches(timing->commands);
    vkCmdWriteTimestamp(timing->commands, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, timing->pool, timing->n++);
}

/* Begins a command buffer for up to n timestamps. Call timing_end afterwards, also on failure. */
static enum status timing_begin(struct timing *timing, struct device *device, uint32_t n, struct error *err)
{
    *timing = (struct timing){0};
    if (!device->limits.timestampComputeAndGraphics) {
        return error_set(err, STATUS_ABSENT, NULL, NULL, ERROR_NO_OFFSET, "%s has no timestamps", device->info.name);
    }
    timing->ticks = xcalloc(n, sizeof(*timing->ticks));
    VkQueryPoolCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_QUERY_POOL_CREATE_INFO, .queryType = VK_QUERY_TYPE_TIMESTAMP, .queryCount = n};
    VK_TRY(err, vkCreateQueryPool(device->handle, &info, NULL, &timing->pool));
    TRY(commands_begin(device, true, &timing->commands, err));
    vkCmdResetQueryPool(timing->commands, timing->pool, 0, n);
    return STATUS_OK;
}

static void timing_end(const struct timing *timing, struct device *device)
{
    commands_free(device, timing->commands);
    vkDestroyQueryPool(device->handle, timing->pool, NULL);
    free(timing->ticks);
}

/* Runs the command buffer, waits, and reads the timestamps. */
static enum status timing_run(struct timing *timing, struct device *device, struct error *err)
{
    VK_TRY(err, vkEndCommandBuffer(timing->commands));
    TRY(submit_and_wait(device, timing->commands, err));
    VK_TRY(err, vkGetQueryPoolResults(device->handle, timing->pool, 0, timing->n, timing->n * sizeof(uint64_t),
                                      timing->ticks, sizeof(uint64_t), VK_QUERY_RESULT_64_BIT));
    return STATUS_OK;
}

/* Nanoseconds between timestamps `from` and from + 1. */
static double timing_ns(const struct timing *timing, const struct device *device, uint32_t from)
{
    return (double)(timing->ticks[from + 1] - timing->ticks[from]) * device->limits.timestampPeriod;
}

static void record_entry(const struct timing *timing, const struct shape *shape, const struct entry *entry)
{
    for (uint32_t i = 0; i < entry->n_dispatches; i++) {
        if (shape->schedule.dispatches[entry->first_dispatch + i].waits) {
            barrier_dispatches(timing->commands);
        }
        record_dispatch(timing->commands, shape, 0, entry->first_dispatch + i);
    }
}

enum status timing_run_steps(const struct shape *shape, double *ns, struct error *err)
{
    struct device *device = shape->buffers->device;
    uint32_t n_steps = shape->buffers->plan->n_steps;
    struct timing timing;
    enum status status = timing_begin(&timing, device, n_steps + 1, err);
    if (status == STATUS_OK) {
        stamp(&timing);
        for (uint32_t step = 0; step < n_steps;) {
            const struct entry *entry = schedule_next(&shape->schedule, step, n_steps, true);
            record_entry(&timing, shape, entry);
            stamp(&timing);
            step += entry->n_steps;
        }
        status = timing_run(&timing, device, err);
    }
    for (uint32_t step = 0, i = 0; status == STATUS_OK && step < n_steps; i++) {
        step += schedule_next(&shape->schedule, step, n_steps, true)->n_steps;
        ns[step - 1] = timing_ns(&timing, device, i);
    }
    timing_end(&timing, device);
    return status;
}

/* Whether a dispatch of these steps waits for another one. What it waits for then lies in memory that all copies share.
 */
static bool has_waits(const struct shape *shape, uint32_t first, uint32_t last)
{
    bool waits = false;
    for (uint32_t step = first; step < last;) {
        const struct entry *entry = schedule_next(&shape->schedule, step, last, true);
        for (uint32_t i = 0; i < entry->n_dispatches; i++) {
            waits = waits || shape->schedule.dispatches[entry->first_dispatch + i].waits;
        }
        step += entry->n_steps;
    }
    return waits;
}

/* Records the entries of one copy. Each depends on the one before it. */
static void record_copy(const struct timing *timing, const struct shape *shape, uint32_t first, uint32_t last)
{
    for (uint32_t step = first; step < last;) {
        const struct entry *entry = schedule_next(&shape->schedule, step, last, true);
        if (step > first) {
            barrier_dispatches(timing->commands);
        }
        record_entry(timing, shape, entry);
        step += entry->n_steps;
    }
}

enum status timing_run_repeat(const struct shape *shape, const struct engine_repeat *repeat, double *ns,
                              struct error *err)
{
    struct device *device = shape->buffers->device;
    struct timing timing;
    bool waits = repeat->waits || has_waits(shape, repeat->first, repeat->first + repeat->n_steps);
    enum status status = timing_begin(&timing, device, 2, err);
    if (status == STATUS_OK) {
        stamp(&timing);
        for (uint32_t i = 0; i < repeat->times; i++) {
            uint32_t first = repeat->first + i % repeat->n_copies * repeat->stride;
            if (waits && i > 0) {
                barrier_dispatches(timing.commands);
            }
            record_copy(&timing, shape, first, first + repeat->n_steps);
        }
        stamp(&timing);
        status = timing_run(&timing, device, err);
    }
    if (status == STATUS_OK) {
        *ns = timing_ns(&timing, device, 0);
    }
    timing_end(&timing, device);
    return status;
}
