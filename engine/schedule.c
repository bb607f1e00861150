#include "engine/schedule.h"

#include <stdlib.h>
#include <string.h>

/* llvmpipe silently stops an invocation after 65,535 loop iterations in all. */
#define CPU_MAX_ITERATIONS 60000

/* Rows of x that a matmul handles for each weight it decodes, where a batch has more than one; and rows of the matrix
 * for each x that it loads, where a lane has rows of its own. Measured on llvmpipe: 2 to 4 times as fast as 1 and 1. */
#define MATMUL_TILE 4
#define MATMUL_LANE_ROWS 4

/* A dispatch under construction. */
struct builder {
    struct schedule *schedule;
    const struct store *store;
    struct programs *programs;
    struct error *err;
    uint32_t step; /* index */
};

static uint64_t divide_up(uint64_t value, uint64_t by)
{
    return (value + by - 1) / by;
}

static const struct step *current(const struct builder *b)
{
    return &b->store->plan->steps[b->step];
}

static bool uses_cpu_shapes(const struct builder *b)
{
    return b->store->device->is_cpu;
}

static struct binding slot_binding(const struct builder *b, uint32_t step, bool write)
{
    const struct region *slot = &b->schedule->slots[step];
    return (struct binding){b->store->arena.handle, slot->offset, slot->size, (int32_t)(2 * step), write};
}

static struct binding cache_binding(const struct builder *b, uint32_t step, bool write)
{
    const struct region *region = &b->store->cached[step];
    return (struct binding){b->store->cache.handle, region->offset, region->size, (int32_t)(2 * step + 1), write};
}

/* Rows [first, first + count) of a tensor. The range reaches into the slack behind: shaders read whole words. */
static struct binding weight_binding(const struct builder *b, const struct tensor *tensor, uint64_t first,
                                     uint64_t count)
{
    const struct placement *placement = weights_find(&b->store->weights, tensor);
    ASSERT(placement);
    uint64_t grain, bytes;
    tensor_grain(tensor, &grain, &bytes);
    ASSERT(first % grain == 0);
    return (struct binding){
        .buffer = b->store->weights.blocks[placement->block].handle,
        .offset = placement->offset + first / grain * bytes,
        .range = align_up(divide_up(count, grain) * bytes, 4) + 4,
        .resource = RESOURCE_CONSTANT,
    };
}

/* The dispatch's bindings 0 to 2: batch, slot, cache. A step without a cache binds its slot a second time: the shader's
 * store to it is compiled out. */
static struct dispatch *add_dispatch(struct builder *b)
{
    struct schedule *schedule = b->schedule;
    schedule->dispatches = xrealloc(schedule->dispatches, (schedule->n_dispatches + 1ull) * sizeof(struct dispatch));
    struct dispatch *dispatch = &schedule->dispatches[schedule->n_dispatches++];
    *dispatch = (struct dispatch){.first_step = b->step, .n_steps = 1};
    dispatch->bindings[0] = (struct binding){b->store->batch.handle, 0, b->store->batch.size, RESOURCE_CONSTANT, false};
    dispatch->bindings[1] = slot_binding(b, b->step, true);
    dispatch->bindings[2] =
        b->store->cached[b->step].size ? cache_binding(b, b->step, true) : slot_binding(b, b->step, true);
    return dispatch;
}

/* n workgroups, folded into two axes. */
static enum status set_groups(const struct builder *b, struct dispatch *dispatch, uint64_t n)
{
    uint64_t most = b->store->limits.max_groups;
    ASSERT(n > 0 && most > 0);
    uint64_t x = n < most ? n : most, y = (n + x - 1) / x;
    if (y > b->store->device->limits.maxComputeWorkGroupCount[1] || x * y > UINT32_MAX)
        return error_set(b->err, STATUS_DEVICE, NULL, NULL, ERROR_NO_OFFSET,
                         "%llu workgroups are more than %s can count", (unsigned long long)n,
                         b->store->device->info.name);
    dispatch->groups_x = (uint32_t)x;
    dispatch->groups_y = (uint32_t)y;
    return STATUS_OK;
}

/* Bytes of each op's parameters. */
static const uint32_t params_bytes[OP_COUNT] = {
#define X(name, inputs, weights, what) sizeof(struct name##_params),
    OPS(X)
#undef X
};

