/* Tokens that are chosen on the device: the largest logit's is the next pass's input, so that many passes are one
 * submit and nothing but the tokens comes to the host. For when nobody looks at the stages. */
#include <string.h>

#include "engine/build.h"
#include "engine/record.h"

#define CHUNK 2048 /* logits of a workgroup */
#define LANES 256

static struct binding whole_buffer(const struct gpu_buffer *buffer, bool write)
{
    return (struct binding){buffer->handle, 0, buffer->size, RESOURCE_CONSTANT, write};
}

static enum status add_argmax(struct builder *b, bool last, uint32_t n, uint32_t n_chunks)
{
    struct schedule *schedule = b->schedule;
    struct argmax_params params = {n, CHUNK, n_chunks, UINT32_MAX};
    struct program_key key = {.shader = "argmax",
                              .n_bindings = 4,
                              .n_push = sizeof(params),
                              .constants = {.local_size = LANES, .epilogue = last}};
    schedule->dispatches = xrealloc(schedule->dispatches, (schedule->n_dispatches + 1ull) * sizeof(struct dispatch));
    struct dispatch *dispatch = &schedule->dispatches[schedule->n_dispatches++];
    *dispatch = (struct dispatch){.groups_x = last ? 1 : n_chunks, .groups_y = 1};
    dispatch->bindings[0] = whole_buffer(&b->store->batch, true);
    dispatch->bindings[1] = slot_binding(b, b->store->plan->n_steps - 1, false);
    dispatch->bindings[2] = whole_buffer(&b->store->best, true);
    dispatch->bindings[3] = whole_buffer(&b->store->chosen, true);
    memcpy(dispatch->push, &params, sizeof(params));
    return programs_get(b->programs, &key, &dispatch->program, b->err);
}

VkDeviceSize chain_best_bytes(const struct plan *plan)
{
    return divide_up(plan->steps[plan->n_steps - 1].width, CHUNK) * 2 * sizeof(uint32_t);
}

enum status chain_build(struct builder *b)
{
    const struct step *logits = &b->store->plan->steps[b->store->plan->n_steps - 1];
    uint32_t n_chunks = (uint32_t)divide_up(logits->width, CHUNK);
    if (b->schedule->n_rows != 1 || b->store->device->limits.maxComputeWorkGroupInvocations < LANES ||
        n_chunks > b->store->limits.max_groups)
        return STATUS_OK;
    b->schedule->choose = b->schedule->n_dispatches;
    TRY(add_argmax(b, false, logits->width, n_chunks));
    return add_argmax(b, true, logits->width, n_chunks);
}

static void wait(VkCommandBuffer commands)
{
    record_barrier(commands, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, VK_ACCESS_SHADER_WRITE_BIT,
                   VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT);
}

static enum status record(struct shape *shape, const struct store *store, uint32_t n, VkCommandBuffer *commands,
                          struct error *err)
{
    uint32_t n_steps = store->plan->n_steps, choose = shape->schedule.choose;
    TRY(device_commands_begin(store->device, false, commands, err));
    record_start(*commands, store);
    record_barrier(*commands, VK_PIPELINE_STAGE_TRANSFER_BIT, VK_ACCESS_TRANSFER_WRITE_BIT,
                   VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT);
    for (uint32_t i = 0; i < n; i++) {
        record_steps(*commands, shape, n_steps, 0, n_steps);
        wait(*commands);
        record_dispatch(*commands, shape, choose);
        wait(*commands);
        record_dispatch(*commands, shape, choose + 1);
        wait(*commands);
    }
    record_barrier(*commands, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, VK_ACCESS_SHADER_WRITE_BIT,
                   VK_PIPELINE_STAGE_HOST_BIT, VK_ACCESS_HOST_READ_BIT);
    VK_TRY(err, vkEndCommandBuffer(*commands));
    return STATUS_OK;
}

/* What was recorded has another token masked. */
static void set_masked(struct shape *shape, const struct store *store, uint32_t masked)
{
    uint8_t *push = shape->schedule.dispatches[shape->schedule.choose].push;
    if (memcmp(push + offsetof(struct argmax_params, masked), &masked, sizeof(masked)) == 0)
        return;
    memcpy(push + offsetof(struct argmax_params, masked), &masked, sizeof(masked));
    chain_close(shape, store);
}

enum status chain_run(struct shape *shape, const struct store *store, uint32_t masked, uint32_t n, struct error *err)
{
    ASSERT(n == 1 || n == CHAIN_TOKENS);
    VkCommandBuffer *commands = &shape->chains[n != 1];
    set_masked(shape, store, masked);
    if (!*commands)
        TRY(record(shape, store, n, commands, err));
    return device_run_stoppable(store->device, *commands, err);
}

void chain_close(struct shape *shape, const struct store *store)
{
    for (int i = 0; i < 2; i++) {
        device_commands_free(store->device, shape->chains[i]);
        shape->chains[i] = VK_NULL_HANDLE;
    }
}
