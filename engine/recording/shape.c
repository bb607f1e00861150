#include "engine/recording/shape.h"

#include <stdlib.h>
#include <string.h>

/* What was touched since the last barrier, a flag a resource: 2 * step for slots, 2 * step + 1 for the cache. */
struct hazards {
    uint8_t *written, *read;
    uint32_t n;
    uint32_t n_barriers, n_dispatches;
};

void record_barrier(VkCommandBuffer commands, VkPipelineStageFlags from, VkAccessFlags wrote, VkPipelineStageFlags to,
                    VkAccessFlags touches)
{
    VkMemoryBarrier memory = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER, .srcAccessMask = wrote, .dstAccessMask = touches};
    vkCmdPipelineBarrier(commands, from, to, 0, 1, &memory, 0, NULL, 0, NULL);
}

#define SHADER VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT
#define TRANSFER VK_PIPELINE_STAGE_TRANSFER_BIT
#define SHADER_ACCESS (VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT)
#define TRANSFER_ACCESS (VK_ACCESS_TRANSFER_READ_BIT | VK_ACCESS_TRANSFER_WRITE_BIT)

static bool is_hazard(const struct hazards *hazards, const struct binding *binding)
{
    if (binding->resource == RESOURCE_CONSTANT) {
        return false;
    }
    return hazards->written[binding->resource] || (binding->write && hazards->read[binding->resource]);
}

/* A barrier only where this dispatch reads or overwrites what an earlier one since the last barrier wrote, or
 * overwrites what one read. Parts of one entry (row slices, q and k) write different rows or slots, unless one waits.
 */
static void order(VkCommandBuffer commands, struct hazards *hazards, const struct dispatch *dispatch, bool same_entry)
{
    bool hazard = false;
    for (uint32_t i = 0; i < dispatch->program->key.n_bindings; i++) {
        hazard = hazard || is_hazard(hazards, &dispatch->bindings[i]);
    }
    if ((hazard && !same_entry) || dispatch->waits) {
        record_barrier(commands, SHADER, VK_ACCESS_SHADER_WRITE_BIT, SHADER, SHADER_ACCESS);
        memset(hazards->written, 0, hazards->n);
        memset(hazards->read, 0, hazards->n);
        hazards->n_barriers++;
    }
    for (uint32_t i = 0; i < dispatch->program->key.n_bindings; i++) {
        const struct binding *binding = &dispatch->bindings[i];
        if (binding->resource != RESOURCE_CONSTANT) {
            (binding->write ? hazards->written : hazards->read)[binding->resource] = 1;
        }
    }
}

void record_dispatch(VkCommandBuffer commands, const struct shape *shape, uint32_t place, uint32_t index)
{
    const struct dispatch *dispatch = &shape->schedule.dispatches[index];
    const struct program *program = dispatch->program;
    const VkDescriptorSet *set = &shape->sets[place * shape->schedule.n_dispatches + index];
    vkCmdBindPipeline(commands, VK_PIPELINE_BIND_POINT_COMPUTE, program->pipeline);
    vkCmdBindDescriptorSets(commands, VK_PIPELINE_BIND_POINT_COMPUTE, program->layout, 0, 1, set, 0, NULL);
    vkCmdPushConstants(commands, program->layout, VK_SHADER_STAGE_COMPUTE_BIT, 0, program->key.n_push, dispatch->push);
    vkCmdDispatch(commands, dispatch->groups_x, dispatch->groups_y, 1);
}