/* Program, push constants and workgroups: what remains when the bindings are there. */
static enum status finish(struct builder *b, struct dispatch *dispatch, const char *shader, uint32_t n_bindings,
                          struct dispatch_params part, struct program_constants constants, uint64_t n_groups)
{
    const struct step *step = current(b);
    constants.cached = b->store->cached[b->step].size != 0;
    struct program_key key = {
        .shader = shader,
        .variant = step->variant,
        .n_bindings = n_bindings,
        .n_push = (uint32_t)sizeof(part) + params_bytes[step->op],
        .constants = constants,
    };
    ASSERT(key.n_push <= MAX_PUSH_BYTES);
    part.n_rows = b->schedule->n_rows;
    memcpy(dispatch->push, &part, sizeof(part));
    memcpy(dispatch->push + sizeof(part), &step->params, params_bytes[step->op]);
    TRY(set_groups(b, dispatch, n_groups));
    return programs_get(b->programs, &key, &dispatch->program, b->err);
}

/* Ops with a lane an element, or a pair: inputs from binding 3 on, then nothing or a table. */
static enum status add_elementwise(struct builder *b, uint32_t n_inputs, uint64_t lanes_per_row)
{
    const struct step *step = current(b);
    struct dispatch *dispatch = add_dispatch(b);
    uint32_t n = 3;
    for (uint32_t i = 0; i < n_inputs; i++)
        dispatch->bindings[n++] = slot_binding(b, (uint32_t)step->input[i], false);
    if (step->op == OP_rope) {
        const struct region *table = &b->store->table[b->step];
        dispatch->bindings[n++] =
            (struct binding){b->store->tables.handle, table->offset, table->size, RESOURCE_CONSTANT, false};
    }
    struct program_constants constants = {.local_size = 64};
    return finish(b, dispatch, op_info(step->op)->name, n, (struct dispatch_params){0}, constants,
                  divide_up(b->schedule->n_rows * lanes_per_row, constants.local_size));
}

/* How many rows of a matrix one binding holds; a slice must start at an aligned offset. */
static enum status slice_rows(const struct builder *b, const struct tensor *tensor, uint64_t *rows)
{
    uint64_t limit = b->store->limits.max_binding - WEIGHT_SLACK;
    uint64_t grain, bytes, step = 1;
    tensor_grain(tensor, &grain, &bytes);
    while (step * bytes % b->store->alignment)
        step++; /* at most `alignment` steps */
    *rows = tensor_rows(tensor);
    if (tensor->n_bytes <= limit)
        return STATUS_OK;
    *rows = limit / (step * bytes) * step * grain;
    step *= grain;
    if (*rows)
        return STATUS_OK;
    return error_set(b->err, STATUS_DEVICE, tensor->file, tensor->stored_name, ERROR_NO_OFFSET,
                     "%llu rows take more than %s binds (%u bytes)", (unsigned long long)step,
                     b->store->device->info.name, b->store->limits.max_binding);
}

static enum status add_embed(struct builder *b)
{
    const struct step *step = current(b);
    const struct tensor *table = step->weight[0];
    uint64_t slice;
    TRY(slice_rows(b, table, &slice));
    for (uint64_t first = 0; first < tensor_rows(table); first += slice) {
        uint64_t rest = tensor_rows(table) - first, count = rest < slice ? rest : slice;
        struct dispatch *dispatch = add_dispatch(b);
        dispatch->bindings[3] = weight_binding(b, table, first, count);
        struct program_constants constants = {.local_size = 64, .dtype = table->dtype, .layout = table->layout};
        TRY(finish(b, dispatch, "embed", 4,
                   (struct dispatch_params){.first = (uint32_t)first, .count = (uint32_t)count}, constants,
                   divide_up((uint64_t)b->schedule->n_rows * step->width, constants.local_size)));
    }
    return STATUS_OK;
}

static enum status add_rms_norm(struct builder *b)
{
    const struct step *step = current(b);
    struct dispatch *dispatch = add_dispatch(b);
    dispatch->bindings[3] = slot_binding(b, (uint32_t)step->input[0], false);
    dispatch->bindings[4] = weight_binding(b, step->weight[0], 0, 1);
    struct program_constants constants = {.local_size = uses_cpu_shapes(b) ? 32 : 128, .dtype = step->weight[0]->dtype};
    return finish(b, dispatch, "rms_norm", 5, (struct dispatch_params){0}, constants,
                  (uint64_t)b->schedule->n_rows * step->params.rms_norm.groups);
}

static bool wants_lanes(const struct builder *b)
{
    return b->store->limits.matmul == MATMUL_LANE || (b->store->limits.matmul == MATMUL_CHOSEN && uses_cpu_shapes(b));
}

/* A lane's loop: units of 8 where it can, else elements: those that no whole span of units holds, 128 of them at most;
 * see matmul.glsl. */
