#include "engine/lowering/lower_op.h"

#include "engine/lowering/lower_attention.h"
#include "engine/lowering/lower_matmul.h"

/* Ops that give a lane an element, a pair of elements or a row. The inputs are bound from 3 on, then rope's table. */
static enum status add_elementwise(struct builder *b, uint32_t n_inputs, uint64_t lanes_per_row)
{
    const struct step *step = builder_step(b);
    struct dispatch *dispatch = builder_add(b, b->step);
    uint32_t n = 3;
    for (uint32_t i = 0; i < n_inputs; i++) {
        dispatch->bindings[n++] = slot_binding(b, (uint32_t)step->input[i], false);
    }
    if (step->op == OP_rope) {
        dispatch->bindings[n++] = rope_table_binding(b, b->step);
    }
    struct program_constants constants = {.local_size = 64};
    return builder_finish_step(b, dispatch,
                               (struct dispatch_desc){
                                   .shader = op_info(step->op)->name,
                                   .n_bindings = n,
                                   .constants = constants,
                                   .n_groups = divide_up(b->n_rows * lanes_per_row, constants.local_size),
                               });
}

static enum status add_embed(struct builder *b)
{
    const struct step *step = builder_step(b);
    const struct tensor *table = step->weight[0];
    uint64_t slice;
    TRY(builder_slice_rows(b, table, &slice));
    for (uint64_t first = 0; first < tensor_rows(table); first += slice) {
        uint64_t rest = tensor_rows(table) - first, count = rest < slice ? rest : slice;
        struct dispatch *dispatch = builder_add(b, b->step);
        dispatch->bindings[3] = weight_binding(b, table, first, count);
        struct program_constants constants = weight_constants(b, table);
        constants.local_size = 64;
        struct dispatch_desc desc = {
            .shader = "embed",
            .n_bindings = 4,
            .part = {.first = (uint32_t)first, .count = (uint32_t)count},
            .constants = constants,
            .n_groups = divide_up((uint64_t)b->n_rows * step->width, constants.local_size),
        };
        TRY(builder_finish_step(b, dispatch, desc));
    }
    return STATUS_OK;
}

static enum status add_rms_norm(struct builder *b)
{
    const struct step *step = builder_step(b);
    struct dispatch *dispatch = builder_add(b, b->step);
    dispatch->bindings[3] = slot_binding(b, (uint32_t)step->input[0], false);
    dispatch->bindings[4] = weight_binding(b, step->weight[0], 0, 1);
    const struct rms_norm_params *op = &step->params.rms_norm;
    struct dispatch_desc desc = {
        .shader = "rms_norm",
        .n_bindings = 5,
        .constants = {.local_size = builder_norm_lanes(b, op->dim),
                      .dtype = step->weight[0]->dtype,
                      .by_four =
                          builder_uses_matvec(b) && op->groups == 1 && op->dim % 4 == 0 && op->dim <= MATVEC_NORM_MOST},
        .n_groups = (uint64_t)b->n_rows * op->groups,
    };
    return builder_finish_step(b, dispatch, desc);
}

/* A lane takes a row, and looks at all n values once for each of the k. */
static enum status add_topk(struct builder *b, uint32_t n, uint32_t k)
{
    if (builder_is_cpu(b) && 2 * (uint64_t)k * (n + 1) > CPU_MAX_ITERATIONS) {
        return error_set(b->err, STATUS_BAD_INPUT, NULL, NULL, ERROR_NO_OFFSET,
                         "the %u largest of %u values need longer loops than %s runs", k, n,
                         b->buffers->device->info.name);
    }
    return add_elementwise(b, 1, 1);
}

enum status lower_op(struct builder *b)
{
    const struct step *step = builder_step(b);
    switch (step->op) {
    case OP_embed:
        return add_embed(b);
    case OP_rms_norm:
        return add_rms_norm(b);
    case OP_matmul:
        return lower_matmul(b);
    case OP_rope:
        return add_elementwise(b, 1, step->width / 2);
    case OP_attention:
        return lower_attention(b);
    case OP_expert_matmul:
        return lower_expert_matmul(b);
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
        JUDGED_OPS(X) /* only files have these; no backend runs them */
#undef X
    case OP_COUNT:
    case OP_END:
        break;
    }
    ASSERT(!"a plan's ops are the table's");
    return STATUS_BAD_INPUT;
}
