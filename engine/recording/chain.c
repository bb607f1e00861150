/* Tokens that are chosen on the device: the largest logit's is the next pass's input, so that many passes are one
 * submit and nothing but the tokens comes to the host. For when nobody looks at the stages. */
#include <string.h>

#include "engine/recording/shape.h"
#include "engine/schedule/builder.h"

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

static uint32_t count_chunks(const struct store *store)
{
    return (uint32_t)divide_up(store->plan->steps[store->plan->n_steps - 1].width, CHUNK);
}

bool chain_possible(const struct store *store)
{
    return store->device->limits.maxComputeWorkGroupInvocations >= LANES &&
           count_chunks(store) <= store->limits.max_groups;
}

enum status chain_build(struct builder *b)
{
    const struct step *logits = &b->store->plan->steps[b->store->plan->n_steps - 1];
    uint32_t n_chunks = count_chunks(b->store);
    if (b->schedule->n_rows != 1 || !chain_possible(b->store)) {
        return STATUS_OK;
    }
    b->schedule->choose = b->schedule->n_dispatches;
    TRY(add_argmax(b, false, logits->width, n_chunks));
    return add_argmax(b, true, logits->width, n_chunks);
}

static void wait(VkCommandBuffer commands)
{
    record_barrier(commands, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, VK_ACCESS_SHADER_WRITE_BIT,
                   VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT);
}

/* A pass, and the choice of the next token. */
static void record_pass(VkCommandBuffer commands, const struct shape *shape, const struct store *store, uint32_t place)
{
    uint32_t n_steps = store->plan->n_steps, choose = shape->schedule.choose;
    (void)record_steps(commands, shape, place, n_steps, 0, n_steps);
    wait(commands);
    record_dispatch(commands, shape, place, choose);
    wait(commands);
    record_dispatch(commands, shape, place, choose + 1);
}

static void start_shaders(VkCommandBuffer commands)
{
    record_barrier(commands, VK_PIPELINE_STAGE_TRANSFER_BIT, VK_ACCESS_TRANSFER_WRITE_BIT,
                   VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT);
}

/* The ids go to the host. */
static enum status end(VkCommandBuffer commands, struct error *err)
{
    record_barrier(commands, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, VK_ACCESS_SHADER_WRITE_BIT,
                   VK_PIPELINE_STAGE_HOST_BIT, VK_ACCESS_HOST_READ_BIT);
    VK_TRY(err, vkEndCommandBuffer(commands));
    return STATUS_OK;
}

static enum status record_chain(struct shape *shape, const struct store *store, uint32_t n, VkCommandBuffer *commands,
                                struct error *err)
{
    TRY(device_commands_begin(store->device, false, commands, err));
    record_start(*commands, store);
    start_shaders(*commands);
    for (uint32_t i = 0; i < n; i++) {
        record_pass(*commands, shape, store, 0);
        wait(*commands);
    }
    return end(*commands, err);
}

static enum status record_start_alone(struct shape *shape, const struct store *store, struct error *err)
{
    TRY(device_commands_begin(store->device, false, &shape->start, err));
    record_start(shape->start, store);
    VK_TRY(err, vkEndCommandBuffer(shape->start));
    return STATUS_OK;
}

static enum status record_place(struct shape *shape, const struct store *store, uint32_t place, struct error *err)
{
    struct place *at = &shape->places[place];
    TRY(device_commands_begin(store->device, false, &at->pass, err));
    record_follow(at->pass);
    record_fill(at->pass, shape, store, place);
    start_shaders(at->pass);
    record_pass(at->pass, shape, store, place);
    TRY(end(at->pass, err));
    return record_transfer(shape, store, place, store->plan->n_steps, &at->copy_all, err);
}

/* What was recorded has another token masked; a copy of it may still be running. */
static enum status set_masked(struct shape *shape, const struct store *store, uint32_t masked, struct error *err)
{
    uint8_t *push = shape->schedule.dispatches[shape->schedule.choose].push;
    if (memcmp(push + offsetof(struct argmax_params, masked), &masked, sizeof(masked)) == 0) {
        return STATUS_OK;
    }
    TRY(device_idle(store->device, err));
    memcpy(push + offsetof(struct argmax_params, masked), &masked, sizeof(masked));
    chain_close(shape, store);
    return STATUS_OK;
}

/* What was not recorded to its end is not kept. */
static enum status recorded(struct shape *shape, const struct store *store, enum status status)
{
    if (status != STATUS_OK) {
        chain_close(shape, store);
    }
    return status;
}

enum status chain_run(struct shape *shape, const struct store *store, uint32_t masked, uint32_t n, struct error *err)
{
    ASSERT(n == 1 || n == CHAIN_TOKENS);
    VkCommandBuffer *commands = &shape->chains[n != 1];
    TRY(set_masked(shape, store, masked, err));
    if (!*commands) {
        TRY(recorded(shape, store, record_chain(shape, store, n, commands, err)));
    }
    return device_run_stoppable(store->device, *commands, err);
}

enum status chain_prepare(struct shape *shape, const struct store *store, uint32_t masked, struct error *err)
{
    TRY(set_masked(shape, store, masked, err));
    if (shape->start) {
        return STATUS_OK;
    }
    enum status status = record_start_alone(shape, store, err);
    for (uint32_t place = 0; status == STATUS_OK && place < shape->n_places; place++) {
        status = record_place(shape, store, place, err);
    }
    return recorded(shape, store, status);
}

enum status chain_submit(const struct shape *shape, const struct store *store, uint32_t place, bool first,
                         uint64_t after_copy, struct error *err)
{
    VkCommandBuffer both[] = {shape->start, shape->places[place].pass};
    TRY(device_submit(store->device, first ? both : both + 1, first ? 2 : 1, after_copy, err));
    VkCommandBuffer copy = shape->places[place].copy_all;
    return copy ? device_submit_copy(store->device, copy, err) : STATUS_OK;
}

static void close_commands(const struct store *store, VkCommandBuffer *commands)
{
    device_commands_free(store->device, *commands);
    *commands = VK_NULL_HANDLE;
}

void chain_close(struct shape *shape, const struct store *store)
{
    close_commands(store, &shape->chains[0]);
    close_commands(store, &shape->chains[1]);
    close_commands(store, &shape->start);
    for (uint32_t place = 0; place < shape->n_places; place++) {
        close_commands(store, &shape->places[place].pass);
        device_copy_free(store->device, shape->places[place].copy_all);
        shape->places[place].copy_all = VK_NULL_HANDLE;
    }
}
