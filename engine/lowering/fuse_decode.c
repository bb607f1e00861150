/* Decoding on a GPU: one row, where the chain of dependent dispatches is what costs. A layer becomes five levels: norms
 * with q, k and v; their norms, rope and the parts of the attention; its parts put together with o; norms with gate, up
 * and the activation; down. A group is found by its shape in the plan; see fuse.c. */
#include "engine/lowering/matvec.h"

/* A norm over whole rows, with weights as the shaders read them. */
static bool is_row_norm(const struct step *step)
{
    return step && step->params.rms_norm.groups == 1 && step->params.rms_norm.dim <= MATVEC_NORM_MOST &&
           step->params.rms_norm.dim % 8 == 0 && step->weight[0]->dtype == DTYPE_F32;
}

/* [[norm] add] norm at b->step. */
static bool match_norms(const struct builder *b, struct prologue *prologue)
{
    uint32_t at = b->step;
    const struct step *norm = fuse_match(b, at, OP_rms_norm, -1), *add = fuse_match(b, at, OP_add, -1);
    if (add && is_row_norm(fuse_match(b, at + 1, OP_rms_norm, at))) {
        *prologue = (struct prologue){PROLOGUE_ADD_NORM, 2, at, at, at + 1};
        return true;
    }
    if (!is_row_norm(norm)) {
        return false;
    }
    add = fuse_match(b, at + 1, OP_add, -1);
    if (add && add->input[1] == (int32_t)at && is_row_norm(fuse_match(b, at + 2, OP_rms_norm, at + 1))) {
        *prologue = (struct prologue){PROLOGUE_NORM_ADD_NORM, 3, at, at + 1, at + 2};
    } else {
        *prologue = (struct prologue){PROLOGUE_NORM, 1, at, at, at};
    }
    return true;
}

/* What the norms bind and are told. */
static void set_norms(const struct builder *b, const struct prologue *prologue, struct matvec *matvec)
{
    const struct step *steps = b->store->plan->steps, *last = &steps[prologue->last];
    matvec->prologue = *prologue;
    matvec->bindings[8] = weight_binding(b, last->weight[0], 0, 1);
    matvec->bindings[11] = slot_binding(b, prologue->last, true);
    matvec->params.last_eps = last->params.rms_norm.eps;
    matvec->params.last_offset = last->params.rms_norm.offset;
    matvec->bindings[3] = matvec_input(b, last->input[0]);
    if (prologue->kind == PROLOGUE_NORM) {
        return;
    }
    matvec->bindings[3] = matvec_input(b, steps[prologue->sum].input[1]);
    matvec->bindings[6] = matvec_input(b, steps[prologue->sum].input[0]);
    matvec->bindings[10] = slot_binding(b, prologue->sum, true);
    if (prologue->kind == PROLOGUE_ADD_NORM) {
        return;
    }
    const struct step *first = &steps[prologue->first];
    matvec->bindings[3] = matvec_input(b, first->input[0]);
    matvec->bindings[7] = weight_binding(b, first->weight[0], 0, 1);
    matvec->bindings[9] = slot_binding(b, prologue->first, true);
    matvec->params.first_eps = first->params.rms_norm.eps;
    matvec->params.first_offset = first->params.rms_norm.offset;
}

/* Whether one of steps [b->step, last), which a fused dispatch of steps up to `end` may leave out, has to be stored: it
 * is captured, or read by others. kept: a step of them that is stored in any case. */
static bool must_store(const struct builder *b, uint32_t last, uint32_t end, uint32_t kept)
{
    const struct plan *plan = b->store->plan;
    for (uint32_t i = b->step; i < last; i++) {
        if (i != kept && b->schedule->captured[i]) {
            return true;
        }
    }
    for (uint32_t i = end; i < plan->n_steps; i++) {
        for (unsigned k = 0; k < OP_MAX_INPUTS; k++) {
            int32_t source = plan->steps[i].input[k];
            if (source >= (int32_t)b->step && source < (int32_t)last && source != (int32_t)kept) {
                return true;
            }
        }
    }
    return false;
}

