#include "engine/lowering/attention_split.h"

#include "engine/lowering/kernel_choice.h"
#include "engine/lowering/matvec.h"
#include "engine/placement/attention_parts.h"
#include "engine/schedule/match.h"

#define LOOPS_A_KEY 8  /* iterations of attention_part.comp for a key of its part, at most */
#define PART_LANES 256 /* of a workgroup: teams of 32 lanes or more, which share a tile of 32 keys */

/* Whether the attention of this step is split: it can be, and no other kernel is chosen. In a group, the product behind
 * it may join the parts. */
static bool is_split(const struct builder *b, const struct step *step)
{
    const struct attention_params *op = &step->params.attention;
    const struct tensor *sinks = step->weight[0];
    uint32_t at = (uint32_t)(step - b->buffers->plan->steps);
    uint32_t keys = attention_parts_of(op, b->buffers->max_positions).keys;
    bool wanted = kernel_choice_is(b, at, KERNEL_attention_join, builder_uses_matvec(b)) ||
                  (kernel_choice_of(b, at) == KERNEL_matvec && builder_uses_matvec(b));
    return wanted && builder_can_matvec(b) && builder_loops_fit(b, keys * LOOPS_A_KEY) &&
           step->variant == VARIANT_NONE && op->dim % 4 == 0 && op->dim <= MATVEC_LANES &&
           op->heads * op->dim <= MATVEC_NORM_MOST && matvec_most_lanes(b, PART_LANES) == PART_LANES &&
           (!sinks || dtype_info(sinks->dtype)->block_elems == 1);
}

struct binding attention_split_binding(const struct builder *b, uint32_t attention, bool write)
{
    const struct gpu_buffer *parts = &b->buffers->attention_parts;
    return (struct binding){parts->handle, 0, parts->size, (int32_t)(2 * attention), write};
}

/* Binds q, k and v, and what the group's norms and ropes read and store. own: the parts, bound wherever nothing else is
 * written. Completes the parameters of the norms. */
static void set_bindings(const struct builder *b, const struct attention_group *group, struct binding own,
                         struct binding *bindings, struct attention_part_params *params)
{
    const struct step *steps = b->buffers->plan->steps, *step = &steps[group->attention];
    const struct tensor *sinks = step->weight[0];
    bool single = group->prologue == PROLOGUE_NONE, norms = group->prologue == PROLOGUE_NORM;
    uint32_t first_q = norms ? group->q_norm : group->q_rope, first_k = norms ? group->k_norm : group->k_rope;
    bindings[3] = slot_binding(b, (uint32_t)(single ? step : &steps[first_q])->input[0], false);
    bindings[4] = single ? bindings[3] : slot_binding(b, (uint32_t)steps[first_k].input[0], false);
    bindings[5] = cache_binding(b, (uint32_t)step->input[1], false);
    bindings[6] = cache_binding(b, (uint32_t)step->input[2], false);
    bindings[7] = bindings[8] = bindings[9] = bindings[3];
    bindings[1] = bindings[2] = bindings[10] = bindings[11] = bindings[12] = bindings[14] = own;
    bindings[13] = sinks ? weight_binding(b, sinks, 0, 1) : bindings[3];
    if (!single) {
        bindings[1] = slot_binding(b, group->q_rope, true);
        bindings[2] = cache_binding(b, group->k_rope, true);
        bindings[9] = rope_table_binding(b, group->q_rope);
        bindings[12] = slot_binding(b, group->k_rope, true);
    }
    if (norms) {
        const struct step *q = &steps[group->q_norm], *k = &steps[group->k_norm];
        bindings[7] = weight_binding(b, q->weight[0], 0, 1);
        bindings[8] = weight_binding(b, k->weight[0], 0, 1);
        bindings[10] = slot_binding(b, group->q_norm, true);
        bindings[11] = slot_binding(b, group->k_norm, true);
        params->q_eps = q->params.rms_norm.eps;
        params->q_offset = q->params.rms_norm.offset;
        params->k_eps = k->params.rms_norm.eps;
        params->k_offset = k->params.rms_norm.offset;
    }
}

