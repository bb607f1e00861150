/* A dispatch under construction: what it binds, its push constants, its program, its workgroups. */
#include "engine/schedule/builder.h"

#include <stdlib.h>
#include <string.h>

/* The slot of a step; its last row where the current step makes no others. */
struct binding slot_binding(const struct builder *b, uint32_t step, bool write)
{
    const struct region *whole = &b->schedule->slots[step];
    const struct step *s = &b->store->plan->steps[step];
    VkDeviceSize n_rows = store_step_rows(b->store, step, b->schedule->n_rows), row = s->width * sizeof(float);
    VkDeviceSize skip = n_rows > b->n_rows ? (n_rows - b->n_rows) * row : 0;
    const struct region slot_part = {whole->offset + skip, whole->size - skip}, *slot = &slot_part;
    uint32_t owner = s->tamper.how == TAMPER_SHARED_SLOT ? (uint32_t)s->tamper.with : step; /* for hazards */
    return (struct binding){b->store->arena.handle, slot->offset, slot->size, (int32_t)(2 * owner), write};
}

struct binding cache_binding(const struct builder *b, uint32_t step, bool write)
{
    const struct region *region = &b->store->cached[step];
    return (struct binding){b->store->cache.handle, region->offset, region->size, (int32_t)(2 * step + 1), write};
}

/* Where a tensor lies, and the rows that begin and end between blocks there. */
static const struct placement *find_placement(const struct builder *b, const struct tensor *tensor, uint64_t *grain,
                                              uint64_t *bytes)
{
    const struct placement *placement = weights_find(&b->store->weights, tensor);
    ASSERT(placement);
    placement_grain(placement, grain, bytes);
    return placement;
}

/* Rows [first, first + count) of a tensor. The range reaches into the slack behind: shaders read whole words. */
struct binding weight_binding(const struct builder *b, const struct tensor *tensor, uint64_t first, uint64_t count)
{
    uint64_t grain, bytes;
    const struct placement *placement = find_placement(b, tensor, &grain, &bytes);
    ASSERT(first % grain == 0);
    return (struct binding){
        .buffer = b->store->weights.blocks[placement->block].handle,
        .offset = placement->offset + first / grain * bytes,
        .range = align_up(divide_up(count, grain) * bytes, 4) + 4,
        .resource = RESOURCE_CONSTANT,
    };
}

struct program_constants weight_constants(const struct builder *b, const struct tensor *tensor)
{
    uint64_t grain, bytes;
    const struct placement *placement = find_placement(b, tensor, &grain, &bytes);
    return (struct program_constants){.dtype = tensor->dtype,
                                      .layout = tensor->layout,
                                      .grouped = placement->grouped,
                                      .wide = tensor->layout == LAYOUT_ROWS && bytes % 16 == 0};
}

struct binding table_binding(const struct builder *b, uint32_t step)
{
    const struct region *table = &b->store->table[step];
    return (struct binding){b->store->tables.handle, table->offset, table->size, RESOURCE_CONSTANT, false};
}

/* A step without a cache binds its slot a second time: the shader's store to it is compiled out. */
struct dispatch *builder_add(struct builder *b, uint32_t output)
{
    struct schedule *schedule = b->schedule;
    schedule->dispatches = xrealloc(schedule->dispatches, (schedule->n_dispatches + 1ull) * sizeof(struct dispatch));
    struct dispatch *dispatch = &schedule->dispatches[schedule->n_dispatches++];
    *dispatch = (struct dispatch){.step = b->step};
    dispatch->bindings[0] = (struct binding){b->store->batch.handle, 0, b->store->batch.size, RESOURCE_CONSTANT, false};
    dispatch->bindings[1] = slot_binding(b, output, true);
    dispatch->bindings[2] =
        b->store->cached[output].size ? cache_binding(b, output, true) : slot_binding(b, output, true);
    return dispatch;
}

