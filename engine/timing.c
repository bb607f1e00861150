/* The time of each op on the device: a submit of its own, with a barrier and a timestamp behind every entry. */
#include <stdlib.h>

#include "engine/record.h"

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

static enum status run(const struct shape *shape, const struct store *store, struct timing *timing, struct error *err)
{
    struct device *device = store->device;
    uint32_t n_steps = store->plan->n_steps;
    VkQueryPoolCreateInfo info = {.sType = VK_STRUCTURE_TYPE_QUERY_POOL_CREATE_INFO,
                                  .queryType = VK_QUERY_TYPE_TIMESTAMP,
                                  .queryCount = n_steps + 1};
    VK_TRY(err, vkCreateQueryPool(device->handle, &info, NULL, &timing->pool));
    TRY(device_commands_begin(device, true, &timing->commands, err));
    vkCmdResetQueryPool(timing->commands, timing->pool, 0, n_steps + 1);
    stamp(timing);
    for (uint32_t step = 0; step < n_steps;) {
        const struct entry *entry = schedule_next(&shape->schedule, step, n_steps, true);
        for (uint32_t i = 0; i < entry->n_dispatches; i++) {
            if (shape->schedule.dispatches[entry->first_dispatch + i].waits)
                wait(timing);
            record_dispatch(timing->commands, shape, entry->first_dispatch + i);
        }
        stamp(timing);
        step += entry->n_steps;
    }
    VK_TRY(err, vkEndCommandBuffer(timing->commands));
    TRY(device_run(device, timing->commands, err));
    VK_TRY(err, vkGetQueryPoolResults(device->handle, timing->pool, 0, timing->n, timing->n * sizeof(uint64_t),
                                      timing->ticks, sizeof(uint64_t), VK_QUERY_RESULT_64_BIT));
    return STATUS_OK;
}

enum status shape_time(const struct shape *shape, const struct store *store, double *ns, struct error *err)
{
    uint32_t n_steps = store->plan->n_steps;
    struct timing timing = {0};
    if (!store->device->limits.timestampComputeAndGraphics)
        return error_set(err, STATUS_ABSENT, NULL, NULL, ERROR_NO_OFFSET, "%s has no timestamps",
                         store->device->info.name);
    timing.ticks = xcalloc(n_steps + 1, sizeof(*timing.ticks));
    enum status status = run(shape, store, &timing, err);
    for (uint32_t step = 0, i = 0; status == STATUS_OK && step < n_steps; i++) {
        const struct entry *entry = schedule_next(&shape->schedule, step, n_steps, true);
        ns[step] = (double)(timing.ticks[i + 1] - timing.ticks[i]) * store->device->limits.timestampPeriod;
        step += entry->n_steps;
    }
    device_commands_free(store->device, timing.commands);
    vkDestroyQueryPool(store->device->handle, timing.pool, NULL);
    free(timing.ticks);
    return status;
}
