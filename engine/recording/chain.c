#include "engine/recording/chain.h"

#include <string.h>

#include "engine/device/submit.h"
#include "engine/recording/barriers.h"
#include "engine/recording/readback.h"
#include "engine/recording/record_steps.h"

/* Records the whole plan and the choice of the next token. */
static void record_pass(VkCommandBuffer commands, const struct shape *shape, uint32_t place)
{
    uint32_t n_steps = shape->buffers->plan->n_steps, choose = shape->schedule.choose;
    (void)record_steps(commands, shape, place, 0, n_steps);
    barrier_dispatches(commands);
    record_dispatch(commands, shape, place, choose);
    barrier_dispatches(commands);
    record_dispatch(commands, shape, place, choose + 1);
}

/* Ends a command buffer. The chosen ids become visible to the host. */
static enum status end_chain(VkCommandBuffer commands, struct error *err)
{
    barrier(commands, BARRIER_SHADER, VK_ACCESS_SHADER_WRITE_BIT, VK_PIPELINE_STAGE_HOST_BIT, VK_ACCESS_HOST_READ_BIT);
    VK_TRY(err, vkEndCommandBuffer(commands));
    return STATUS_OK;
}

/* Records n passes, each with the token that the one before chose. */
static enum status record_chain(struct shape *shape, uint32_t n, VkCommandBuffer *commands, struct error *err)
{
    TRY(commands_begin(shape->buffers->device, false, commands, err));
    barrier_submits_and_copy_batch(*commands, shape->buffers);
    barrier_transfers(*commands);
    for (uint32_t i = 0; i < n; i++) {
        record_pass(*commands, shape, 0);
        barrier_dispatches(*commands);
    }
    return end_chain(*commands, err);
}

/* Records the copy of the first batch to the device. */
static enum status record_start(struct shape *shape, struct error *err)
{
    TRY(commands_begin(shape->buffers->device, false, &shape->start, err));
    barrier_submits_and_copy_batch(shape->start, shape->buffers);
    VK_TRY(err, vkEndCommandBuffer(shape->start));
    return STATUS_OK;
}

/* Records a pass for a token in `place`, and the copy of its stages to the host. */
static enum status record_place(struct shape *shape, uint32_t place, struct error *err)
{
    struct place *at = &shape->places[place];
    TRY(commands_begin(shape->buffers->device, false, &at->pass, err));
    barrier_submits(at->pass);
    readback_fill(at->pass, shape, place);
    barrier_transfers(at->pass);
    record_pass(at->pass, shape, place);
    TRY(end_chain(at->pass, err));
    return readback_record_copy(shape, place, shape->buffers->plan->n_steps, &at->copy_all, err);
}

/* Sets the masked id. The recorded command buffers contain the old one, so they are freed; they may still run, so wait
 * first. */
static enum status set_masked(struct shape *shape, uint32_t masked, struct error *err)
{
    uint8_t *push = shape->schedule.dispatches[shape->schedule.choose].push;
    if (memcmp(push + offsetof(struct argmax_params, masked), &masked, sizeof(masked)) == 0) {
        return STATUS_OK;
    }
    TRY(submit_wait_all(shape->buffers->device, err));
    memcpy(push + offsetof(struct argmax_params, masked), &masked, sizeof(masked));
    chain_close(shape);
    return STATUS_OK;
}

/* After a failure, frees the half-recorded command buffers. */
static enum status keep_recorded(struct shape *shape, enum status status)
{
    if (status != STATUS_OK) {
        chain_close(shape);
    }
    return status;
}

enum status chain_run(struct shape *shape, uint32_t masked, uint32_t n, struct error *err)
{
    ASSERT(n == 1 || n == CHAIN_TOKENS);
    VkCommandBuffer *commands = &shape->chains[n != 1];
    TRY(set_masked(shape, masked, err));
    if (!*commands) {
        TRY(keep_recorded(shape, record_chain(shape, n, commands, err)));
    }
    return submit_and_wait_stoppable(shape->buffers->device, *commands, err);
}

enum status chain_prepare(struct shape *shape, uint32_t masked, struct error *err)
{
    TRY(set_masked(shape, masked, err));
    if (shape->start) {
        return STATUS_OK;
    }
    enum status status = record_start(shape, err);
    for (uint32_t place = 0; status == STATUS_OK && place < shape->n_places; place++) {
        status = record_place(shape, place, err);
    }
    return keep_recorded(shape, status);
}

enum status chain_submit(const struct shape *shape, uint32_t place, bool first, uint64_t after_copy, struct error *err)
{
    VkCommandBuffer both[] = {shape->start, shape->places[place].pass};
    TRY(submit_compute(shape->buffers->device, first ? both : both + 1, first ? 2 : 1, after_copy, err));
    VkCommandBuffer copy = shape->places[place].copy_all;
    return copy ? submit_copy(shape->buffers->device, copy, err) : STATUS_OK;
}

static void close_commands(struct device *device, VkCommandBuffer *commands)
{
    commands_free(device, *commands);
    *commands = VK_NULL_HANDLE;
}

void chain_close(struct shape *shape)
{
    struct device *device = shape->buffers->device;
    close_commands(device, &shape->chains[0]);
    close_commands(device, &shape->chains[1]);
    close_commands(device, &shape->start);
    for (uint32_t place = 0; place < shape->n_places; place++) {
        close_commands(device, &shape->places[place].pass);
        copy_commands_free(device, shape->places[place].copy_all);
        shape->places[place].copy_all = VK_NULL_HANDLE;
    }
}
