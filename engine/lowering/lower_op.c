/* A step alone, as dispatches: one, or one a slice of its weight. */
#include "engine/schedule/builder.h"

/* Ops with a lane an element, or a pair: inputs from binding 3 on, then nothing or a table. */
static enum status add_elementwise(struct builder *b, uint32_t n_inputs, uint64_t lanes_per_row)
{
    const struct step *step = builder_step(b);
    struct dispatch *dispatch = builder_add(b, b->step);
    uint32_t n = 3;
    for (uint32_t i = 0; i < n_inputs; i++) {
        dispatch->bindings[n++] = slot_binding(b, (uint32_t)step->input[i], false);
    }
    if (step->op == OP_rope) {
        dispatch->bindings[n++] = table_binding(b, b->step);
    }
    struct program_constants constants = {.local_size = 64};
    return builder_finish_alone(b, dispatch, op_info(step->op)->name, n, (struct dispatch_params){0}, constants,
                                divide_up(b->n_rows * lanes_per_row, constants.local_size));
}

static enum status add_embed(struct builder *b)
{
    const struct step *step = builder_step(b);
    const struct tensor *table = step->weight[0];
    uint64_t slice;
    TRY(slice_rows(b, table, &slice));
    for (uint64_t first = 0; first < tensor_rows(table); first += slice) {
        uint64_t rest = tensor_rows(table) - first, count = rest < slice ? rest : slice;
        struct dispatch *dispatch = builder_add(b, b->step);
        dispatch->bindings[3] = weight_binding(b, table, first, count);
        struct program_constants constants = weight_constants(b, table);
        constants.local_size = 64;
        TRY(builder_finish_alone(b, dispatch, "embed", 4,
                                 (struct dispatch_params){.first = (uint32_t)first, .count = (uint32_t)count},
                                 constants, divide_up((uint64_t)b->n_rows * step->width, constants.local_size)));
    }
    return STATUS_OK;
}

uint32_t norm_lanes(const struct builder *b, uint32_t dim)
{
    if (uses_matvec(b)) {
        return MATVEC_LANES; /* as in the prologues of matvec.comp and attention_part.comp */
    }
    uint32_t lanes = uses_cpu_shapes(b) ? 8 : 64;
    while (!uses_cpu_shapes(b) && lanes * 4 < dim && lanes < 512 &&
           lanes * 2 <= b->store->device->limits.maxComputeWorkGroupInvocations) {
        lanes *= 2;
    }
    return lanes;
}

static enum status add_rms_norm(struct builder *b)
{
    const struct step *step = builder_step(b);
    struct dispatch *dispatch = builder_add(b, b->step);
    dispatch->bindings[3] = slot_binding(b, (uint32_t)step->input[0], false);
    dispatch->bindings[4] = weight_binding(b, step->weight[0], 0, 1);
    struct program_constants constants = {.local_size = norm_lanes(b, step->params.rms_norm.dim),
                                          .dtype = step->weight[0]->dtype,
                                          .by_four = uses_matvec(b) && step->params.rms_norm.groups == 1 &&
                                                     step->params.rms_norm.dim % 4 == 0 &&
                                                     step->params.rms_norm.dim <= MATVEC_NORM_MOST};
    return builder_finish_alone(b, dispatch, "rms_norm", 5, (struct dispatch_params){0}, constants,
                                (uint64_t)b->n_rows * step->params.rms_norm.groups);
}

static enum status add_attention(struct builder *b)
{
    const struct step *step = builder_step(b);
    const struct attention_params *op = &step->params.attention;
    bool done;
    TRY(parts_alone(b, &done));
    if (done) {
        return STATUS_OK;
    }
    uint32_t lanes = 8; /* one subgroup of llvmpipe's: it waits long at barriers between several */
    uint32_t least = uses_cpu_shapes(b) ? b->store->max_positions / 512 : op->dim;
    while (lanes < least && lanes < 256 && lanes * 2 <= b->store->device->limits.maxComputeWorkGroupInvocations) {
        lanes *= 2;
    }
    /* Of one invocation: scores, four elements an iteration; values, four keys an iteration; reductions, a chunk of 256
     * keys. See attention.comp. */
    uint64_t keys = op->window && op->window < b->store->max_positions ? op->window : b->store->max_positions;
    uint64_t iterations =
        divide_up(keys, lanes) * (op->dim / 4 + 4) + divide_up(op->dim, lanes) * (keys / 4 + 4) + keys / 8;
    if (uses_cpu_shapes(b) && iterations > CPU_MAX_ITERATIONS) {
        return error_set(b->err, STATUS_BAD_INPUT, NULL, NULL, ERROR_NO_OFFSET,
                         "attention over %llu positions needs longer loops than %s runs", (unsigned long long)keys,
                         b->store->device->info.name);
    }
    struct dispatch *dispatch = builder_add(b, b->step);
    dispatch->bindings[3] = slot_binding(b, (uint32_t)step->input[0], false);
    dispatch->bindings[4] = cache_binding(b, (uint32_t)step->input[1], false);
    dispatch->bindings[5] = cache_binding(b, (uint32_t)step->input[2], false);
    const struct tensor *sinks = step->weight[0];
    dispatch->bindings[6] = sinks ? weight_binding(b, sinks, 0, 1) : dispatch->bindings[3];
    struct program_constants constants = {
        .local_size = lanes, .bias_dtype = sinks ? sinks->dtype : DTYPE_F32, .head_dim = op->dim};
    if (prefill_has_attention(b, op)) {
        uint64_t n_groups = prefill_attention(b, op, &constants);
        return builder_finish_alone(b, dispatch, "attention_tile", 7, (struct dispatch_params){0}, constants, n_groups);
    }
    return builder_finish_alone(b, dispatch, "attention", 7, (struct dispatch_params){0}, constants,
                                (uint64_t)b->n_rows * op->heads);
}

/* A lane a row, that looks at all n values for each of the k. */
static enum status add_topk(struct builder *b, uint32_t n, uint32_t k)
{
    if (uses_cpu_shapes(b) && 2 * (uint64_t)k * (n + 1) > CPU_MAX_ITERATIONS) {
        return error_set(b->err, STATUS_BAD_INPUT, NULL, NULL, ERROR_NO_OFFSET,
                         "the %u largest of %u values need longer loops than %s runs", k, n,
                         b->store->device->info.name);
    }
    return add_elementwise(b, 1, 1);
}

enum status step_alone(struct builder *b)
{
    const struct step *step = builder_step(b);
    switch (step->op) {
    case OP_embed:
        return add_embed(b);
    case OP_rms_norm:
        return add_rms_norm(b);
    case OP_matmul:
        return matmul_alone(b);
    case OP_rope:
        return add_elementwise(b, 1, step->width / 2);
    case OP_attention:
        return add_attention(b);
    case OP_expert_matmul:
        return expert_matmul_alone(b);
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
