#include "engine/recording/shape.h"

#include <stdlib.h>

#include "engine/device/submit.h"
#include "engine/lowering/lower_plan.h"
#include "engine/recording/barriers.h"
#include "engine/recording/chain.h"
#include "engine/recording/descriptor_sets.h"
#include "engine/recording/readback.h"
#include "engine/recording/record_steps.h"

/* Records the whole plan for a batch in `place`. The fault TAMPER_READ_EARLY copies all rows to the host before any
 * step runs. */
static enum status record_whole(struct shape *shape, uint32_t place, struct error *err)
{
    const struct buffers *buffers = shape->buffers;
    uint32_t n_steps = buffers->plan->n_steps;
    VkCommandBuffer *commands = &shape->places[place].whole;
    TRY(commands_begin(buffers->device, false, commands, err));
    barrier_submits_and_copy_batch(*commands, buffers);
    readback_fill(*commands, shape, place);
    barrier_transfers(*commands);
    bool early = buffers->plan->steps[0].tamper.how == TAMPER_READ_EARLY;
    if (early) {
        readback_record(*commands, shape, place, 0, n_steps);
    }
    struct counts counts = record_steps(*commands, shape, place, 0, n_steps);
    shape->n_barriers = counts.n_barriers;
    shape->n_dispatches = counts.n_dispatches;
    if (!early) {
        readback_record(*commands, shape, place, n_steps - 1, n_steps);
    }
    VK_TRY(err, vkEndCommandBuffer(*commands));
    return early ? STATUS_OK : readback_record_copy(shape, place, n_steps - 1, &shape->places[place].copy, err);
}

static enum status end_commands(VkCommandBuffer commands, struct error *err)
{
    VK_TRY(err, vkEndCommandBuffer(commands));
    return STATUS_OK;
}

enum status shape_reset(const struct shape *shape, uint32_t place, struct error *err)
{
    const struct buffers *buffers = shape->buffers;
    VkCommandBuffer commands = VK_NULL_HANDLE;
    enum status status = commands_begin(buffers->device, true, &commands, err);
    if (status == STATUS_OK) {
        barrier_submits_and_copy_batch(commands, buffers);
        readback_fill(commands, shape, place);
        readback_record(commands, shape, place, 0, buffers->plan->n_steps);
        status = end_commands(commands, err);
    }
    if (status == STATUS_OK) {
        status = submit_and_wait(buffers->device, commands, err);
    }
    commands_free(buffers->device, commands);
    return status;
}

enum status shape_run_whole(const struct shape *shape, uint32_t place, uint64_t after_copy, struct error *err)
{
    struct device *device = shape->buffers->device;
    const struct place *at = &shape->places[place];
    TRY(submit_compute(device, &at->whole, 1, after_copy, err));
    if (at->copy) {
        TRY(submit_copy(device, at->copy, err));
    }
    return submit_wait(device, &device->compute, device->compute.submitted, err);
}

enum status shape_run_part(const struct shape *shape, uint32_t place, uint32_t first, uint32_t last, struct error *err)
{
    const struct buffers *buffers = shape->buffers;
    VkCommandBuffer commands = VK_NULL_HANDLE;
    enum status status = commands_begin(buffers->device, true, &commands, err);
    if (status == STATUS_OK) {
        barrier_submits_and_copy_batch(commands, buffers);
        barrier_transfers(commands);
        (void)record_steps(commands, shape, place, first, last);
        readback_record(commands, shape, place, first, last);
        status = end_commands(commands, err);
    }
    if (status == STATUS_OK) {
        status = submit_and_wait_stoppable(buffers->device, commands, err);
    }
    commands_free(buffers->device, commands);
    return status;
}

enum status shape_open(struct shape *shape, const struct buffers *buffers, struct programs *programs, uint32_t n_rows,
                       const bool *captured, struct error *err)
{
    *shape = (struct shape){.buffers = buffers, .captured = captured, .n_places = buffers_places(n_rows)};
    TRY(lower_plan(&shape->schedule, buffers, programs, n_rows, captured, err));
    enum status status = descriptor_sets_create(shape, err);
    for (uint32_t place = 0; status == STATUS_OK && place < shape->n_places; place++) {
        status = record_whole(shape, place, err);
    }
    if (status != STATUS_OK) {
        shape_close(shape);
    }
    return status;
}

void shape_close(struct shape *shape)
{
    if (!shape->buffers) {
        return;
    }
    struct device *device = shape->buffers->device;
    for (uint32_t place = 0; place < shape->n_places; place++) {
        commands_free(device, shape->places[place].whole);
        copy_commands_free(device, shape->places[place].copy);
    }
    chain_close(shape);
    if (shape->pool) {
        vkDestroyDescriptorPool(device->handle, shape->pool, NULL);
    }
    free(shape->sets);
    schedule_free(&shape->schedule);
    *shape = (struct shape){0};
}