/* gate, up and the activation, of which gate is step `at`. */
static bool match_glu(const struct builder *b, uint32_t at, struct matvec *matvec)
{
    const struct step *gate = fuse_match(b, at, OP_matmul, -1);
    const struct step *up = gate ? fuse_match(b, at + 1, OP_matmul, gate->input[0]) : NULL;
    const struct step *glu = up ? fuse_match(b, at + 2, OP_glu, at) : NULL;
    if (!glu || glu->input[1] != (int32_t)at + 1 || gate->weight[1] || up->weight[1] || gate->width != up->width ||
        !matvec_fits(b, gate) || !matvec_fits(b, up) || gate->weight[0]->dtype != up->weight[0]->dtype ||
        !fuse_find_second(b, gate->weight[0], up->weight[0], &matvec->more_bytes)) {
        return false;
    }
    matvec->matrix = gate->weight[0];
    matvec->output = at + 2;
    matvec->epilogue = EPILOGUE_GLU;
    matvec->matrices = 2;
    matvec->params.second = (uint32_t)matvec->more_bytes;
    matvec->activation = glu->params.glu.activation;
    matvec->bindings[3] = matvec_input(b, gate->input[0]);
    matvec->bindings[12] = slot_binding(b, at, true);
    matvec->bindings[13] = slot_binding(b, at + 1, true);
    return true;
}

static bool match_matmul(const struct builder *b, uint32_t at, int64_t input, struct matvec *matvec)
{
    const struct step *step = fuse_match(b, at, OP_matmul, input);
    if (!step || !matvec_fits(b, step)) {
        return false;
    }
    matvec->matrix = step->weight[0];
    matvec->bias = step->weight[1];
    matvec->output = at;
    matvec->matrices = 1;
    matvec->bindings[3] = matvec_input(b, step->input[0]);
    return true;
}

/* A matmul and the softcap behind it. */
static bool match_softcap(const struct builder *b, uint32_t at, struct matvec *matvec)
{
    const struct step *cap = fuse_match(b, at + 1, OP_softcap, at);
    if (!cap || !match_matmul(b, at, -1, matvec)) {
        return false;
    }
    matvec->epilogue = EPILOGUE_SOFTCAP;
    matvec->params.cap = cap->params.softcap.cap;
    matvec->bindings[12] = slot_binding(b, at + 1, true);
    return true;
}

/* Norms, and what reads them: up to three products; or gate, up and activation; or the head. Or the last two alone. */
static enum status fuse_products(struct builder *b, struct entry *entry)
{
    struct matvec products[3] = {0};
    struct prologue norms = {.kind = PROLOGUE_NONE};
    bool has_norms = match_norms(b, &norms);
    uint32_t at = b->step + norms.n_steps, n = 1, end = at, kept = norms.sum;
    const struct step *reads = fuse_match(b, at, OP_matmul, has_norms ? (int64_t)norms.last : -1);
    if (!reads) {
        return STATUS_OK;
    }
    if (match_glu(b, at, &products[0])) {
        end = at + 3;
    } else if (match_softcap(b, at, &products[0])) {
        end = at + 2;
    } else {
        for (n = 0; has_norms && n < 3 && match_matmul(b, at + n, norms.last, &products[n]); n++) {
            end = at + n + 1;
        }
    }
    if (end == at) {
        return STATUS_OK;
    }
    if (norms.kind == PROLOGUE_NORM || !has_norms) {
        kept = UINT32_MAX;
    }
    uint32_t left_out = products[0].epilogue == EPILOGUE_GLU ? at + 2 : at;
    bool capture = must_store(b, left_out, end, kept);
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

/* The attention with its norms and rope, then o, which puts its parts together. */
static enum status fuse_attention(struct builder *b, struct entry *entry)
{
    struct heads heads;
    struct matvec o = {0};
    if (!parts_match(b, &heads)) {
        return STATUS_OK;
    }
    uint32_t end = heads.attention + 1;
    bool has_o = match_matmul(b, end, heads.attention, &o);
    uint32_t left_out = has_o ? end : heads.attention;
    bool capture = must_store(b, left_out, end + has_o, UINT32_MAX);
    TRY(parts_add(b, &heads, capture));
    if (has_o) {
        const struct attention_params *op = &b->store->plan->steps[heads.attention].params.attention;
        struct attention_parts parts = store_attention_parts(b->store, op);
        o.prologue.kind = PROLOGUE_ATTENTION;
        o.waits = o.stores = true;
        o.capture = capture;
        o.bindings[3] = parts_binding(b, heads.attention, false);
        o.bindings[11] = slot_binding(b, heads.attention, true);
        o.params.heads = op->heads;
        o.params.n_parts = parts.n;
        o.params.keys_a_part = parts.keys;
        o.params.window = op->window;
        TRY(matvec_add(b, &o));
    } else {
        TRY(parts_join(b, heads.attention));
    }
    entry->n_steps = end + has_o - b->step;
    entry->leaves_out = !capture;
    return STATUS_OK;
}

enum status fuse_decode(struct builder *b, struct entry *entry)
{
    if (!uses_matvec(b)) {
        return STATUS_OK;
    }
    TRY(fuse_products(b, entry));
    return entry->n_steps ? STATUS_OK : fuse_attention(b, entry);
}
