#include "workbench/fault.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "reference/reference.h"

static bool strikes_stage(const struct fault *fault, enum stage stage)
{
    for (const enum stage *at = fault->stages; *at != STAGE_COUNT; at++)
        if (*at == stage)
            return true;
    return false;
}

/* What an edit has before it, and the step that it changes. */
struct edit {
    const struct fault *fault;
    const struct plan *plan;
    uint32_t index;      /* of the step */
    struct arena *arena; /* for changed weights; NULL: only asked whether it applies */
    struct step step;
};

static bool edit_norm_offset(struct edit *edit)
{
    float old = edit->step.params.rms_norm.offset;
    return (edit->step.params.rms_norm.offset = (float)edit->fault->value) != old;
}

static bool edit_norm_offset_add(struct edit *edit)
{
    edit->step.params.rms_norm.offset += (float)edit->fault->value;
    return true;
}

static bool edit_embed_scale(struct edit *edit)
{
    float old = edit->step.params.embed.scale;
    return (edit->step.params.embed.scale = (float)edit->fault->value) != old;
}

static bool edit_query_scale(struct edit *edit)
{
    struct attention_params *params = &edit->step.params.attention;
    float old = params->scale;
    params->scale = (float)(1 / sqrt(params->dim));
    return fabsf(params->scale - old) > 1e-6f * old; /* else only rounded otherwise */
}

static bool edit_window(struct edit *edit)
{
    struct attention_params *params = &edit->step.params.attention;
    bool has_window = params->window != 0;
    params->window += has_window ? (uint32_t)edit->fault->value : 0;
    return has_window;
}

static bool edit_other_kind(struct edit *edit)
{
    const struct plan *plan = edit->plan;
    for (uint32_t i = 0; i < plan->n_steps; i++) {
        const struct step *other = &plan->steps[i];
        if (other->op != edit->step.op || other->stage != edit->step.stage ||
            memcmp(&other->params, &edit->step.params, sizeof other->params) == 0)
            continue;
        edit->step.params = other->params;
        return true;
    }
    return false;
}

static bool edit_gelu_erf(struct edit *edit)
{
    bool is_tanh = edit->step.params.glu.activation == ACTIVATION_GELU_TANH;
    edit->step.params.glu.activation = ACTIVATION_GELU_ERF;
    return is_tanh;
}

/* Whether a wrong formula can be asked of this step: a matrix that is not square cannot be read transposed. */
static bool edit_variant(struct edit *edit)
{
    struct step *step = &edit->step;
    uint32_t variant = (uint32_t)edit->fault->value;
    if (step->variant != VARIANT_NONE)
        return false;
    step->variant = variant;
    switch (variant) {
    case VARIANT_TRANSPOSE_B:
        return step->params.matmul.n_in == step->params.matmul.n_out;
    case VARIANT_SOFTMAX_SIZES_SWAPPED:
    case VARIANT_NO_MAXIMUM:
        return !step->params.attention.has_sinks;
    case VARIANT_SCALE_UNSYNCED:
        return step->params.embed.scale != 1;
    case VARIANT_HALF_SUM:
        return step->params.rms_norm.dim > 16;
    case VARIANT_QUERY_AS_F32:
        return step->params.attention.heads * step->params.attention.dim % 2 == 0;
    default:
        return true;
    }
}

static bool edit_exchange(struct edit *edit)
{
    const struct plan *plan = edit->plan;
    for (uint32_t i = 0; i < plan->n_steps; i++) {
        const struct step *other = &plan->steps[i], *step = &edit->step;
        if (i == edit->index || other->op != step->op || other->layer != step->layer ||
            !strikes_stage(edit->fault, other->stage) || memcmp(other->input, step->input, sizeof step->input) != 0 ||
            memcmp(&other->params, &step->params, sizeof step->params) != 0)
            continue;
        memcpy(edit->step.weight, other->weight, sizeof other->weight);
        return true;
    }
    return false;
}

/* A copy of the step's weight w, whose bytes are its own too if asked for; the step has it from now on. */
static struct tensor *own_weight(struct edit *edit, unsigned w, uint8_t **bytes)
{
    const struct tensor *from = edit->step.weight[w];
    struct tensor *copy = arena_alloc(edit->arena, sizeof *copy);
    *copy = *from;
    if (bytes) {
        *bytes = arena_alloc(edit->arena, from->n_bytes);
        memcpy(*bytes, from->bytes, from->n_bytes);
        copy->bytes = *bytes;
    }
    edit->step.weight[w] = copy;
    return copy;
}

