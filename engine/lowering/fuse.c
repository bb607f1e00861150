#include "engine/lowering/fuse.h"

#include "engine/lowering/kernel_choice.h"
#include "engine/lowering/lower_matmul.h"
#include "engine/lowering/matvec.h"
#include "engine/lowering/prefill.h"
#include "engine/schedule/match.h"

/* Whether a step is a norm over whole rows, with weights as norms.comp reads them. */
static bool is_row_norm(const struct step *step)
{
    return step && step->params.rms_norm.groups == 1 && step->weight[0]->dtype == DTYPE_F32;
}

/* [norm] add [norm], with at least one of the norms. */
static enum status fuse_norms(struct builder *b, uint32_t *n_steps)
{
    uint32_t at = b->step;
    if (builder_uses_matvec(b)) {
        return STATUS_OK; /* its norms sum in another order than norms.comp */
    }
    const struct step *first = match_step(b, at, OP_rms_norm, -1);
    const struct step *add = match_step(b, first ? at + 1 : at, OP_add, -1);
    if (!add || (first && (!is_row_norm(first) || add->input[1] != (int32_t)at))) {
        return STATUS_OK;
    }
    uint32_t sum = first ? at + 1 : at;
    const struct step *last = match_step(b, sum + 1, OP_rms_norm, sum);
    last = is_row_norm(last) && buffers_step_rows(b->buffers, sum + 1, b->schedule->n_rows) == b->n_rows ? last : NULL;
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
    struct dispatch_desc desc = {
        .shader = "norms",
        .n_bindings = 9,
        .params = &params,
        .params_bytes = sizeof(params),
        .constants = {.local_size = builder_norm_lanes(b, add->width)},
        .n_groups = b->n_rows,
    };
    TRY(builder_finish(b, dispatch, output, &desc));
    *n_steps = output + 1 - at;
    return STATUS_OK;
}

/* One dispatch for the norm over heads and the rope of q or k. */
static enum status add_head_norm_rope(struct builder *b, uint32_t norm_step, uint32_t rope_step)
{
    const struct step *norm = &b->buffers->plan->steps[norm_step];
    struct head_norm_params params = {norm->params.rms_norm.groups, norm->params.rms_norm.dim,
                                      norm->params.rms_norm.eps, norm->params.rms_norm.offset};
    struct dispatch *dispatch = builder_add(b, rope_step);
    struct binding *bindings = dispatch->bindings;
    bindings[3] = slot_binding(b, (uint32_t)norm->input[0], false);
    bindings[4] = weight_binding(b, norm->weight[0], 0, 1);
    bindings[5] = rope_table_binding(b, rope_step);
    bindings[6] = slot_binding(b, norm_step, true);
    struct dispatch_desc desc = {
        .shader = "head_norm_rope",
        .n_bindings = 7,
        .params = &params,
        .params_bytes = sizeof(params),
        .constants = {.local_size = builder_norm_lanes(b, params.dim),
                      .dtype = norm->weight[0]->dtype,
                      .head_dim = params.dim},
        .n_groups = (uint64_t)b->n_rows * params.heads,
    };
    return builder_finish(b, dispatch, rope_step, &desc);
}

/* The norms over heads of q and k, then their ropes. */
static enum status fuse_heads(struct builder *b, uint32_t *n_steps)
{
    uint32_t at = b->step;
    for (uint32_t i = 0; i < 2; i++) {
        const struct step *norm = match_step(b, at + i, OP_rms_norm, -1),
                          *rope = match_step(b, at + 2 + i, OP_rope, at + i);
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

/* Whether the fused shader can find up's rows by counting bytes from gate's: both are made of whole blocks, row by row.
 */
static bool has_whole_rows(const struct tensor *gate, const struct tensor *up)
{
    uint64_t n_in = tensor_row_elems(gate);
    uint32_t block = dtype_info(gate->dtype)->block_elems;
    return gate->layout == LAYOUT_ROWS && up->layout == LAYOUT_ROWS && gate->dtype == up->dtype &&
           n_in % (block > 8 ? block : 8) == 0;
}

/* Whether the product that is step `first` of a group is matvec.comp's, and nothing else is chosen in the group. */
static bool is_matvec(const struct builder *b, uint32_t first, uint32_t last)
{
    return kernel_choice_in(b, first, last) == KERNEL_AUTO && matvec_fits(b, &b->buffers->plan->steps[first]);
}

/* gate, up and their activation. */
static enum status fuse_glu(struct builder *b, uint32_t *n_steps)
{
    uint32_t at = b->step;
    struct glu_group group;
    if (!match_glu(b, at, &group) || is_matvec(b, at, at + 2) ||
        !has_whole_rows(group.gate->weight[0], group.up->weight[0])) {
        return STATUS_OK;
    }
    struct matmul_glu_params params = {
        .n_in = group.gate->params.matmul.n_in,
        .n_out = group.gate->params.matmul.n_out,
        .second = (uint32_t)group.second,
        .activation = group.glu->params.glu.activation,
    };
    struct binding more[2] = {slot_binding(b, at, true), slot_binding(b, at + 1, true)};
    struct matmul matmul = {
        .lane_shader = "matmul_glu",
        .reduce_shader = "matmul_reduce_glu",
        .matrix = group.gate->weight[0],
        .input = group.gate->input[0],
        .output = at + 2,
        .last = at + 2,
        .more = more,
        .n_more = 2,
        .matrices = 2,
        .more_bytes = group.second,
        .params = &params,
        .params_bytes = sizeof(params),
    };
    if (prefill_has_matmul(b, &matmul)) {
        return STATUS_OK;
    }
    TRY(matmul_add(b, &matmul));
    *n_steps = 3;
    return STATUS_OK;
}

/* The LM head and the softcap of its logits. */
static enum status fuse_softcap(struct builder *b, uint32_t *n_steps)
{
    uint32_t at = b->step;
    const struct step *head = match_step(b, at, OP_matmul, -1), *cap = match_step(b, at + 1, OP_softcap, at);
    if (!head || !cap || is_matvec(b, at, at + 1)) {
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
        .last = at + 1,
        .more = more,
        .n_more = 1,
        .matrices = 1,
        .params = &params,
        .params_bytes = sizeof(params),
    };
    if (prefill_has_matmul(b, &matmul)) {
        return STATUS_OK;
    }
    TRY(matmul_add(b, &matmul));
    *n_steps = 2;
    return STATUS_OK;
}

enum status fuse(struct builder *b, struct entry *entry)
{
    typedef enum status fuse_function(struct builder * b, uint32_t * n_steps);
    static fuse_function *const kinds[] = {fuse_norms, fuse_heads, fuse_glu, fuse_softcap};
    entry->n_steps = 0;
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]) && entry->n_steps == 0; i++) {
        TRY(kinds[i](b, &entry->n_steps));
    }
    return STATUS_OK;
}
