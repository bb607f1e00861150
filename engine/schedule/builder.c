#include "engine/schedule/builder.h"

#include <string.h>

struct binding slot_binding(const struct builder *b, uint32_t step, bool write)
{
    const struct region *whole = &b->schedule->slots[step];
    const struct step *s = &b->buffers->plan->steps[step];
    VkDeviceSize n_rows = buffers_step_rows(b->buffers, step, b->schedule->n_rows), row = s->width * sizeof(float);
    VkDeviceSize skip = n_rows > b->n_rows ? (n_rows - b->n_rows) * row : 0;
    uint32_t owner = s->tamper.how == TAMPER_SHARED_SLOT ? (uint32_t)s->tamper.with : step;
    return (struct binding){
        .buffer = b->buffers->arena.handle,
        .offset = whole->offset + skip,
        .range = whole->size - skip,
        .resource = (int32_t)(2 * owner),
        .write = write,
    };
}

struct binding slot_vec4_binding(const struct builder *b, uint32_t step)
{
    struct binding binding = slot_binding(b, step, false);
    binding.range = align_up(binding.range, 16);
    return binding;
}

struct binding cache_binding(const struct builder *b, uint32_t step, bool write)
{
    const struct region *region = &b->buffers->cached[step];
    return (struct binding){b->buffers->cache.handle, region->offset, region->size, (int32_t)(2 * step + 1), write};
}

/* Where a tensor lies. *grain, *bytes: its smallest run of rows that begins and ends between blocks. */
static const struct placement *find_placement(const struct builder *b, const struct tensor *tensor, uint64_t *grain,
                                              uint64_t *bytes)
{
    const struct placement *placement = weights_find(&b->buffers->weights, tensor);
    ASSERT(placement);
    placement_grain(placement, grain, bytes);
    return placement;
}