static enum status check_matmul_loop(const struct builder *b)
{
    uint32_t n_in = current(b)->params.matmul.n_in;
    bool by_element =
        current(b)->variant == VARIANT_TRANSPOSE_B || n_in % 4 != 0 || current(b)->weight[0]->layout != LAYOUT_ROWS;
    uint64_t iterations = by_element ? n_in : n_in / 8 + n_in % 128; /* the loops inside are unrolled */
    if (!uses_cpu_shapes(b) || iterations <= CPU_MAX_ITERATIONS)
        return STATUS_OK;
    return error_set(b->err, STATUS_BAD_INPUT, NULL, NULL, ERROR_NO_OFFSET,
                     "a matrix row of %u values needs longer loops than %s runs", n_in, b->store->device->info.name);
}

static enum status add_matmul(struct builder *b)
{
    const struct step *step = current(b);
    const struct tensor *matrix = step->weight[0], *bias = step->weight[1];
    bool lanes = wants_lanes(b);
    uint64_t slice;
    TRY(check_matmul_loop(b));
    TRY(slice_rows(b, matrix, &slice));
    if (bias && dtype_info(bias->dtype)->block_elems != 1)
        return error_set(b->err, STATUS_BAD_INPUT, bias->file, bias->stored_name, ERROR_NO_OFFSET,
                         "a bias is %s, expected F32, F16 or BF16", dtype_info(bias->dtype)->name);
    if (step->variant == VARIANT_TRANSPOSE_B && slice < tensor_rows(matrix))
        return error_set(b->err, STATUS_BAD_INPUT, matrix->file, matrix->stored_name, ERROR_NO_OFFSET,
                         "is too large to be read transposed on %s", b->store->device->info.name);
    struct program_constants constants = {
        .local_size = lanes ? 8 : 64,
        .dtype = matrix->dtype,
        .bias_dtype = bias ? bias->dtype : DTYPE_F32,
        .tile = b->schedule->n_rows > 1 ? MATMUL_TILE : 1,
        .rows = lanes ? MATMUL_LANE_ROWS : 1,
        .layout = matrix->layout,
    };
    uint64_t rows_a_group = lanes ? constants.local_size * constants.rows : constants.rows;
    for (uint64_t first = 0; first < tensor_rows(matrix); first += slice) {
        uint64_t rest = tensor_rows(matrix) - first, count = rest < slice ? rest : slice;
        struct dispatch *dispatch = add_dispatch(b);
        dispatch->bindings[3] = slot_binding(b, (uint32_t)step->input[0], false);
        dispatch->bindings[3].range =
            align_up(dispatch->bindings[3].range, 16); /* read as vec4; slots are so far apart */
        dispatch->bindings[4] = weight_binding(b, matrix, first, count);
        dispatch->bindings[5] = bias ? weight_binding(b, bias, 0, tensor_rows(bias)) : dispatch->bindings[4];
        TRY(finish(b, dispatch, lanes ? "matmul" : "matmul_reduce", 6,
                   (struct dispatch_params){.first = (uint32_t)first, .count = (uint32_t)count}, constants,
                   divide_up(count, rows_a_group) * divide_up(b->schedule->n_rows, constants.tile)));
    }
    return STATUS_OK;
}

static enum status add_attention(struct builder *b)
{
    const struct step *step = current(b);
    const struct attention_params *op = &step->params.attention;
    uint32_t lanes = 32;
    while (lanes < op->dim && lanes < 256 && lanes * 2 <= b->store->device->limits.maxComputeWorkGroupInvocations)
        lanes *= 2;
    /* Of one invocation: scores, four elements an iteration; values, four keys an iteration; reductions, a chunk of 256
     * keys. See attention.comp. */
    uint64_t keys = op->window && op->window < b->store->max_positions ? op->window : b->store->max_positions;
    uint64_t iterations =
        divide_up(keys, lanes) * (op->dim / 4 + 4) + divide_up(op->dim, lanes) * (keys / 4 + 4) + keys / 8;
    if (uses_cpu_shapes(b) && iterations > CPU_MAX_ITERATIONS)
        return error_set(b->err, STATUS_BAD_INPUT, NULL, NULL, ERROR_NO_OFFSET,
                         "attention over %llu positions needs longer loops than %s runs", (unsigned long long)keys,
                         b->store->device->info.name);
    struct dispatch *dispatch = add_dispatch(b);
    dispatch->bindings[3] = slot_binding(b, (uint32_t)step->input[0], false);
    dispatch->bindings[4] = cache_binding(b, (uint32_t)step->input[1], false);
    dispatch->bindings[5] = cache_binding(b, (uint32_t)step->input[2], false);
    const struct tensor *sinks = step->weight[0];
    dispatch->bindings[6] = sinks ? weight_binding(b, sinks, 0, 1) : dispatch->bindings[3];
    struct program_constants constants = {
        .local_size = lanes, .bias_dtype = sinks ? sinks->dtype : DTYPE_F32, .head_dim = op->dim};
    return finish(b, dispatch, "attention", 7, (struct dispatch_params){0}, constants,
                  (uint64_t)b->schedule->n_rows * op->heads);
}