/* n workgroups, folded into two axes. */
static enum status set_groups(const struct builder *b, struct dispatch *dispatch, uint64_t n)
{
    uint64_t most = b->store->limits.max_groups;
    ASSERT(n > 0 && most > 0);
    uint64_t x = n < most ? n : most;
    if (builder_step(b)->variant == VARIANT_GROUPS_BY_X && n > 1) {
        /* Two rows of groups, though one would do; the second less than a row of the output, so that none is empty. */
        uint64_t second = n / (2ull * b->schedule->n_rows);
        x = n - (second ? second : 1) < x ? n - (second ? second : 1) : x;
    }
    uint64_t y = (n + x - 1) / x;
    if (y > b->store->device->limits.maxComputeWorkGroupCount[1] || x * y > UINT32_MAX) {
        return error_set(b->err, STATUS_DEVICE, NULL, NULL, ERROR_NO_OFFSET,
                         "%llu workgroups are more than %s can count", (unsigned long long)n,
                         b->store->device->info.name);
    }
    dispatch->groups_x = (uint32_t)x;
    dispatch->groups_y = (uint32_t)y;
    return STATUS_OK;
}

enum status builder_finish(struct builder *b, struct dispatch *dispatch, uint32_t output, const struct finish *finish)
{
    struct dispatch_params part = finish->part;
    struct program_key key = {
        .shader = finish->shader,
        .twin = finish->twin,
        .variant = finish->variant,
        .n_bindings = finish->n_bindings,
        .subgroup = finish->subgroup,
        .n_push = (uint32_t)sizeof(part) + finish->params_bytes,
        .constants = finish->constants,
    };
    ASSERT(key.n_push <= MAX_PUSH_BYTES && key.n_bindings <= DEVICE_MAX_BINDINGS);
    key.constants.cached = b->store->cached[output].size != 0;
    key.constants.native_half = b->store->device->native_half;
    part.n_rows = b->n_rows;
    memcpy(dispatch->push, &part, sizeof(part));
    memcpy(dispatch->push + sizeof(part), finish->params, finish->params_bytes);
    TRY(set_groups(b, dispatch, finish->n_groups));
    return programs_get(b->programs, &key, &dispatch->program, b->err);
}

/* Bytes of each op's parameters. */
static const uint32_t params_bytes[OP_COUNT] = {
#define X(name, inputs, weights, what) sizeof(struct name##_params),
    OPS(X)
#undef X
};

enum status builder_finish_alone(struct builder *b, struct dispatch *dispatch, const char *shader, uint32_t n_bindings,
                                 struct dispatch_params part, struct program_constants constants, uint64_t n_groups)
{
    const struct step *step = builder_step(b);
    struct finish all = {.shader = shader,
                         .variant = step->variant,
                         .n_bindings = n_bindings,
                         .part = part,
                         .params = &step->params,
                         .params_bytes = params_bytes[step->op],
                         .constants = constants,
                         .n_groups = n_groups};
    return builder_finish(b, dispatch, b->step, &all);
}

/* A slice must start at an aligned offset. */
enum status slice_rows(const struct builder *b, const struct tensor *tensor, uint64_t *rows)
{
    uint64_t limit = b->store->limits.max_binding - WEIGHT_SLACK;
    uint64_t grain, bytes, step = 1;
    const struct placement *placement = find_placement(b, tensor, &grain, &bytes);
    while (step * bytes % b->store->alignment) {
        step++; /* at most `alignment` steps */
    }
    *rows = tensor_rows(tensor);
    if (placement_bytes(placement) <= limit) {
        return STATUS_OK;
    }
    *rows = limit / (step * bytes) * step * grain;
    step *= grain;
    if (*rows) {
        return STATUS_OK;
    }
    return error_set(b->err, STATUS_DEVICE, tensor->file, tensor->stored_name, ERROR_NO_OFFSET,
                     "%llu rows take more than %s binds (%u bytes)", (unsigned long long)step,
                     b->store->device->info.name, b->store->limits.max_binding);
}
