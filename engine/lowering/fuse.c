/* Which runs of steps share a dispatch. A group is found by its shape in the plan, never by a family's name. Where a
 * step carries a fault's variant, or a dtype or a bias is not what the fused shader takes, the steps run alone. Every
 * stage of a group is stored by the shader that covers it: capture costs no dispatch. */
#include "engine/schedule/builder.h"

static const struct step *step_at(const struct builder *b, uint32_t i)
{
    return i < b->store->plan->n_steps ? &b->store->plan->steps[i] : NULL;
}

const struct step *fuse_match(const struct builder *b, uint32_t i, enum op op, int64_t input)
{
    const struct step *step = step_at(b, i);
    bool fits = step && step->op == op && step->variant == VARIANT_NONE && step->tamper.how == TAMPER_NONE &&
                (input < 0 || step->input[0] == input);
    return fits ? step : NULL;
}

/* A norm over whole rows, with weights as the fused shader reads them. */
static bool is_row_norm(const struct step *step)
{
    return step && step->params.rms_norm.groups == 1 && step->weight[0]->dtype == DTYPE_F32;
}

/* [norm] add [norm]: at least one of the norms. */
static enum status fuse_norms(struct builder *b, uint32_t *n_steps)
{
    uint32_t at = b->step;
    if (uses_matvec(b)) {
        return STATUS_OK; /* its norms sum in another order */
    }
    const struct step *first = fuse_match(b, at, OP_rms_norm, -1);
    const struct step *add = fuse_match(b, first ? at + 1 : at, OP_add, -1);
    if (!add || (first && (!is_row_norm(first) || add->input[1] != (int32_t)at))) {
        return STATUS_OK;
    }
    uint32_t sum = first ? at + 1 : at;
    const struct step *last = fuse_match(b, sum + 1, OP_rms_norm, sum);
    last = is_row_norm(last) && store_step_rows(b->store, sum + 1, b->schedule->n_rows) == b->n_rows ? last : NULL;
    if (!first && !last) {
        return STATUS_OK;
    }
    uint32_t output = last ? sum + 1 : sum;
    struct norms_params params = {.width = add->width, .has_first = first != NULL, .has_last = last != NULL};
    struct dispatch *dispatch = builder_add(b, output);
    struct binding *bindings = dispatch->bindings;
    bindings[3] = slot_binding(b, (uint32_t)(first ? first->input[0] : add->input[1]), false);
    bindings[4] = slot_binding(b, (uint32_t)add->input[0], false);
    bindings[5] = weight_binding(b, (first ? first : last)->weight[0], 0, 1);
    bindings[6] = weight_binding(b, (last ? last : first)->weight[0], 0, 1);
    bindings[7] = slot_binding(b, at, true);
    bindings[8] = slot_binding(b, sum, true);
    if (first) {
        params.first_eps = first->params.rms_norm.eps;
        params.first_offset = first->params.rms_norm.offset;
    }
    if (last) {
        params.last_eps = last->params.rms_norm.eps;
        params.last_offset = last->params.rms_norm.offset;
    }
    struct finish finish = {
        .shader = "norms",
        .n_bindings = 9,
        .params = &params,
        .params_bytes = sizeof(params),
        .constants = {.local_size = norm_lanes(b, add->width)},
        .n_groups = b->n_rows,
    };
    TRY(builder_finish(b, dispatch, output, &finish));
    *n_steps = output + 1 - at;
    return STATUS_OK;
}

static enum status add_head_norm_rope(struct builder *b, uint32_t norm_step, uint32_t rope_step)
{
    const struct step *norm = step_at(b, norm_step);
    struct head_norm_params params = {norm->params.rms_norm.groups, norm->params.rms_norm.dim,
                                      norm->params.rms_norm.eps, norm->params.rms_norm.offset};
    struct dispatch *dispatch = builder_add(b, rope_step);
    struct binding *bindings = dispatch->bindings;
    bindings[3] = slot_binding(b, (uint32_t)norm->input[0], false);
    bindings[4] = weight_binding(b, norm->weight[0], 0, 1);
    bindings[5] = table_binding(b, rope_step);
    bindings[6] = slot_binding(b, norm_step, true);
    struct finish finish = {
        .shader = "head_norm_rope",
        .n_bindings = 7,
        .params = &params,
        .params_bytes = sizeof(params),
        .constants = {.local_size = norm_lanes(b, params.dim), .dtype = norm->weight[0]->dtype, .head_dim = params.dim},
        .n_groups = (uint64_t)b->n_rows * params.heads,
    };
    return builder_finish(b, dispatch, rope_step, &finish);
}

