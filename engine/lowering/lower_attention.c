#include "engine/lowering/lower_attention.h"

#include "engine/lowering/attention_split.h"
#include "engine/lowering/prefill.h"

/* Lanes of a workgroup of attention.comp, which computes one head of one row. On llvmpipe a workgroup starts with one
 * subgroup (8 lanes), because barriers between several subgroups are slow there. */
static uint32_t choose_lanes(const struct builder *b, const struct attention_params *op)
{
    uint32_t lanes = 8, least = builder_is_cpu(b) ? b->buffers->max_positions / 512 : op->dim;
    while (lanes < least && lanes < 256 && lanes * 2 <= b->buffers->device->limits.maxComputeWorkGroupInvocations) {
        lanes *= 2;
    }
    return lanes;
}

/* Refuses an attention whose lanes would loop longer than a CPU driver allows. An iteration of attention.comp handles
 * four elements of a score, four keys of a value, or a chunk of 256 keys of a reduction. */
static enum status check_loops(const struct builder *b, const struct attention_params *op, uint32_t lanes)
{
    uint64_t most = b->buffers->max_positions, keys = op->window && op->window < most ? op->window : most;
    uint64_t iterations =
        divide_up(keys, lanes) * (op->dim / 4 + 4) + divide_up(op->dim, lanes) * (keys / 4 + 4) + keys / 8;
    if (!builder_is_cpu(b) || iterations <= CPU_MAX_ITERATIONS) {
        return STATUS_OK;
    }
    return error_set(b->err, STATUS_BAD_INPUT, NULL, NULL, ERROR_NO_OFFSET,
                     "attention over %llu positions needs longer loops than %s runs", (unsigned long long)keys,
                     b->buffers->device->info.name);
}

enum status lower_attention(struct builder *b)
{
    const struct step *step = builder_step(b);
    const struct attention_params *op = &step->params.attention;
    const struct tensor *sinks = step->weight[0];
    bool done;
    TRY(attention_split_lower(b, &done));
    if (done) {
        return STATUS_OK;
    }
    uint32_t lanes = choose_lanes(b, op);
    TRY(check_loops(b, op, lanes));
    struct dispatch *dispatch = builder_add(b, b->step);
    dispatch->bindings[3] = slot_binding(b, (uint32_t)step->input[0], false);
    dispatch->bindings[4] = cache_binding(b, (uint32_t)step->input[1], false);
    dispatch->bindings[5] = cache_binding(b, (uint32_t)step->input[2], false);
    dispatch->bindings[6] = sinks ? weight_binding(b, sinks, 0, 1) : dispatch->bindings[3];
    struct dispatch_desc desc = {
        .shader = "attention",
        .n_bindings = 7,
        .constants = {.local_size = lanes, .bias_dtype = sinks ? sinks->dtype : DTYPE_F32, .head_dim = op->dim},
        .n_groups = (uint64_t)b->n_rows * op->heads,
    };
    if (prefill_has_attention(b, op)) {
        desc.shader = "attention_tile";
        desc.n_groups = prefill_attention(b, op, &desc.constants);
    }
    return builder_finish_step(b, dispatch, desc);
}
