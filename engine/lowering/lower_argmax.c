#include "engine/lowering/lower_argmax.h"

#include <string.h>

#define LANES 256 /* of a workgroup of argmax.comp */

static struct binding whole_buffer(const struct gpu_buffer *buffer, bool write)
{
    return (struct binding){buffer->handle, 0, buffer->size, RESOURCE_CONSTANT, write};
}

/* The first pass finds the largest logit of each chunk, the last pass the largest of those. */
static enum status add_pass(struct builder *b, bool last, uint32_t n_logits, uint32_t n_chunks)
{
    struct argmax_params params = {n_logits, ARGMAX_CHUNK, n_chunks, UINT32_MAX};
    struct program_key key = {.shader = "argmax",
                              .n_bindings = 4,
                              .n_push = sizeof(params),
                              .constants = {.local_size = LANES, .epilogue = last}};
    struct dispatch *dispatch = schedule_append(b->schedule);
    dispatch->groups_x = last ? 1 : n_chunks;
    dispatch->groups_y = 1;
    dispatch->bindings[0] = whole_buffer(&b->buffers->batch, true);
    dispatch->bindings[1] = slot_binding(b, b->buffers->plan->n_steps - 1, false);
    dispatch->bindings[2] = whole_buffer(&b->buffers->best_logits, true);
    dispatch->bindings[3] = whole_buffer(&b->buffers->chosen_ids, true);
    memcpy(dispatch->push, &params, sizeof(params));
    dispatch->shader = key.shader;
    return b->programs ? programs_get(b->programs, &key, &dispatch->program, b->err) : STATUS_OK;
}

static uint32_t count_logits(const struct buffers *buffers)
{
    return buffers->plan->steps[buffers->plan->n_steps - 1].width;
}

static uint32_t count_chunks(const struct buffers *buffers)
{
    return (uint32_t)divide_up(count_logits(buffers), ARGMAX_CHUNK);
}

bool argmax_possible(const struct buffers *buffers)
{
    return buffers->device->limits.maxComputeWorkGroupInvocations >= LANES &&
           count_chunks(buffers) <= buffers->limits.max_groups;
}

enum status lower_argmax(struct builder *b)
{
    uint32_t n_logits = count_logits(b->buffers), n_chunks = count_chunks(b->buffers);
    if (b->schedule->n_rows != 1 || !argmax_possible(b->buffers)) {
        return STATUS_OK;
    }
    b->schedule->choose = b->schedule->n_dispatches;
    TRY(add_pass(b, false, n_logits, n_chunks));
    return add_pass(b, true, n_logits, n_chunks);
}