static bool edit_wrong_dtype(struct edit *edit)
{
    static const uint32_t wrong[][2] = {{DTYPE_F32, DTYPE_F16},
                                        {DTYPE_F16, DTYPE_BF16},
                                        {DTYPE_BF16, DTYPE_F16},
                                        {DTYPE_Q8_0, DTYPE_Q4_1},
                                        {DTYPE_Q4_1, DTYPE_Q4_0}}; /* never one that takes more bytes */
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        if (edit->step.weight[0]->dtype != wrong[i][0] || edit->step.weight[0]->layout != LAYOUT_ROWS)
            continue;
        if (edit->arena) {
            struct tensor *weight = own_weight(edit, 0, NULL);
            weight->dtype = wrong[i][1];
            weight->n_bytes = tensor_rows(weight) * tensor_row_bytes(weight);
        }
        return true;
    }
    return false;
}

static bool edit_row_times(struct edit *edit)
{
    if (!edit->arena)
        return true;
    const struct tensor *from = edit->step.weight[0];
    uint64_t n_rows = tensor_rows(from), n = tensor_row_elems(from);
    float *values = arena_alloc(edit->arena, n_rows * n * sizeof *values);
    for (uint64_t row = 0; row < n_rows; row++)
        weights_decode(from, row, 0, n, values + row * n);
    for (uint64_t i = 0; i < n; i++)
        values[n_rows / 3 * n + i] *= (float)edit->fault->value;
    struct tensor *weight = own_weight(edit, 0, NULL);
    weight->dtype = DTYPE_F32;
    weight->layout = LAYOUT_ROWS;
    weight->bytes = (const uint8_t *)values;
    weight->n_bytes = n_rows * n * sizeof *values;
    return true;
}

/* The width of a head of this step's layer; 0: there is none, or the family norms its queries, whose files are in
 * transformers' order. */
static uint32_t pair_order_dim(const struct edit *edit)
{
    int32_t attention = plan_find(edit->plan, edit->step.layer, STAGE_attn_out);
    if (attention < 0 || plan_find(edit->plan, edit->step.layer, STAGE_q_norm) >= 0)
        return 0;
    return edit->plan->steps[attention].params.attention.dim;
}

static bool edit_pair_order(struct edit *edit)
{
    uint32_t dim = pair_order_dim(edit);
    for (unsigned w = 0; w < OP_MAX_WEIGHTS && edit->arena && edit->step.weight[w]; w++) {
        const struct tensor *from = edit->step.weight[w];
        uint8_t *bytes;
        uint64_t row = from->n_bytes / edit->step.width; /* of a bias: one value */
        (void)own_weight(edit, w, &bytes);
        for (uint32_t o = 0; o < edit->step.width; o++) {
            uint32_t within = o % dim, source = o - within + within % 2 * (dim / 2) + within / 2;
            memcpy(bytes + o * row, from->bytes + source * row, row);
        }
    }
    return dim > 2 && edit->step.weight[0]->layout == LAYOUT_ROWS;
}

static bool edit_min_sign(struct edit *edit)
{
    uint32_t dtype = edit->step.weight[0]->dtype;
    if (dtype != DTYPE_Q4_1 && dtype != DTYPE_Q5_1 && dtype != DTYPE_Q4_K && dtype != DTYPE_Q5_K)
        return false; /* those begin with an f16 scale and an f16 minimum */
    if (edit->arena) {
        uint8_t *bytes;
        const struct tensor *weight = own_weight(edit, 0, &bytes);
        for (uint64_t at = 0; at < weight->n_bytes; at += dtype_info(dtype)->block_bytes)
            bytes[at + 3] ^= 0x80;
    }
    return true;
}

/* The number of heads whose width is the step's, or 0. */
static uint32_t heads_of(const struct step *step)
{
    return step->op == OP_rms_norm ? step->params.rms_norm.groups : step->op == OP_rope ? step->params.rope.heads : 0;
}

static bool edit_tamper(struct edit *edit)
{
    struct step *step = &edit->step;
    step->tamper.how = (enum tamper)edit->fault->value;
    switch (step->tamper.how) {
    case TAMPER_SHARED_SLOT: /* the buffer of odd layers */
        step->tamper.with = plan_find(edit->plan, step->layer + 1, STAGE_q_proj);
        return step->layer % 2 == 1 && step->tamper.with >= 0;
    case TAMPER_HEADS_FIRST:
        step->tamper.with = (int32_t)heads_of(step);
        return step->tamper.with > 1;
    default:
        return true;
    }
}

static bool edit_nothing(struct edit *edit)
{
    (void)edit;
    return false;
}