enum status attention_split_add(struct builder *b, const struct attention_group *group, bool capture)
{
    const struct step *step = &b->buffers->plan->steps[group->attention];
    const struct attention_params *op = &step->params.attention;
    struct attention_parts parts = attention_parts_of(op, b->buffers->max_positions);
    const struct tensor *sinks = step->weight[0];
    struct attention_part_params params = {.heads = op->heads,
                                           .kv_heads = op->kv_heads,
                                           .scale = op->scale,
                                           .softcap = op->softcap,
                                           .window = op->window,
                                           .has_sinks = op->has_sinks,
                                           .n_parts = parts.n,
                                           .keys_a_part = parts.keys};
    uint32_t subgroup = b->buffers->device->info.subgroup;
    bool single = group->prologue == PROLOGUE_NONE;
    struct dispatch *dispatch = builder_add(b, single ? group->attention : group->q_rope);
    set_bindings(b, group, attention_split_binding(b, group->attention, true), dispatch->bindings, &params);
    struct dispatch_desc desc = {
        .shader = "attention_part",
        .n_bindings = 15,
        .params = &params,
        .params_bytes = sizeof(params),
        .constants = {.local_size = PART_LANES,
                      .bias_dtype = sinks ? sinks->dtype : DTYPE_F32,
                      .head_dim = op->dim,
                      .prologue = group->prologue,
                      .capture = capture,
                      .team = subgroup < 32 ? 32 : subgroup},
        .n_groups = (uint64_t)op->heads * parts.n,
    };
    return builder_finish(b, dispatch, group->attention, &desc);
}

enum status attention_split_join(struct builder *b, uint32_t attention)
{
    const struct attention_params *op = &b->buffers->plan->steps[attention].params.attention;
    struct attention_parts parts = attention_parts_of(op, b->buffers->max_positions);
    struct attention_join_params params = {op->heads, parts.n, parts.keys, op->window};
    struct dispatch *dispatch = builder_add(b, attention);
    dispatch->waits = true;
    dispatch->bindings[3] = attention_split_binding(b, attention, false);
    struct dispatch_desc desc = {
        .shader = "attention_join",
        .n_bindings = 4,
        .params = &params,
        .params_bytes = sizeof(params),
        .constants = {.local_size = 64, .head_dim = op->dim},
        .n_groups = divide_up((uint64_t)op->heads * op->dim / 4, 64),
    };
    return builder_finish(b, dispatch, attention, &desc);
}

enum status attention_split_lower(struct builder *b, bool *done)
{
    *done = is_split(b, builder_step(b));
    if (!*done) {
        return STATUS_OK;
    }
    TRY(attention_split_add(b, &(struct attention_group){.attention = b->step, .prologue = PROLOGUE_NONE}, true));
    return attention_split_join(b, b->step);
}

/* Whether a step normalises these heads, with weights as attention_part.comp reads them. */
static bool is_head_norm(const struct step *norm, uint32_t heads, uint32_t dim)
{
    return norm && norm->params.rms_norm.groups == heads && norm->params.rms_norm.dim == dim &&
           norm->weight[0]->dtype == DTYPE_F32;
}

static bool is_rope(const struct step *rope, uint32_t heads, uint32_t dim)
{
    return rope && rope->params.rope.heads == heads && rope->params.rope.dim == dim;
}

bool attention_split_match(const struct builder *b, struct attention_group *group)
{
    uint32_t at = b->step, norms = match_step(b, at, OP_rms_norm, -1) ? 2 : 0;
    const struct step *step = match_step(b, at + norms + 2, OP_attention, at + norms);
    if (!step || step->input[1] != (int32_t)(at + norms + 1) || !is_split(b, step)) {
        return false;
    }
    const struct attention_params *op = &step->params.attention;
    *group = (struct attention_group){norms + 3,  at + norms + 2, norms ? PROLOGUE_NORM : PROLOGUE_ROPE, at, at + 1,
                                      at + norms, at + norms + 1};
    if (norms && (!is_head_norm(match_step(b, at, OP_rms_norm, -1), op->heads, op->dim) ||
                  !is_head_norm(match_step(b, at + 1, OP_rms_norm, -1), op->kv_heads, op->dim))) {
        return false;
    }
    const struct region *tables = b->buffers->rope_tables.region;
    const struct step *q_rope = match_step(b, group->q_rope, OP_rope, norms ? (int64_t)at : -1),
                      *k_rope = match_step(b, group->k_rope, OP_rope, norms ? (int64_t)at + 1 : -1);
    return is_rope(q_rope, op->heads, op->dim) && is_rope(k_rope, op->kv_heads, op->dim) &&
           tables[group->q_rope].offset == tables[group->k_rope].offset;
}
