#include "engine/lowering/fuse_decode.h"

#include "engine/lowering/attention_split.h"
#include "engine/lowering/matvec.h"
#include "engine/placement/attention_parts.h"
#include "engine/schedule/match.h"

/* Whether a step is a norm over whole rows that matvec.comp can compute. */
static bool is_row_norm(const struct step *step)
{
    return step && step->params.rms_norm.groups == 1 && step->params.rms_norm.dim <= MATVEC_NORM_MOST &&
           step->params.rms_norm.dim % 8 == 0 && step->weight[0]->dtype == DTYPE_F32;
}

/* Matches [[norm] add] norm at b->step. */
static bool match_norms(const struct builder *b, struct prologue *prologue)
{
    uint32_t at = b->step;
    const struct step *norm = match_step(b, at, OP_rms_norm, -1), *add = match_step(b, at, OP_add, -1);
    if (add && is_row_norm(match_step(b, at + 1, OP_rms_norm, at))) {
        *prologue = (struct prologue){PROLOGUE_ADD_NORM, 2, at, at, at + 1};
        return true;
    }
    if (!is_row_norm(norm)) {
        return false;
    }
    add = match_step(b, at + 1, OP_add, -1);
    if (add && add->input[1] == (int32_t)at && is_row_norm(match_step(b, at + 2, OP_rms_norm, at + 1))) {
        *prologue = (struct prologue){PROLOGUE_NORM_ADD_NORM, 3, at, at + 1, at + 2};
    } else {
        *prologue = (struct prologue){PROLOGUE_NORM, 1, at, at, at};
    }
    return true;
}

/* Sets the bindings and parameters of the norms. */
static void set_norms(const struct builder *b, const struct prologue *prologue, struct matvec *matvec)
{
    const struct step *steps = b->buffers->plan->steps, *last = &steps[prologue->last];
    matvec->prologue = *prologue;
    matvec->bindings[8] = weight_binding(b, last->weight[0], 0, 1);
    matvec->bindings[11] = slot_binding(b, prologue->last, true);
    matvec->params.last_eps = last->params.rms_norm.eps;
    matvec->params.last_offset = last->params.rms_norm.offset;
    matvec->bindings[3] = slot_vec4_binding(b, (uint32_t)last->input[0]);
    if (prologue->kind == PROLOGUE_NORM) {
        return;
    }
    matvec->bindings[3] = slot_vec4_binding(b, (uint32_t)steps[prologue->sum].input[1]);
    matvec->bindings[6] = slot_vec4_binding(b, (uint32_t)steps[prologue->sum].input[0]);
    matvec->bindings[10] = slot_binding(b, prologue->sum, true);
    if (prologue->kind == PROLOGUE_ADD_NORM) {
        return;
    }
    const struct step *first = &steps[prologue->first];
    matvec->bindings[3] = slot_vec4_binding(b, (uint32_t)first->input[0]);
    matvec->bindings[7] = weight_binding(b, first->weight[0], 0, 1);
    matvec->bindings[9] = slot_binding(b, prologue->first, true);
    matvec->params.first_eps = first->params.rms_norm.eps;
    matvec->params.first_offset = first->params.rms_norm.offset;
}

/* A fused dispatch of steps [b->step, end) may leave out the stages of steps [b->step, last). Whether it has to store
 * one of them after all: because it is captured, or because a step behind `end` reads it. stored: one of these steps,
 * whose stage is stored in any case. */
static bool must_store(const struct builder *b, uint32_t last, uint32_t end, uint32_t stored)
{
    const struct plan *plan = b->buffers->plan;
    for (uint32_t i = b->step; i < last; i++) {
        if (i != stored && b->schedule->captured[i]) {
            return true;
        }
    }
    for (uint32_t i = end; i < plan->n_steps; i++) {
        for (unsigned k = 0; k < OP_MAX_INPUTS; k++) {
            int32_t source = plan->steps[i].input[k];
            if (source >= (int32_t)b->step && source < (int32_t)last && source != (int32_t)stored) {
                return true;
            }
        }
    }
    return false;
}

/* Matches gate, up and their activation from step `at` on. */
static bool match_glu_product(const struct builder *b, uint32_t at, struct matvec *matvec)
{
    struct glu_group group;
    if (!match_glu(b, at, &group) || !matvec_fits(b, group.gate) || !matvec_fits(b, group.up) ||
        group.gate->weight[0]->dtype != group.up->weight[0]->dtype) {
        return false;
    }
    matvec->matrix = group.gate->weight[0];
    matvec->output = at + 2;
    matvec->epilogue = EPILOGUE_GLU;
    matvec->matrices = 2;
    matvec->more_bytes = group.second;
    matvec->params.second = (uint32_t)group.second;
    matvec->activation = group.glu->params.glu.activation;
    matvec->bindings[3] = slot_vec4_binding(b, (uint32_t)group.gate->input[0]);
    matvec->bindings[12] = slot_binding(b, at, true);
    matvec->bindings[13] = slot_binding(b, at + 1, true);
    return true;
}