static bool (*const edits[EDIT_COUNT])(struct edit *) = {
    [EDIT_NORM_OFFSET] = edit_norm_offset, [EDIT_NORM_OFFSET_ADD] = edit_norm_offset_add,
    [EDIT_EMBED_SCALE] = edit_embed_scale, [EDIT_QUERY_SCALE] = edit_query_scale,
    [EDIT_WINDOW] = edit_window,           [EDIT_OTHER_KIND] = edit_other_kind,
    [EDIT_GELU_ERF] = edit_gelu_erf,       [EDIT_VARIANT] = edit_variant,
    [EDIT_EXCHANGE] = edit_exchange,       [EDIT_WRONG_DTYPE] = edit_wrong_dtype,
    [EDIT_ROW_TIMES] = edit_row_times,     [EDIT_PAIR_ORDER] = edit_pair_order,
    [EDIT_MIN_SIGN] = edit_min_sign,       [EDIT_TAMPER] = edit_tamper,
    [EDIT_PAD_BUFFERS] = edit_nothing,
};

/* Makes the edit to edit->step. false: it does not apply. */
static bool make_edit(struct edit *edit)
{
    const struct fault *fault = edit->fault;
    edit->step = edit->plan->steps[edit->index];
    return (fault->op == OP_COUNT || fault->op == edit->step.op) && strikes_stage(fault, edit->step.stage) &&
           edits[fault->edit](edit);
}

bool fault_applies(const struct fault *fault, const struct plan *plan, uint32_t step)
{
    struct edit edit = {.fault = fault, .plan = plan, .index = step};
    return make_edit(&edit);
}

struct step fault_mutant(const struct fault *fault, const struct plan *plan, uint32_t step, struct arena *arena)
{
    struct edit edit = {.fault = fault, .plan = plan, .index = step, .arena = arena};
    bool applies = make_edit(&edit);
    ASSERT(applies);
    return edit.step;
}

/* "3" or "3.attn_out", after the @. */
static enum status parse_place(struct fault_request *request, const char *text, const char *place, struct error *err)
{
    char *end;
    unsigned long layer = strtoul(place, &end, 10);
    if (end == place || *place == '-' || *place == '+' || *place == ' ' || layer > INT32_MAX || (*end && *end != '.'))
        return error_set(err, STATUS_USAGE, NULL, "--fault", ERROR_NO_OFFSET,
                         "\"%s\", expected NAME, NAME@LAYER or "
                         "NAME@LAYER.STAGE",
                         text);
    request->layer = (int32_t)layer;
    if (!*end)
        return STATUS_OK;
    request->stage = stage_by_name(end + 1);
    if (request->stage == STAGE_COUNT)
        return error_set(err, STATUS_USAGE, NULL, "--fault", ERROR_NO_OFFSET, "\"%s\": no stage is called %s", text,
                         end + 1);
    return STATUS_OK;
}

enum status fault_parse(struct fault_request *request, const char *text, struct error *err)
{
    char name[64];
    const char *at = strchr(text, '@');
    snprintf(name, sizeof name, "%.*s", at ? (int)(at - text) : (int)strlen(text), text);
    *request = (struct fault_request){fault_by_name(name), LAYER_NONE, STAGE_COUNT};
    if (!request->fault)
        return error_set(err, STATUS_USAGE, NULL, "--fault", ERROR_NO_OFFSET,
                         "\"%s\" is no known fault, expected one that `lockstep faults` lists", name);
    return at ? parse_place(request, text, at + 1, err) : STATUS_OK;
}

enum status fault_plant(const struct fault_request *request, struct plan *plan, int32_t *first, struct error *err)
{
    const struct fault *fault = request->fault;
    *first = -1;
    struct plan before; /* edits look at other steps as they were */
    plan_copy(&before, plan);
    for (uint32_t i = 0; i < plan->n_steps; i++) {
        const struct step *step = &before.steps[i];
        bool asked = (request->layer == LAYER_NONE || step->layer == request->layer) &&
                     (request->stage == STAGE_COUNT || step->stage == request->stage);
        bool further =
            *first < 0 || fault->every_layer || (fault->whole_layer && step->layer == before.steps[*first].layer);
        if (!asked || !further || !fault_applies(fault, &before, i))
            continue;
        plan->steps[i] = fault_mutant(fault, &before, i, &plan->arena);
        if (*first < 0)
            *first = (int32_t)i;
    }
    plan_free(&before);
    if (*first >= 0 || (fault->edit == EDIT_PAD_BUFFERS && request->layer == LAYER_NONE))
        return STATUS_OK;
    char place[96] = "";
    if (request->layer != LAYER_NONE)
        snprintf(place, sizeof place, " at layer %d%s%s", request->layer, request->stage == STAGE_COUNT ? "" : " ",
                 request->stage == STAGE_COUNT ? "" : stage_name(request->stage));
    return error_set(err, STATUS_BAD_INPUT, NULL, fault->name, ERROR_NO_OFFSET,
                     "does not apply to this model%s: no step "
                     "there that it would change",
                     place);
}
