/* One row's attention in parts, each a workgroup's, and what puts them together. See attention_part.comp. */
#include "engine/lowering/matvec.h"

#define PART_LANES 256 /* 8 teams of 32, or fewer of more, that share a tile of 32 keys */

static bool fits_parts(const struct builder *b, const struct step *step)
{
    const struct attention_params *op = &step->params.attention;
    const struct tensor *sinks = step->weight[0];
    return uses_matvec(b) && step->variant == VARIANT_NONE && op->dim % 4 == 0 && op->dim <= MATVEC_LANES &&
           op->heads * op->dim <= MATVEC_NORM_MOST && matvec_most_lanes(b, PART_LANES) == PART_LANES &&
           (!sinks || dtype_info(sinks->dtype)->block_elems == 1);
}

struct binding parts_binding(const struct builder *b, uint32_t attention, bool write)
{
    return (struct binding){b->store->parts.handle, 0, b->store->parts.size, (int32_t)(2 * attention), write};
}

enum status parts_add(struct builder *b, const struct heads *heads, bool capture)
{
    const struct step *steps = b->store->plan->steps, *step = &steps[heads->attention];
    const struct attention_params *op = &step->params.attention;
    struct attention_parts parts = store_attention_parts(b->store, op);
    const struct tensor *sinks = step->weight[0];
    struct attention_part_params params = {.heads = op->heads,
                                           .kv_heads = op->kv_heads,
                                           .scale = op->scale,
                                           .softcap = op->softcap,
                                           .window = op->window,
                                           .has_sinks = op->has_sinks,
                                           .n_parts = parts.n,
                                           .keys_a_part = parts.keys};
    bool alone = heads->prologue == PROLOGUE_NONE, norms = heads->prologue == PROLOGUE_NORM;
    uint32_t subgroup = b->store->device->info.subgroup;
    struct dispatch *dispatch = builder_add(b, alone ? heads->attention : heads->q_rope);
    struct binding *bindings = dispatch->bindings, own = parts_binding(b, heads->attention, true);
    bindings[3] = slot_binding(
        b, (uint32_t)(alone ? step->input[0] : steps[norms ? heads->q_norm : heads->q_rope].input[0]), false);
    bindings[4] =
        alone ? bindings[3] : slot_binding(b, (uint32_t)steps[norms ? heads->k_norm : heads->k_rope].input[0], false);
    bindings[5] = cache_binding(b, (uint32_t)step->input[1], false);
    bindings[6] = cache_binding(b, (uint32_t)step->input[2], false);
    bindings[7] = bindings[8] = bindings[9] = bindings[3];
    bindings[1] = bindings[2] = bindings[10] = bindings[11] = bindings[12] = bindings[14] = own;
    bindings[13] = sinks ? weight_binding(b, sinks, 0, 1) : bindings[3];
    if (!alone) {
        bindings[1] = slot_binding(b, heads->q_rope, true);
        bindings[2] = cache_binding(b, heads->k_rope, true);
        bindings[9] = table_binding(b, heads->q_rope);
        bindings[12] = slot_binding(b, heads->k_rope, true);
    }
    if (norms) {
        const struct step *q = &steps[heads->q_norm], *k = &steps[heads->k_norm];
        bindings[7] = weight_binding(b, q->weight[0], 0, 1);
        bindings[8] = weight_binding(b, k->weight[0], 0, 1);
        bindings[10] = slot_binding(b, heads->q_norm, true);
        bindings[11] = slot_binding(b, heads->k_norm, true);
        params.q_eps = q->params.rms_norm.eps;
        params.q_offset = q->params.rms_norm.offset;
        params.k_eps = k->params.rms_norm.eps;
        params.k_offset = k->params.rms_norm.offset;
    }
    struct finish finish = {
        .shader = "attention_part",
        .n_bindings = 15,
        .params = &params,
        .params_bytes = sizeof(params),
        .constants = {.local_size = PART_LANES,
                      .bias_dtype = sinks ? sinks->dtype : DTYPE_F32,
                      .head_dim = op->dim,
                      .prologue = heads->prologue,
                      .capture = capture,
                      .team = subgroup < 32 ? 32 : subgroup},
        .n_groups = (uint64_t)op->heads * parts.n,
    };
    return builder_finish(b, dispatch, heads->attention, &finish);
}

enum status parts_join(struct builder *b, uint32_t attention)
{
    const struct attention_params *op = &b->store->plan->steps[attention].params.attention;
    struct attention_parts parts = store_attention_parts(b->store, op);
    struct attention_join_params params = {op->heads, parts.n, parts.keys, op->window};
    struct dispatch *dispatch = builder_add(b, attention);
    dispatch->waits = true;
    dispatch->bindings[3] = parts_binding(b, attention, false);
    struct finish finish = {
        .shader = "attention_join",
        .n_bindings = 4,
        .params = &params,
        .params_bytes = sizeof(params),
        .constants = {.local_size = 64, .head_dim = op->dim},
        .n_groups = divide_up((uint64_t)op->heads * op->dim / 4, 64),
    };
    return builder_finish(b, dispatch, attention, &finish);
}

enum status parts_alone(struct builder *b, bool *done)
{
    *done = fits_parts(b, builder_step(b));
    if (!*done) {
        return STATUS_OK;
    }
    TRY(parts_add(b, &(struct heads){.attention = b->step, .prologue = PROLOGUE_NONE}, true));
    return parts_join(b, b->step);
}

static bool is_head_norm(const struct step *norm, uint32_t heads, uint32_t dim)
{
    return norm && norm->params.rms_norm.groups == heads && norm->params.rms_norm.dim == dim &&
           norm->weight[0]->dtype == DTYPE_F32;
}

static bool is_rope(const struct step *rope, uint32_t heads, uint32_t dim)
{
    return rope && rope->params.rope.heads == heads && rope->params.rope.dim == dim;
}

bool parts_match(const struct builder *b, struct heads *heads)
{
    uint32_t at = b->step, norms = fuse_match(b, at, OP_rms_norm, -1) ? 2 : 0;
    const struct step *step = fuse_match(b, at + norms + 2, OP_attention, at + norms);
    if (!step || step->input[1] != (int32_t)(at + norms + 1) || !fits_parts(b, step)) {
        return false;
    }
    const struct attention_params *op = &step->params.attention;
    *heads = (struct heads){norms + 3,  at + norms + 2, norms ? PROLOGUE_NORM : PROLOGUE_ROPE, at, at + 1,
                            at + norms, at + norms + 1};
    if (norms && (!is_head_norm(fuse_match(b, at, OP_rms_norm, -1), op->heads, op->dim) ||
                  !is_head_norm(fuse_match(b, at + 1, OP_rms_norm, -1), op->kv_heads, op->dim))) {
        return false;
    }
    const struct step *q_rope = fuse_match(b, heads->q_rope, OP_rope, norms ? (int64_t)at : -1),
                      *k_rope = fuse_match(b, heads->k_rope, OP_rope, norms ? (int64_t)at + 1 : -1);
    return is_rope(q_rope, op->heads, op->dim) && is_rope(k_rope, op->kv_heads, op->dim) &&
           b->store->table[heads->q_rope].offset == b->store->table[heads->k_rope].offset;
}