/* Matches a product of step `input` at step `at`. */
static bool match_matmul(const struct builder *b, uint32_t at, int64_t input, struct matvec *matvec)
{
    const struct step *step = match_step(b, at, OP_matmul, input);
    if (!step || !matvec_fits(b, step)) {
        return false;
    }
    matvec->matrix = step->weight[0];
    matvec->bias = step->weight[1];
    matvec->output = at;
    matvec->matrices = 1;
    matvec->bindings[3] = slot_vec4_binding(b, (uint32_t)step->input[0]);
    return true;
}

/* Matches a product and the softcap behind it. */
static bool match_softcap(const struct builder *b, uint32_t at, struct matvec *matvec)
{
    const struct step *cap = match_step(b, at + 1, OP_softcap, at);
    if (!cap || !match_matmul(b, at, -1, matvec)) {
        return false;
    }
    matvec->epilogue = EPILOGUE_SOFTCAP;
    matvec->params.cap = cap->params.softcap.cap;
    matvec->bindings[12] = slot_binding(b, at + 1, true);
    return true;
}

/* The products at step `at`: gate and up with their activation, the LM head with its softcap, or up to three products
 * of the norms' result. Fills products[3]. *end: the step behind them; `at`: there are none. Returns their number. */
static uint32_t match_products(const struct builder *b, uint32_t at, const struct prologue *norms,
                               struct matvec *products, uint32_t *end)
{
    *end = at;
    if (match_glu_product(b, at, &products[0])) {
        *end = at + 3;
        return 1;
    }
    if (match_softcap(b, at, &products[0])) {
        *end = at + 2;
        return 1;
    }
    uint32_t n = 0;
    while (norms->n_steps > 0 && n < 3 && match_matmul(b, at + n, norms->last, &products[n])) {
        n++;
    }
    *end = at + n;
    return n;
}

/* Norms and the products that read their result; or gate and up, or the LM head, without norms. */
static enum status fuse_products(struct builder *b, struct entry *entry)
{
    struct matvec products[3] = {0};
    struct prologue norms = {.kind = PROLOGUE_NONE};
    bool has_norms = match_norms(b, &norms);
    uint32_t at = b->step + norms.n_steps, end;
    if (!match_step(b, at, OP_matmul, has_norms ? (int64_t)norms.last : -1)) {
        return STATUS_OK;
    }
    uint32_t n = match_products(b, at, &norms, products, &end);
    if (n == 0) {
        return STATUS_OK;
    }
    /* The sum is the residual, which later steps read: it is stored in any case. */
    uint32_t stored = norms.kind == PROLOGUE_NORM || !has_norms ? UINT32_MAX : norms.sum;
    uint32_t left_out = products[0].epilogue == EPILOGUE_GLU ? at + 2 : at;
    bool capture = must_store(b, left_out, end, stored);
    for (uint32_t i = 0; i < n; i++) {
        if (has_norms) {
            set_norms(b, &norms, &products[i]);
        }
        products[i].stores = has_norms && i == 0;
        products[i].capture = capture;
        TRY(matvec_add(b, &products[i]));
    }
    entry->n_steps = end - b->step;
    entry->leaves_out = !capture && left_out > b->step;
    return STATUS_OK;
}

/* The attention with its norms and rope, then o, whose prologue joins the parts. */
static enum status fuse_attention(struct builder *b, struct entry *entry)
{
    struct attention_group group;
    struct matvec o = {0};
    if (!attention_split_match(b, &group)) {
        return STATUS_OK;
    }
    uint32_t end = group.attention + 1;
    bool has_o = match_matmul(b, end, group.attention, &o);
    uint32_t left_out = has_o ? end : group.attention;
    bool capture = must_store(b, left_out, end + has_o, UINT32_MAX);
    TRY(attention_split_add(b, &group, capture));
    if (has_o) {
        const struct attention_params *op = &b->buffers->plan->steps[group.attention].params.attention;
        struct attention_parts parts = attention_parts_of(op, b->buffers->max_positions);
        o.prologue.kind = PROLOGUE_ATTENTION;
        o.waits = o.stores = true;
        o.capture = capture;
        o.bindings[3] = attention_split_binding(b, group.attention, false);
        o.bindings[11] = slot_binding(b, group.attention, true);
        o.params.heads = op->heads;
        o.params.n_parts = parts.n;
        o.params.keys_a_part = parts.keys;
        o.params.window = op->window;
        TRY(matvec_add(b, &o));
    } else {
        TRY(attention_split_join(b, group.attention));
    }
    entry->n_steps = end + has_o - b->step;
    entry->leaves_out = !capture;
    return STATUS_OK;
}

enum status fuse_decode(struct builder *b, struct entry *entry)
{
    if (!builder_uses_matvec(b)) {
        return STATUS_OK;
    }
    TRY(fuse_products(b, entry));
    return entry->n_steps ? STATUS_OK : fuse_attention(b, entry);
}