struct counts record_steps(VkCommandBuffer commands, const struct shape *shape, uint32_t place, uint32_t n_steps,
                           uint32_t first, uint32_t last)
{
    struct hazards hazards = {.n = 2 * n_steps};
    hazards.written = xcalloc(hazards.n, 1);
    hazards.read = xcalloc(hazards.n, 1);
    bool whole = first == 0 && last == n_steps;
    for (uint32_t step = first; step < last;) {
        const struct entry *entry = schedule_next(&shape->schedule, step, last, whole);
        for (uint32_t i = 0; i < entry->n_dispatches; i++) {
            uint32_t at = entry->first_dispatch + i;
            order(commands, &hazards, &shape->schedule.dispatches[at], i > 0);
            record_dispatch(commands, shape, place, at);
            hazards.n_dispatches++;
        }
        step += entry->n_steps;
    }
    free(hazards.written);
    free(hazards.read);
    return (struct counts){hazards.n_dispatches, hazards.n_barriers};
}

void record_follow(VkCommandBuffer commands)
{
    record_barrier(commands, SHADER | TRANSFER, VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_TRANSFER_WRITE_BIT,
                   SHADER | TRANSFER, SHADER_ACCESS | TRANSFER_ACCESS);
}

void record_start(VkCommandBuffer commands, const struct store *store)
{
    record_follow(commands);
    VkBufferCopy all = {.size = store->batch.size};
    vkCmdCopyBuffer(commands, store->next.handle, store->batch.handle, 1, &all);
}

/* Where the engine is to copy early (a fault), it copies all of it there. */
static enum status record_whole(struct shape *shape, const struct store *store, uint32_t place, struct error *err)
{
    uint32_t n_steps = store->plan->n_steps;
    VkCommandBuffer *commands = &shape->places[place].whole;
    TRY(device_commands_begin(store->device, false, commands, err));
    record_start(*commands, store);
    record_fill(*commands, shape, store, place);
    record_barrier(*commands, TRANSFER, VK_ACCESS_TRANSFER_WRITE_BIT, SHADER, SHADER_ACCESS);
    bool early = store->plan->steps[0].tamper.how == TAMPER_READ_EARLY;
    if (early) {
        record_readback(*commands, shape, store, place, 0, n_steps);
    }
    struct counts counts = record_steps(*commands, shape, place, n_steps, 0, n_steps);
    shape->n_barriers = counts.n_barriers;
    shape->n_dispatches = counts.n_dispatches;
    if (!early) {
        record_readback(*commands, shape, store, place, n_steps - 1, n_steps);
    }
    VK_TRY(err, vkEndCommandBuffer(*commands));
    return early ? STATUS_OK : record_transfer(shape, store, place, n_steps - 1, &shape->places[place].copy, err);
}

static enum status end_commands(VkCommandBuffer commands, struct error *err)
{
    VK_TRY(err, vkEndCommandBuffer(commands));
    return STATUS_OK;
}

enum status shape_reset(const struct shape *shape, const struct store *store, uint32_t place, struct error *err)
{
    VkCommandBuffer commands = VK_NULL_HANDLE;
    enum status status = device_commands_begin(store->device, true, &commands, err);
    if (status == STATUS_OK) {
        record_start(commands, store);
        record_fill(commands, shape, store, place);
        record_readback(commands, shape, store, place, 0, store->plan->n_steps);
        status = end_commands(commands, err);
    }
    if (status == STATUS_OK) {
        status = device_run(store->device, commands, err);
    }
    device_commands_free(store->device, commands);
    return status;
}

enum status shape_run_whole(const struct shape *shape, const struct store *store, uint32_t place, uint64_t after_copy,
                            struct error *err)
{
    struct device *device = store->device;
    const struct place *at = &shape->places[place];
    TRY(device_submit(device, &at->whole, 1, after_copy, err));
    if (at->copy) {
        TRY(device_submit_copy(device, at->copy, err));
    }
    return device_wait(device, &device->compute, device->compute.submitted, err);
}

