#include "engine/build.h"

#include <stdlib.h>
#include <string.h>

/* llvmpipe silently stops an invocation after 65,535 loop iterations in all. */
#define CPU_MAX_ITERATIONS 60000

/* Rows of x that a matmul handles for each weight it decodes, where a batch has more than one; and rows of the matrix
 * for each x that it loads, where a lane has rows of its own: a load is a loop over the lanes on llvmpipe. Measured
 * there: 2 to 4 times as fast as 1 and 1; and 8 of both 1.5 times as fast as 4 of both, but a driver takes a second for
 * such a program, so that short prompts are better off without. */
#define MATMUL_TILE 4
#define MATMUL_LANE_ROWS 4
#define MATMUL_MANY 8 /* of both, from so many rows: */
#define MATMUL_MANY_ROWS 16

static bool uses_cpu_shapes(const struct builder *b)
{
    return b->store->device->is_cpu;
}

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

/* Rows [first, first + count) of a tensor. The range reaches into the slack behind: shaders read whole words. */
struct binding weight_binding(const struct builder *b, const struct tensor *tensor, uint64_t first, uint64_t count)
{
    const struct placement *placement = weights_find(&b->store->weights, tensor);
    ASSERT(placement);
    uint64_t grain, bytes;
    placement_grain(placement, &grain, &bytes);
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
    const struct placement *placement = weights_find(&b->store->weights, tensor);
    ASSERT(placement);
    placement_grain(placement, &grain, &bytes);
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

static struct dispatch *add_dispatch(struct builder *b)
{
    return builder_add(b, b->step);
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

/* A dispatch that runs the current step alone. */
static enum status finish(struct builder *b, struct dispatch *dispatch, const char *shader, uint32_t n_bindings,
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

/* Ops with a lane an element, or a pair: inputs from binding 3 on, then nothing or a table. */
static enum status add_elementwise(struct builder *b, uint32_t n_inputs, uint64_t lanes_per_row)
{
    const struct step *step = builder_step(b);
    struct dispatch *dispatch = add_dispatch(b);
    uint32_t n = 3;
    for (uint32_t i = 0; i < n_inputs; i++)
        dispatch->bindings[n++] = slot_binding(b, (uint32_t)step->input[i], false);
    if (step->op == OP_rope)
        dispatch->bindings[n++] = table_binding(b, b->step);
    struct program_constants constants = {.local_size = 64};
    return finish(b, dispatch, op_info(step->op)->name, n, (struct dispatch_params){0}, constants,
                  divide_up(b->n_rows * lanes_per_row, constants.local_size));
}

/* A slice must start at an aligned offset. */
enum status slice_rows(const struct builder *b, const struct tensor *tensor, uint64_t *rows)
{
    uint64_t limit = b->store->limits.max_binding - WEIGHT_SLACK;
    uint64_t grain, bytes, step = 1;
    const struct placement *placement = weights_find(&b->store->weights, tensor);
    ASSERT(placement);
    placement_grain(placement, &grain, &bytes);
    while (step * bytes % b->store->alignment)
        step++; /* at most `alignment` steps */
    *rows = tensor_rows(tensor);
    if (placement_bytes(placement) <= limit)
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
    const struct step *step = builder_step(b);
    const struct tensor *table = step->weight[0];
    uint64_t slice;
    TRY(slice_rows(b, table, &slice));
    for (uint64_t first = 0; first < tensor_rows(table); first += slice) {
        uint64_t rest = tensor_rows(table) - first, count = rest < slice ? rest : slice;
        struct dispatch *dispatch = add_dispatch(b);
        dispatch->bindings[3] = weight_binding(b, table, first, count);
        struct program_constants constants = weight_constants(b, table);
        constants.local_size = 64;
        TRY(finish(b, dispatch, "embed", 4,
                   (struct dispatch_params){.first = (uint32_t)first, .count = (uint32_t)count}, constants,
                   divide_up((uint64_t)b->n_rows * step->width, constants.local_size)));
    }
    return STATUS_OK;
}

uint32_t norm_lanes(const struct builder *b, uint32_t dim)
{
    if (uses_matvec(b))
        return MATVEC_LANES; /* as in the prologues of matvec.comp and attention_part.comp */
    uint32_t lanes = uses_cpu_shapes(b) ? 8 : 64;
    while (!uses_cpu_shapes(b) && lanes * 4 < dim && lanes < 512 &&
           lanes * 2 <= b->store->device->limits.maxComputeWorkGroupInvocations)
        lanes *= 2;
    return lanes;
}

static enum status add_rms_norm(struct builder *b)
{
    const struct step *step = builder_step(b);
    struct dispatch *dispatch = add_dispatch(b);
    dispatch->bindings[3] = slot_binding(b, (uint32_t)step->input[0], false);
    dispatch->bindings[4] = weight_binding(b, step->weight[0], 0, 1);
    struct program_constants constants = {.local_size = norm_lanes(b, step->params.rms_norm.dim),
                                          .dtype = step->weight[0]->dtype,
                                          .by_four = uses_matvec(b) && step->params.rms_norm.groups == 1 &&
                                                     step->params.rms_norm.dim % 4 == 0 &&
                                                     step->params.rms_norm.dim <= MATVEC_NORM_MOST};
    return finish(b, dispatch, "rms_norm", 5, (struct dispatch_params){0}, constants,
                  (uint64_t)b->n_rows * step->params.rms_norm.groups);
}

static bool wants_lanes(const struct builder *b)
{
    return b->store->limits.matmul == MATMUL_LANE || (b->store->limits.matmul == MATMUL_CHOSEN && uses_cpu_shapes(b));
}

/* A lane's loop: units of 8 where it can, else elements: those that no whole span of units holds, 128 of them at most;
 * see matmul.glsl. */
static enum status check_matmul_loop(const struct builder *b)
{
    uint32_t n_in = builder_step(b)->params.matmul.n_in;
    bool by_element =
        builder_step(b)->variant != VARIANT_NONE || n_in % 4 != 0 || builder_step(b)->weight[0]->layout != LAYOUT_ROWS;
    uint64_t iterations = by_element ? n_in : n_in / 8 + n_in % 128; /* the loops inside are unrolled */
    if (!uses_cpu_shapes(b) || iterations <= CPU_MAX_ITERATIONS)
        return STATUS_OK;
    return error_set(b->err, STATUS_BAD_INPUT, NULL, NULL, ERROR_NO_OFFSET,
                     "a matrix row of %u values needs longer loops than %s runs", n_in, b->store->device->info.name);
}

/* Lanes, and rows of the matrix, that a workgroup has of one product. */
static void choose_shape(const struct builder *b, const struct matmul *matmul, bool lanes,
                         struct program_constants *constants)
{
    uint64_t n_out = tensor_rows(matmul->matrix), n_in = tensor_row_elems(matmul->matrix);
    uint32_t subgroup = b->store->device->info.subgroup;
    constants->tile = b->n_rows > 1 ? MATMUL_TILE : 1;
    bool by_rows = matmul->matrix->layout == LAYOUT_ROWS;
    constants->by_block = lanes && by_rows && n_in % 32 == 0;
    if (lanes) {
        bool many = b->n_rows >= MATMUL_MANY_ROWS;
        constants->local_size = 8;
        constants->rows = many ? MATMUL_MANY : MATMUL_LANE_ROWS;
        constants->tile = many ? MATMUL_MANY : constants->tile;
        constants->wide = 0;
        return;
    }
    /* A short row is one subgroup's, without a barrier; a long one keeps four busy. Enough groups must remain to fill
     * the device. The choice is by the matrix alone, so that prefill, decode and slices sum in one order. */
    constants->local_size = subgroup < 32 || subgroup > 64 ? 64 : subgroup;
    if (n_in >= 4096)
        constants->local_size *= 4;
    constants->rows = (n_out >= 32768 ? 4 : n_out >= 16384 ? 2 : 1) * matmul->matrices;
}

enum status builder_matmul(struct builder *b, const struct matmul *matmul)
{
    const struct tensor *matrix = matmul->matrix, *bias = matmul->bias;
    bool lanes = wants_lanes(b);
    uint64_t slice;
    TRY(slice_rows(b, matrix, &slice));
    if (bias && dtype_info(bias->dtype)->block_elems != 1)
        return error_set(b->err, STATUS_BAD_INPUT, bias->file, bias->stored_name, ERROR_NO_OFFSET,
                         "a bias is %s, expected F32, F16 or BF16", dtype_info(bias->dtype)->name);
    if (matmul->variant == VARIANT_TRANSPOSE_B && slice < tensor_rows(matrix))
        return error_set(b->err, STATUS_BAD_INPUT, matrix->file, matrix->stored_name, ERROR_NO_OFFSET,
                         "is too large to be read transposed on %s", b->store->device->info.name);
    if (prefill_has_matmul(b, matmul))
        return prefill_matmul(b, matmul, slice);
    struct program_constants constants = weight_constants(b, matrix);
    constants.bias_dtype = bias ? bias->dtype : DTYPE_F32;
    choose_shape(b, matmul, lanes, &constants);
    uint64_t outputs_a_group = (lanes ? constants.local_size * constants.rows : constants.rows) / matmul->matrices;
    for (uint64_t first = 0; first < tensor_rows(matrix); first += slice) {
        uint64_t rest = tensor_rows(matrix) - first, count = rest < slice ? rest : slice;
        struct dispatch *dispatch = builder_add(b, matmul->output);
        struct binding *bindings = dispatch->bindings;
        bindings[3] = slot_binding(b, (uint32_t)matmul->input, false);
        bindings[3].range = align_up(bindings[3].range, 16); /* read as vec4; slots are so far apart */
        bindings[4] = weight_binding(b, matrix, first, count);
        bindings[4].range += matmul->more_bytes;
        bindings[5] = bias ? weight_binding(b, bias, 0, tensor_rows(bias)) : bindings[4];
        for (uint32_t i = 0; i < matmul->n_more; i++)
            bindings[6 + i] = matmul->more[i];
        struct finish all = {
            .shader = lanes ? matmul->lane_shader : matmul->reduce_shader,
            .variant = matmul->variant,
            .n_bindings = 6 + matmul->n_more,
            .part = {.first = (uint32_t)first, .count = (uint32_t)count},
            .params = matmul->params,
            .params_bytes = matmul->params_bytes,
            .constants = constants,
            .n_groups = divide_up(count, outputs_a_group) * divide_up(b->n_rows, constants.tile),
        };
        TRY(builder_finish(b, dispatch, matmul->output, &all));
    }
    return STATUS_OK;
}

static enum status add_matmul(struct builder *b)
{
    const struct step *step = builder_step(b);
    bool done;
    TRY(matvec_alone(b, &done));
    if (done)
        return STATUS_OK;
    TRY(check_matmul_loop(b));
    struct matmul matmul = {
        .lane_shader = "matmul",
        .reduce_shader = "matmul_reduce",
        .matrix = step->weight[0],
        .bias = step->weight[1],
        .input = step->input[0],
        .output = b->step,
        .variant = step->variant,
        .matrices = 1,
        .params = &step->params,
        .params_bytes = sizeof(struct matmul_params),
    };
    return builder_matmul(b, &matmul);
}

static enum status add_attention(struct builder *b)
{
    const struct step *step = builder_step(b);
    const struct attention_params *op = &step->params.attention;
    bool done;
    TRY(parts_alone(b, &done));
    if (done)
        return STATUS_OK;
    uint32_t lanes = 8; /* one subgroup of llvmpipe's: it waits long at barriers between several */
    uint32_t least = uses_cpu_shapes(b) ? b->store->max_positions / 512 : op->dim;
    while (lanes < least && lanes < 256 && lanes * 2 <= b->store->device->limits.maxComputeWorkGroupInvocations)
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
    if (prefill_has_attention(b, op)) {
        constants.local_size = PREFILL_ATTENTION_LANES;
        return finish(b, dispatch, "attention_tile", 7, (struct dispatch_params){0}, constants,
                      divide_up(b->n_rows, PREFILL_ATTENTION_ROWS) * op->heads);
    }
    return finish(b, dispatch, "attention", 7, (struct dispatch_params){0}, constants, (uint64_t)b->n_rows * op->heads);
}

/* Slices of [experts, n_out] rows, as of any matrix; each dispatch does the outputs that its slice holds. */
static enum status add_expert_matmul(struct builder *b)
{
    const struct step *step = builder_step(b);
    const struct expert_matmul_params *op = &step->params.expert_matmul;
    const struct tensor *matrix = step->weight[0], *bias = step->weight[1];
    uint64_t slice, n_rows = tensor_rows(matrix);
    TRY(slice_rows(b, matrix, &slice));
    if (uses_cpu_shapes(b) && op->n_in / 8 + 128 > CPU_MAX_ITERATIONS)
        return error_set(b->err, STATUS_BAD_INPUT, matrix->file, matrix->stored_name, ERROR_NO_OFFSET,
                         "a matrix row of %u values needs longer loops than %s runs", op->n_in,
                         b->store->device->info.name);
    bool lanes = wants_lanes(b);
    uint32_t subgroup = b->store->device->info.subgroup;
    struct program_constants constants = {.local_size = lanes                            ? 8
                                                        : subgroup < 32 || subgroup > 64 ? 64
                                                                                         : subgroup,
                                          .dtype = matrix->dtype,
                                          .bias_dtype = bias->dtype,
                                          .layout = matrix->layout};
    uint64_t groups = lanes ? divide_up(op->n_out, constants.local_size) : op->n_out; /* of a row and slot */
    for (uint64_t first = 0; first < n_rows; first += slice) {
        uint64_t count = n_rows - first < slice ? n_rows - first : slice;
        struct dispatch *dispatch = add_dispatch(b);
        dispatch->bindings[3] = slot_binding(b, (uint32_t)step->input[0], false);
        dispatch->bindings[4] = slot_binding(b, (uint32_t)step->input[1], false);
        dispatch->bindings[5] = weight_binding(b, matrix, first, count);
        dispatch->bindings[6] = weight_binding(b, bias, 0, tensor_rows(bias));
        TRY(finish(b, dispatch, lanes ? "expert_matmul" : "expert_matmul_reduce", 7,
                   (struct dispatch_params){.first = (uint32_t)first, .count = (uint32_t)count}, constants,
                   b->n_rows * op->k * groups));
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
    const struct step *step = builder_step(b);
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
#define X(name, inputs, weights, what) case OP_##name:
        JUDGED_OPS(X) /* which nobody runs */
#undef X
    case OP_COUNT:
    case OP_END:
        break;
    }
    ASSERT(!"a plan's ops are the table's");
    return STATUS_BAD_INPUT;
}

/* The dispatches of each step alone, then those of the groups that start at it. */
static enum status build(struct builder *b)
{
    struct schedule *schedule = b->schedule;
    for (b->step = 0; b->step < b->store->plan->n_steps; b->step++) {
        struct entry *alone = &schedule->alone[b->step], *fused = &schedule->fused[b->step];
        b->n_rows = store_step_rows(b->store, b->step, schedule->n_rows);
        *alone = (struct entry){.first_dispatch = schedule->n_dispatches, .n_steps = 1};
        TRY(add_step(b));
        alone->n_dispatches = schedule->n_dispatches - alone->first_dispatch;
        fused->first_dispatch = schedule->n_dispatches;
        if (!b->store->limits.no_fusing)
            TRY(fuse_decode(b, fused));
        if (!b->store->limits.no_fusing && fused->n_steps == 0)
            TRY(fuse(b, &fused->n_steps));
        fused->n_dispatches = schedule->n_dispatches - fused->first_dispatch;
    }
    return STATUS_OK;
}

enum status schedule_build(struct schedule *schedule, const struct store *store, struct programs *programs,
                           uint32_t n_rows, const bool *captured, struct error *err)
{
    uint32_t n_steps = store->plan->n_steps;
    *schedule = (struct schedule){.n_rows = n_rows, .captured = captured};
    schedule->slots = xcalloc(n_steps, sizeof(*schedule->slots));
    schedule->alone = xcalloc(n_steps, sizeof(*schedule->alone));
    schedule->fused = xcalloc(n_steps, sizeof(*schedule->fused));
    schedule->arena_bytes = store_slots(store, n_rows, schedule->slots);
    struct builder b = {.schedule = schedule, .store = store, .programs = programs, .err = err};
    enum status status = build(&b);
    if (status == STATUS_OK)
        status = chain_build(&b);
    if (status != STATUS_OK)
        schedule_free(schedule);
    return status;
}

const struct entry *schedule_next(const struct schedule *schedule, uint32_t step, uint32_t last, bool whole)
{
    const struct entry *fused = &schedule->fused[step];
    bool fits = fused->n_dispatches && step + fused->n_steps <= last && (whole || !fused->leaves_out);
    return fits ? fused : &schedule->alone[step];
}

void schedule_free(struct schedule *schedule)
{
    free(schedule->dispatches);
    free(schedule->alone);
    free(schedule->fused);
    free(schedule->slots);
    *schedule = (struct schedule){0};
}
