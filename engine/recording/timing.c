/* Times on the device, by timestamps: of each op, in a submit of its own with a barrier and a timestamp behind every
 * entry; and of a few steps run many times over. */
#include <stdlib.h>

#include "engine/recording/shape.h"

struct timing {
    VkQueryPool pool;
    VkCommandBuffer commands;
    uint64_t *ticks;
    uint32_t n;
};

static void wait(const struct timing *timing)
{
    VkMemoryBarrier barrier = {.sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
                               .srcAccessMask = VK_ACCESS_SHADER_WRITE_BIT,
                               .dstAccessMask = VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT};
    vkCmdPipelineBarrier(timing->commands, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT,
                         0, 1, &barrier, 0, NULL, 0, NULL);
}

static void stamp(struct timing *timing)
{
    wait(timing);
    vkCmdWriteTimestamp(timing->commands, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, timing->pool, timing->n++);
}

/* A command buffer that can take n timestamps. Whatever comes of it, timing_end follows. */
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
    TRY(device_commands_begin(device, true, &timing->commands, err));
    vkCmdResetQueryPool(timing->commands, timing->pool, 0, n);
    return STATUS_OK;
}

static void timing_end(const struct timing *timing, struct device *device)
{
    device_commands_free(device, timing->commands);
    vkDestroyQueryPool(device->handle, timing->pool, NULL);
    free(timing->ticks);
}

static enum status timing_run(struct timing *timing, struct device *device, struct error *err)
{
    VK_TRY(err, vkEndCommandBuffer(timing->commands));
    TRY(device_run(device, timing->commands, err));
    VK_TRY(err, vkGetQueryPoolResults(device->handle, timing->pool, 0, timing->n, timing->n * sizeof(uint64_t),
                                      timing->ticks, sizeof(uint64_t), VK_QUERY_RESULT_64_BIT));
    return STATUS_OK;
}

static double timing_ns(const struct timing *timing, const struct device *device, uint32_t from)
{
    return (double)(timing->ticks[from + 1] - timing->ticks[from]) * device->limits.timestampPeriod;
}

static void record_entry(const struct timing *timing, const struct shape *shape, const struct entry *entry)
{
    for (uint32_t i = 0; i < entry->n_dispatches; i++) {
        if (shape->schedule.dispatches[entry->first_dispatch + i].waits) {
            wait(timing);
        }
        record_dispatch(timing->commands, shape, 0, entry->first_dispatch + i);
    }
}

enum status shape_time(const struct shape *shape, const struct store *store, double *ns, struct error *err)
{
    uint32_t n_steps = store->plan->n_steps;
    struct timing timing;
    enum status status = timing_begin(&timing, store->device, n_steps + 1, err);
    if (status == STATUS_OK) {
        stamp(&timing);
        for (uint32_t step = 0; step < n_steps;) {
            const struct entry *entry = schedule_next(&shape->schedule, step, n_steps, true);
            record_entry(&timing, shape, entry);
            stamp(&timing);
            step += entry->n_steps;
        }
        status = timing_run(&timing, store->device, err);
    }
    for (uint32_t step = 0, i = 0; status == STATUS_OK && step < n_steps; i++) {
        step += schedule_next(&shape->schedule, step, n_steps, true)->n_steps;
        ns[step - 1] = timing_ns(&timing, store->device, i);
    }
    timing_end(&timing, store->device);
    return status;
}

/* Whether one of the dispatches waits for another: what it hands on lies where all copies have it. */
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

/* One copy's entries, of which each depends on the one before. */
static void record_copy(const struct timing *timing, const struct shape *shape, uint32_t first, uint32_t last)
{
    for (uint32_t step = first; step < last;) {
        const struct entry *entry = schedule_next(&shape->schedule, step, last, true);
        if (step > first) {
            wait(timing);
        }
        record_entry(timing, shape, entry);
        step += entry->n_steps;
    }
}

enum status shape_repeat(const struct shape *shape, const struct store *store, const struct engine_repeat *repeat,
                         double *ns, struct error *err)
{
    struct timing timing;
    bool waits = repeat->waits || has_waits(shape, repeat->first, repeat->first + repeat->n_steps);
    enum status status = timing_begin(&timing, store->device, 2, err);
    if (status == STATUS_OK) {
        stamp(&timing);
        for (uint32_t i = 0; i < repeat->times; i++) {
            uint32_t first = repeat->first + i % repeat->n_copies * repeat->stride;
            if (waits && i > 0) {
                wait(&timing);
            }
            record_copy(&timing, shape, first, first + repeat->n_steps);
        }
        stamp(&timing);
        status = timing_run(&timing, store->device, err);
    }
    if (status == STATUS_OK) {
        *ns = timing_ns(&timing, store->device, 0);
    }
    timing_end(&timing, store->device);
    return status;
}