/* Slices of [experts, n_out] rows, as of any matrix; each dispatch does the outputs that its slice holds. */
static enum status add_expert_matmul(struct builder *b)
{
    const struct step *step = current(b);
    const struct expert_matmul_params *op = &step->params.expert_matmul;
    const struct tensor *matrix = step->weight[0], *bias = step->weight[1];
    uint64_t slice, n_rows = tensor_rows(matrix);
    TRY(slice_rows(b, matrix, &slice));
    if (uses_cpu_shapes(b) && op->n_in / 8 + 128 > CPU_MAX_ITERATIONS)
        return error_set(b->err, STATUS_BAD_INPUT, matrix->file, matrix->stored_name, ERROR_NO_OFFSET,
                         "a matrix row of %u values needs longer loops than %s runs", op->n_in,
                         b->store->device->info.name);
    struct program_constants constants = {.local_size = uses_cpu_shapes(b) ? 8 : 64,
                                          .dtype = matrix->dtype,
                                          .bias_dtype = bias->dtype,
                                          .layout = matrix->layout};
    for (uint64_t first = 0; first < n_rows; first += slice) {
        uint64_t count = n_rows - first < slice ? n_rows - first : slice;
        struct dispatch *dispatch = add_dispatch(b);
        dispatch->bindings[3] = slot_binding(b, (uint32_t)step->input[0], false);
        dispatch->bindings[4] = slot_binding(b, (uint32_t)step->input[1], false);
        dispatch->bindings[5] = weight_binding(b, matrix, first, count);
        dispatch->bindings[6] = weight_binding(b, bias, 0, tensor_rows(bias));
        TRY(finish(b, dispatch, "expert_matmul", 7,
                   (struct dispatch_params){.first = (uint32_t)first, .count = (uint32_t)count}, constants,
                   b->schedule->n_rows * op->k * divide_up(op->n_out, constants.local_size)));
    }
    return STATUS_OK;
}

/* A lane a row, that looks at all n values for each of the k. */
static enum status add_topk(struct builder *b, uint32_t n, uint32_t k)
{
    if (uses_cpu_shapes(b) && 2 * (uint64_t)k * (n + 1) > CPU_MAX_ITERATIONS)
        return error_set(b->err, STATUS_BAD_INPUT, NULL, NULL, ERROR_NO_OFFSET,
                         "the %u largest of %u values need longer loops than %s runs", k, n,
                         b->store->device->info.name);
    return add_elementwise(b, 1, 1);
}

static enum status add_step(struct builder *b)
{
    const struct step *step = current(b);
    switch (step->op) {
    case OP_embed:
        return add_embed(b);
    case OP_rms_norm:
        return add_rms_norm(b);
    case OP_matmul:
        return add_matmul(b);
    case OP_rope:
        return add_elementwise(b, 1, step->width / 2);
    case OP_attention:
        return add_attention(b);
    case OP_expert_matmul:
        return add_expert_matmul(b);
    case OP_topk:
        return add_topk(b, step->params.topk.n, step->params.topk.k);
    case OP_topk_softmax:
        return add_topk(b, step->params.topk_softmax.n, step->params.topk_softmax.k);
    case OP_glu:
    case OP_add:
    case OP_expert_sum:
        return add_elementwise(b, 2, step->width);
    case OP_softcap:
    case OP_swiglu:
        return add_elementwise(b, 1, step->width);
    case OP_COUNT:
        break;
    }
    ASSERT(!"a plan's ops are the table's");
    return STATUS_BAD_INPUT;
}

enum status schedule_build(struct schedule *schedule, const struct store *store, struct programs *programs,
                           uint32_t n_rows, struct error *err)
{
    *schedule = (struct schedule){.n_rows = n_rows};
    schedule->slots = xcalloc(store->plan->n_steps, sizeof(*schedule->slots));
    schedule->arena_bytes = store_slots(store, n_rows, schedule->slots);
    struct builder b = {schedule, store, programs, err, 0};
    enum status status = STATUS_OK;
    for (; b.step < store->plan->n_steps && status == STATUS_OK; b.step++)
        status = add_step(&b);
    if (status != STATUS_OK)
        schedule_free(schedule);
    return status;
}

void schedule_free(struct schedule *schedule)
{
    free(schedule->dispatches);
    free(schedule->slots);
    *schedule = (struct schedule){0};
}