struct binding weight_binding(const struct builder *b, const struct tensor *tensor, uint64_t first, uint64_t count)
{
    uint64_t grain, bytes;
    const struct placement *placement = find_placement(b, tensor, &grain, &bytes);
    ASSERT(first % grain == 0);
    return (struct binding){
        .buffer = b->buffers->weights.blocks[placement->block].handle,
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

struct binding rope_table_binding(const struct builder *b, uint32_t step)
{
    const struct rope_tables *tables = &b->buffers->rope_tables;
    const struct region *table = &tables->region[step];
    return (struct binding){tables->buffer.handle, table->offset, table->size, RESOURCE_CONSTANT, false};
}

/* A step that is not in the cache binds its slot twice: its shader is compiled without the store to the cache. */
struct dispatch *builder_add(struct builder *b, uint32_t output)
{
    struct dispatch *dispatch = schedule_append(b->schedule);
    dispatch->step = b->step;
    dispatch->bindings[0] =
        (struct binding){b->buffers->batch.handle, 0, b->buffers->batch.size, RESOURCE_CONSTANT, false};
    dispatch->bindings[1] = slot_binding(b, output, true);
    dispatch->bindings[2] =
        b->buffers->cached[output].size ? cache_binding(b, output, true) : slot_binding(b, output, true);
    return dispatch;
}

/* Sets n workgroups, folded into the x and y axes. */
static enum status set_groups(const struct builder *b, struct dispatch *dispatch, uint64_t n)
{
    uint64_t most = b->buffers->limits.max_groups;
    ASSERT(n > 0 && most > 0);
    uint64_t x = n < most ? n : most;
    if (builder_step(b)->variant == VARIANT_GROUPS_BY_X && n > 1) {
        /* This fault needs two rows of workgroups. The second one computes less than a row of the output, so that every
         * output row has some workgroups in the first. */
        uint64_t second = n / (2ull * b->schedule->n_rows);
        x = n - (second ? second : 1) < x ? n - (second ? second : 1) : x;
    }
    uint64_t y = (n + x - 1) / x;
    if (y > b->buffers->device->limits.maxComputeWorkGroupCount[1] || x * y > UINT32_MAX) {
        return error_set(b->err, STATUS_DEVICE, NULL, NULL, ERROR_NO_OFFSET,
                         "%llu workgroups are more than %s can count", (unsigned long long)n,
                         b->buffers->device->info.name);
    }
    dispatch->groups_x = (uint32_t)x;
    dispatch->groups_y = (uint32_t)y;
    return STATUS_OK;
}

enum status builder_finish(struct builder *b, struct dispatch *dispatch, uint32_t output,
                           const struct dispatch_desc *desc)
{
    struct dispatch_params part = desc->part;
    struct program_key key = {
        .shader = desc->shader,
        .twin = desc->twin,
        .variant = desc->variant,
        .n_bindings = desc->n_bindings,
        .subgroup = desc->subgroup,
        .n_push = (uint32_t)sizeof(part) + desc->params_bytes,
        .constants = desc->constants,
    };
    ASSERT(key.n_push <= MAX_PUSH_BYTES && key.n_bindings <= VULKAN_MAX_BINDINGS);
    key.constants.cached = b->buffers->cached[output].size != 0;
    key.constants.native_half = b->buffers->device->native_half;
    part.n_rows = b->n_rows;
    memcpy(dispatch->push, &part, sizeof(part));
    memcpy(dispatch->push + sizeof(part), desc->params, desc->params_bytes);
    TRY(set_groups(b, dispatch, desc->n_groups));
    dispatch->shader = desc->shader;
    return b->programs ? programs_get(b->programs, &key, &dispatch->program, b->err) : STATUS_OK;
}

/* Bytes of each op's parameters. */
static const uint32_t params_bytes[OP_COUNT] = {
#define X(name, inputs, weights, what) sizeof(struct name##_params),
    OPS(X)
#undef X
};

enum status builder_finish_step(struct builder *b, struct dispatch *dispatch, struct dispatch_desc desc)
{
    const struct step *step = builder_step(b);
    desc.variant = step->variant;
    desc.params = &step->params;
    desc.params_bytes = params_bytes[step->op];
    return builder_finish(b, dispatch, b->step, &desc);
}

enum status builder_slice_rows(const struct builder *b, const struct tensor *tensor, uint64_t *rows)
{
    uint64_t limit = b->buffers->limits.max_binding - WEIGHT_SLACK;
    uint64_t grain, bytes, step = 1;
    const struct placement *placement = find_placement(b, tensor, &grain, &bytes);
    while (step * bytes % b->buffers->alignment) {
        step++; /* a slice must start at an aligned offset; `alignment` steps are enough */
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
                     b->buffers->device->info.name, b->buffers->limits.max_binding);
}

bool builder_can_matvec(const struct builder *b)
{
    const VkPhysicalDeviceLimits *limits = &b->buffers->device->limits;
    return b->schedule->n_rows == 1 && limits->maxComputeWorkGroupInvocations >= 2 * MATVEC_LANES &&
           limits->maxComputeWorkGroupSize[0] >= 2 * MATVEC_LANES &&
           limits->maxComputeSharedMemorySize >= MATVEC_SHARED_BYTES;
}

bool builder_uses_matvec(const struct builder *b)
{
    return builder_can_matvec(b) && buffers_decode_as_gpu(b->buffers);
}

uint32_t builder_norm_lanes(const struct builder *b, uint32_t dim)
{
    if (builder_uses_matvec(b)) {
        return MATVEC_LANES; /* as the prologues of matvec.comp and attention_part.comp */
    }
    if (builder_is_cpu(b)) {
        return 8;
    }
    uint32_t lanes = 64;
    while (lanes * 4 < dim && lanes < 512 && lanes * 2 <= b->buffers->device->limits.maxComputeWorkGroupInvocations) {
        lanes *= 2;
    }
    return lanes;
}