enum status shape_run_part(const struct shape *shape, const struct store *store, uint32_t place, uint32_t first,
                           uint32_t last, struct error *err)
{
    VkCommandBuffer commands = VK_NULL_HANDLE;
    enum status status = device_commands_begin(store->device, true, &commands, err);
    if (status == STATUS_OK) {
        record_start(commands, store);
        record_barrier(commands, TRANSFER, VK_ACCESS_TRANSFER_WRITE_BIT, SHADER, SHADER_ACCESS);
        (void)record_steps(commands, shape, place, store->plan->n_steps, first, last);
        record_readback(commands, shape, store, place, first, last);
        status = end_commands(commands, err);
    }
    if (status == STATUS_OK) {
        status = device_run_stoppable(store->device, commands, err);
    }
    device_commands_free(store->device, commands);
    return status;
}

/* What a dispatch binds when the batch lies in one place of the ring. */
static enum status create_set(const struct dispatch *dispatch, const struct shape *shape, const struct store *store,
                              uint32_t place, VkDescriptorSet *set, struct error *err)
{
    VkDevice device = store->device->handle;
    VkDescriptorSetAllocateInfo allocate = {
        .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_ALLOCATE_INFO,
        .descriptorPool = shape->pool,
        .descriptorSetCount = 1,
        .pSetLayouts = &dispatch->program->set_layout,
    };
    VK_TRY(err, vkAllocateDescriptorSets(device, &allocate, set));
    VkDescriptorBufferInfo buffers[DEVICE_MAX_BINDINGS];
    for (uint32_t k = 0; k < dispatch->program->key.n_bindings; k++) {
        const struct binding *binding = &dispatch->bindings[k];
        VkDeviceSize skip = binding->buffer == store->arena.handle ? place * store->ring_stride : 0;
        buffers[k] = (VkDescriptorBufferInfo){binding->buffer, binding->offset + skip, binding->range};
    }
    VkWriteDescriptorSet write = {
        .sType = VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET,
        .dstSet = *set,
        .descriptorCount = dispatch->program->key.n_bindings, /* consecutive bindings of one type */
        .descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
        .pBufferInfo = buffers,
    };
    vkUpdateDescriptorSets(device, 1, &write, 0, NULL);
    return STATUS_OK;
}

static enum status create_sets(struct shape *shape, const struct store *store, struct error *err)
{
    uint32_t n_dispatches = shape->schedule.n_dispatches, n = shape->n_places * n_dispatches;
    VkDescriptorPoolSize size = {VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, n * DEVICE_MAX_BINDINGS};
    VkDescriptorPoolCreateInfo pool = {
        .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_POOL_CREATE_INFO,
        .maxSets = n,
        .poolSizeCount = 1,
        .pPoolSizes = &size,
    };
    VK_TRY(err, vkCreateDescriptorPool(store->device->handle, &pool, NULL, &shape->pool));
    shape->sets = xcalloc(n, sizeof(VkDescriptorSet));
    for (uint32_t i = 0; i < n; i++) {
        TRY(create_set(&shape->schedule.dispatches[i % n_dispatches], shape, store, i / n_dispatches, &shape->sets[i],
                       err));
    }
    return STATUS_OK;
}

enum status shape_open(struct shape *shape, const struct store *store, struct programs *programs, uint32_t n_rows,
                       const bool *captured, struct error *err)
{
    *shape = (struct shape){.captured = captured, .n_places = store_ring(n_rows)};
    TRY(schedule_build(&shape->schedule, store, programs, n_rows, captured, err));
    enum status status = create_sets(shape, store, err);
    for (uint32_t place = 0; status == STATUS_OK && place < shape->n_places; place++) {
        status = record_whole(shape, store, place, err);
    }
    if (status != STATUS_OK) {
        shape_close(shape, store);
    }
    return status;
}

void shape_close(struct shape *shape, const struct store *store)
{
    for (uint32_t place = 0; place < shape->n_places; place++) {
        device_commands_free(store->device, shape->places[place].whole);
        device_copy_free(store->device, shape->places[place].copy);
    }
    chain_close(shape, store);
    if (shape->pool) {
        vkDestroyDescriptorPool(store->device->handle, shape->pool, NULL);
    }
    free(shape->sets);
    schedule_free(&shape->schedule);
    *shape = (struct shape){0};
}