/* q and k: two norms over heads, then their two ropes. */
static enum status fuse_heads(struct builder *b, uint32_t *n_steps)
{
    uint32_t at = b->step;
    for (uint32_t i = 0; i < 2; i++) {
        const struct step *norm = fuse_match(b, at + i, OP_rms_norm, -1),
                          *rope = fuse_match(b, at + 2 + i, OP_rope, at + i);
        if (!norm || !rope || norm->params.rms_norm.dim != rope->params.rope.dim ||
            norm->params.rms_norm.groups != rope->params.rope.heads || norm->params.rms_norm.dim % 2 != 0) {
            return STATUS_OK;
        }
    }
    TRY(add_head_norm_rope(b, at, at + 2));
    TRY(add_head_norm_rope(b, at + 1, at + 3));
    *n_steps = 4;
    return STATUS_OK;
}

bool fuse_find_second(const struct builder *b, const struct tensor *gate, const struct tensor *up, uint64_t *bytes)
{
    const struct placement *first = weights_find(&b->store->weights, gate),
                           *second = weights_find(&b->store->weights, up);
    if (first->block != second->block || second->offset < first->offset) {
        return false;
    }
    *bytes = second->offset - first->offset;
    uint64_t all = *bytes + placement_bytes(second);
    return all + WEIGHT_SLACK <= b->store->limits.max_binding && all <= UINT32_MAX && first->grouped == second->grouped;
}

/* The fused shader finds up's rows behind gate's by bytes alone: whole blocks, row by row. */
static bool by_whole_rows(const struct tensor *gate, const struct tensor *up)
{
    uint64_t n_in = tensor_row_elems(gate);
    uint32_t block = dtype_info(gate->dtype)->block_elems;
    return gate->layout == LAYOUT_ROWS && up->layout == LAYOUT_ROWS && gate->dtype == up->dtype &&
           n_in % (block > 8 ? block : 8) == 0;
}

/* gate, up and the activation. */
static enum status fuse_glu(struct builder *b, uint32_t *n_steps)
{
    uint32_t at = b->step;
    const struct step *gate = fuse_match(b, at, OP_matmul, -1);
    const struct step *up = gate ? fuse_match(b, at + 1, OP_matmul, gate->input[0]) : NULL;
    const struct step *glu = up ? fuse_match(b, at + 2, OP_glu, at) : NULL;
    uint64_t second;
    if (!glu || glu->input[1] != (int32_t)at + 1 || gate->weight[1] || up->weight[1] || gate->width != up->width ||
        matvec_fits(b, gate) || !by_whole_rows(gate->weight[0], up->weight[0]) ||
        !fuse_find_second(b, gate->weight[0], up->weight[0], &second)) {
        return STATUS_OK;
    }
    struct matmul_glu_params params = {gate->params.matmul.n_in, gate->params.matmul.n_out, 0, (uint32_t)second,
                                       glu->params.glu.activation};
    struct binding more[2] = {slot_binding(b, at, true), slot_binding(b, at + 1, true)};
    struct matmul matmul = {
        .lane_shader = "matmul_glu",
        .reduce_shader = "matmul_reduce_glu",
        .matrix = gate->weight[0],
        .input = gate->input[0],
        .output = at + 2,
        .more = more,
        .n_more = 2,
        .matrices = 2,
        .more_bytes = second,
        .params = &params,
        .params_bytes = sizeof(params),
    };
    if (prefill_has_matmul(b, &matmul)) {
        return STATUS_OK;
    }
    TRY(builder_matmul(b, &matmul));
    *n_steps = 3;
    return STATUS_OK;
}

/* The LM head and what caps its logits. */
static enum status fuse_softcap(struct builder *b, uint32_t *n_steps)
{
    uint32_t at = b->step;
    const struct step *head = fuse_match(b, at, OP_matmul, -1), *cap = fuse_match(b, at + 1, OP_softcap, at);
    if (!head || !cap || matvec_fits(b, head)) {
        return STATUS_OK;
    }
    struct matmul_softcap_params params = {head->params.matmul.n_in, head->params.matmul.n_out,
                                           head->params.matmul.has_bias, cap->params.softcap.cap};
    struct binding more[1] = {slot_binding(b, at + 1, true)};
    struct matmul matmul = {
        .lane_shader = "matmul_softcap",
        .reduce_shader = "matmul_reduce_softcap",
        .matrix = head->weight[0],
        .bias = head->weight[1],
        .input = head->input[0],
        .output = at,
        .more = more,
        .n_more = 1,
        .matrices = 1,
        .params = &params,
        .params_bytes = sizeof(params),
    };
    if (prefill_has_matmul(b, &matmul)) {
        return STATUS_OK;
    }
    TRY(builder_matmul(b, &matmul));
    *n_steps = 2;
    return STATUS_OK;
}

enum status fuse(struct builder *b, uint32_t *n_steps)
{
    static enum status (*const kinds[])(struct builder * b, uint32_t * n_steps) = {fuse_norms, fuse_heads, fuse_glu,
                                                                                   fuse_softcap};
    *n_steps = 0;
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]) && *n_steps == 0; i++) {
        TRY(kinds[i](b, n_steps));
    }
    return STATUS_OK;
}
