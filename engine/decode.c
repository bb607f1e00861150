/* Decoding on a GPU: one row, where the chain of dependent dispatches is what costs. A layer becomes five levels: norms
 * with q, k and v; their norms, rope and the parts of the attention; its parts put together with o; norms with gate, up
 * and the activation; down. A group is found by its shape in the plan; see fuse.c. */
#include <string.h>

#include "engine/build.h"

#define RUN 32             /* as in matvec.comp */
#define LEAST_TEAM 4       /* lanes */
#define MOST_LANES 512     /* more would have too few registers */
#define BUSY_LANES 640     /* enough for a core */
#define PROLOGUE_LANES 256 /* that make x quickly */
#define MOST_HALVES 14     /* pieces of a row that a lane has at once, in registers: of halves, and of quants */
#define MOST_QUANTS 9
#define MOST_LOOPS 4 /* whose sums are put together at once */
#define SHARED_X_BYTES 30000
#define PART_LANES 256 /* of attention_part: 8 teams of 32, or fewer of more, that share a tile of 32 keys */
#define FIRST_BINDING 3
#define N_BINDINGS 14
#define N_READ 6 /* of them, from the first on */

/* What makes x, of the steps from b->step on. */
struct prologue {
    uint32_t kind;             /* PROLOGUE_ code */
    uint32_t n_steps;          /* that it covers */
    uint32_t first, sum, last; /* steps: the branch's norm, the add, the norm */
};

struct matvec {
    const struct tensor *matrix, *bias;
    uint32_t output, epilogue, activation, matrices; /* matrices: whose rows a team takes together */
    uint64_t more_bytes;                             /* as struct matmul's */
    struct prologue prologue;
    bool stores, capture, waits;
    struct binding bindings[N_BINDINGS]; /* 3 on, where buffer is set */
    struct matvec_params params;
};

/* Lanes of a workgroup: so many, or what the device has; whole subgroups. */
static uint32_t matvec_most_lanes(const struct builder *b, uint32_t wanted)
{
    const VkPhysicalDeviceLimits *limits = &b->store->device->limits;
    uint32_t subgroup = b->store->device->info.subgroup, most = limits->maxComputeWorkGroupInvocations;
    most = most < limits->maxComputeWorkGroupSize[0] ? most : limits->maxComputeWorkGroupSize[0];
    return (most < wanted ? most : wanted) / subgroup * subgroup;
}

static uint32_t core_count(const struct builder *b)
{
    return b->store->limits.cores ? b->store->limits.cores : b->store->device->cores;
}

/* Rows of a matrix that a core has. */
static uint64_t share_of(const struct builder *b, const struct tensor *matrix)
{
    return divide_up(tensor_rows(matrix), core_count(b));
}

/* Weights of a piece, as pieces.glsl has them. */
static uint32_t piece_elems(const struct builder *b, const struct tensor *matrix)
{
    return !weights_find(&b->store->weights, matrix)->grouped ? 8 : matrix->dtype == DTYPE_Q8_0 ? 16 : 32;
}

/* Lanes that share a row: enough for few pieces each, and more where a core's share of the rows leaves lanes idle. By
 * the matrix alone: the order of a sum must not depend on what else a dispatch does. */
static uint32_t choose_slots(const struct builder *b, const struct tensor *matrix)
{
    uint64_t pieces = tensor_row_elems(matrix) / piece_elems(b, matrix), share = share_of(b, matrix),
             slots = LEAST_TEAM;
    uint32_t most = dtype_info(matrix->dtype)->block_elems == 1 ? MOST_HALVES : MOST_QUANTS;
    while (slots <= MOST_LANES &&
           (divide_up(pieces, slots) > most || (slots * 2 * share <= BUSY_LANES && slots * 2 <= pieces)))
        slots *= 2;
    return (uint32_t)slots;
}

static bool fits_matvec(const struct builder *b, const struct tensor *matrix, const struct tensor *bias)
{
    uint64_t n_in = tensor_row_elems(matrix);
    uint32_t block = dtype_info(matrix->dtype)->block_elems;
    return uses_matvec(b) && matrix->layout == LAYOUT_ROWS && tensor_row_bytes(matrix) % 4 == 0 &&
           n_in % (block > 8 ? block : 8) == 0 && choose_slots(b, matrix) <= MOST_LANES &&
           (!bias || dtype_info(bias->dtype)->block_elems == 1);
}

bool matvec_fits(const struct builder *b, const struct step *step)
{
    return step->variant == VARIANT_NONE && fits_matvec(b, step->weight[0], step->weight[1]);
}

/* How the lanes of a workgroup share rows: `rows` at once, whole runs of teams, and `loops` times. */
struct division {
    uint32_t team, rows, loops;
};

static struct division divide_rows(const struct builder *b, uint64_t share, uint32_t slots, uint32_t team)
{
    uint32_t least = RUN / team, most = matvec_most_lanes(b, MOST_LANES) / slots / least * least;
    uint64_t loops = most ? divide_up(share, most) : 0;
    return (struct division){team, most ? (uint32_t)divide_up(divide_up(share, loops), least) * least : 0,
                             (uint32_t)loops};
}

/* A workgroup for each core, that has its share of the rows: all run at once and make x once a core. Small teams read x
 * best, but a workgroup has whole runs of them, and that must not leave cores without rows: a tenth more than need be
 * for the busiest core is taken for it. */
static struct division choose_division(const struct builder *b, const struct tensor *matrix, uint32_t slots)
{
    struct division chosen = {0};
    uint64_t n_out = tensor_rows(matrix), least = UINT64_MAX;
    for (uint32_t team = slots < RUN ? slots : RUN; team >= LEAST_TEAM; team /= 2) {
        struct division division = divide_rows(b, share_of(b, matrix), slots, team);
        if (division.rows == 0)
            break;
        uint64_t group = (uint64_t)division.rows * division.loops;
        uint64_t busiest = divide_up(divide_up(n_out, group), core_count(b)) * group;
        if (least == UINT64_MAX || busiest * 10 <= least * 11)
            chosen = division;
        least = busiest < least ? busiest : least;
    }
    return chosen;
}

static void choose_shape(const struct builder *b, const struct matvec *matvec, struct program_constants *constants)
{
    uint32_t slots = choose_slots(b, matvec->matrix);
    struct division division = choose_division(b, matvec->matrix, slots);
    bool norms = matvec->prologue.kind != PROLOGUE_NONE && matvec->prologue.kind != PROLOGUE_ATTENTION;
    uint32_t lanes = division.rows * slots;
    while (norms && lanes < PROLOGUE_LANES)
        lanes *= 2;
    constants->team = division.team;
    constants->split = slots / division.team;
    constants->rows = matvec->matrices;
    constants->local_size = lanes;
    constants->chunks = (uint32_t)divide_up(division.loops, MOST_LOOPS);
    constants->loops = (uint32_t)divide_up(division.loops, constants->chunks);
    constants->x_shared = matvec->prologue.kind != PROLOGUE_NONE || constants->n_in * sizeof(float) <= SHARED_X_BYTES;
}

static enum status add_matvec(struct builder *b, const struct matvec *matvec)
{
    const struct tensor *matrix = matvec->matrix, *bias = matvec->bias;
    struct program_constants constants = weight_constants(b, matrix);
    constants.bias_dtype = bias ? bias->dtype : DTYPE_F32;
    constants.prologue = matvec->prologue.kind;
    constants.epilogue = matvec->epilogue;
    constants.capture = matvec->capture;
    constants.n_in = (uint32_t)tensor_row_elems(matrix);
    constants.activation = matvec->activation;
    choose_shape(b, matvec, &constants);
    if (matvec->prologue.kind == PROLOGUE_ATTENTION)
        constants.head_dim = constants.n_in / matvec->params.heads;
    uint64_t slice, pass = constants.local_size / (constants.team * constants.split);
    uint64_t outputs = pass * constants.loops * constants.chunks * (constants.rows / matvec->matrices);
    TRY(slice_rows(b, matrix, &slice));
    for (uint64_t first = 0; first < tensor_rows(matrix); first += slice) {
        uint64_t rest = tensor_rows(matrix) - first, count = rest < slice ? rest : slice;
        struct dispatch *dispatch = builder_add(b, matvec->output);
        struct matvec_params params = matvec->params;
        params.n_out = (uint32_t)tensor_rows(matrix);
        params.has_bias = bias != NULL;
        params.stores = matvec->stores && first == 0;
        dispatch->waits = matvec->waits && first == 0;
        memcpy(dispatch->bindings + FIRST_BINDING, matvec->bindings + FIRST_BINDING,
               sizeof(matvec->bindings) - FIRST_BINDING * sizeof(matvec->bindings[0]));
        dispatch->bindings[4] = weight_binding(b, matrix, first, count);
        dispatch->bindings[4].range += matvec->more_bytes;
        if (bias)
            dispatch->bindings[5] = weight_binding(b, bias, 0, tensor_rows(bias));
        for (uint32_t i = FIRST_BINDING; i < N_BINDINGS; i++) {
            bool writes = i >= FIRST_BINDING + N_READ;
            if (!dispatch->bindings[i].buffer || (writes && !params.stores && i < 12))
                dispatch->bindings[i] = dispatch->bindings[writes ? 1 : 4];
        }
        struct finish finish = {
            .shader = "matvec",
            .n_bindings = N_BINDINGS,
            .part = {.first = (uint32_t)first, .count = (uint32_t)count},
            .params = &params,
            .params_bytes = sizeof(params),
            .constants = constants,
            .n_groups = divide_up(count, outputs),
        };
        TRY(builder_finish(b, dispatch, matvec->output, &finish));
    }
    return STATUS_OK;
}

/* A stage as the shaders read it, in vec4s; slots are far enough apart. */
static struct binding input_binding(const struct builder *b, int32_t step)
{
    struct binding binding = slot_binding(b, (uint32_t)step, false);
    binding.range = align_up(binding.range, 16);
    return binding;
}

enum status matvec_alone(struct builder *b, bool *done)
{
    const struct step *step = builder_step(b);
    *done = matvec_fits(b, step);
    if (!*done)
        return STATUS_OK;
    struct matvec matvec = {
        .matrix = step->weight[0], .bias = step->weight[1], .output = b->step, .matrices = 1, .capture = true};
    matvec.bindings[3] = input_binding(b, step->input[0]);
    return add_matvec(b, &matvec);
}

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
    if (!is_row_norm(norm))
        return false;
    add = fuse_match(b, at + 1, OP_add, -1);
    if (add && add->input[1] == (int32_t)at && is_row_norm(fuse_match(b, at + 2, OP_rms_norm, at + 1)))
        *prologue = (struct prologue){PROLOGUE_NORM_ADD_NORM, 3, at, at + 1, at + 2};
    else
        *prologue = (struct prologue){PROLOGUE_NORM, 1, at, at, at};
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
    matvec->bindings[3] = input_binding(b, last->input[0]);
    if (prologue->kind == PROLOGUE_NORM)
        return;
    matvec->bindings[3] = input_binding(b, steps[prologue->sum].input[1]);
    matvec->bindings[6] = input_binding(b, steps[prologue->sum].input[0]);
    matvec->bindings[10] = slot_binding(b, prologue->sum, true);
    if (prologue->kind == PROLOGUE_ADD_NORM)
        return;
    const struct step *first = &steps[prologue->first];
    matvec->bindings[3] = input_binding(b, first->input[0]);
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
        if (i != kept && b->schedule->captured[i])
            return true;
    }
    for (uint32_t i = end; i < plan->n_steps; i++) {
        for (unsigned k = 0; k < OP_MAX_INPUTS; k++) {
            int32_t source = plan->steps[i].input[k];
            if (source >= (int32_t)b->step && source < (int32_t)last && source != (int32_t)kept)
                return true;
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
        !fuse_find_second(b, gate->weight[0], up->weight[0], &matvec->more_bytes))
        return false;
    matvec->matrix = gate->weight[0];
    matvec->output = at + 2;
    matvec->epilogue = EPILOGUE_GLU;
    matvec->matrices = 2;
    matvec->params.second = (uint32_t)matvec->more_bytes;
    matvec->activation = glu->params.glu.activation;
    matvec->bindings[3] = input_binding(b, gate->input[0]);
    matvec->bindings[12] = slot_binding(b, at, true);
    matvec->bindings[13] = slot_binding(b, at + 1, true);
    return true;
}

static bool match_matmul(const struct builder *b, uint32_t at, int64_t input, struct matvec *matvec)
{
    const struct step *step = fuse_match(b, at, OP_matmul, input);
    if (!step || !matvec_fits(b, step))
        return false;
    matvec->matrix = step->weight[0];
    matvec->bias = step->weight[1];
    matvec->output = at;
    matvec->matrices = 1;
    matvec->bindings[3] = input_binding(b, step->input[0]);
    return true;
}

/* A matmul and the softcap behind it. */
static bool match_softcap(const struct builder *b, uint32_t at, struct matvec *matvec)
{
    const struct step *cap = fuse_match(b, at + 1, OP_softcap, at);
    if (!cap || !match_matmul(b, at, -1, matvec))
        return false;
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
    if (!reads)
        return STATUS_OK;
    if (match_glu(b, at, &products[0]))
        end = at + 3;
    else if (match_softcap(b, at, &products[0]))
        end = at + 2;
    else
        for (n = 0; has_norms && n < 3 && match_matmul(b, at + n, norms.last, &products[n]); n++)
            end = at + n + 1;
    if (end == at)
        return STATUS_OK;
    if (norms.kind == PROLOGUE_NORM || !has_norms)
        kept = UINT32_MAX;
    uint32_t left_out = products[0].epilogue == EPILOGUE_GLU ? at + 2 : at;
    bool capture = must_store(b, left_out, end, kept);
    for (uint32_t i = 0; i < n; i++) {
        if (has_norms)
            set_norms(b, &norms, &products[i]);
        products[i].stores = has_norms && i == 0;
        products[i].capture = capture;
        TRY(add_matvec(b, &products[i]));
    }
    entry->n_steps = end - b->step;
    entry->leaves_out = !capture && left_out > b->step;
    return STATUS_OK;
}

/* One row's attention, and what is done of its q and k with it. Steps; n_steps 0: it stands alone. */
struct heads {
    uint32_t n_steps, attention, prologue;
    uint32_t q_norm, k_norm, q_rope, k_rope;
};

static bool fits_parts(const struct builder *b, const struct step *step)
{
    const struct attention_params *op = &step->params.attention;
    const struct tensor *sinks = step->weight[0];
    return uses_matvec(b) && step->variant == VARIANT_NONE && op->dim % 4 == 0 && op->dim <= MATVEC_LANES &&
           op->heads * op->dim <= MATVEC_NORM_MOST && matvec_most_lanes(b, PART_LANES) == PART_LANES &&
           (!sinks || dtype_info(sinks->dtype)->block_elems == 1);
}

static struct binding parts_binding(const struct builder *b, uint32_t attention, bool write)
{
    return (struct binding){b->store->parts.handle, 0, b->store->parts.size, (int32_t)(2 * attention), write};
}

static enum status add_parts(struct builder *b, const struct heads *heads, bool capture)
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

static enum status add_join(struct builder *b, uint32_t attention)
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
    if (!*done)
        return STATUS_OK;
    TRY(add_parts(b, &(struct heads){.attention = b->step, .prologue = PROLOGUE_NONE}, true));
    return add_join(b, b->step);
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

/* [q_norm k_norm] q_rope k_rope attention at b->step. */
static bool match_heads(const struct builder *b, struct heads *heads)
{
    uint32_t at = b->step, norms = fuse_match(b, at, OP_rms_norm, -1) ? 2 : 0;
    const struct step *step = fuse_match(b, at + norms + 2, OP_attention, at + norms);
    if (!step || step->input[1] != (int32_t)(at + norms + 1) || !fits_parts(b, step))
        return false;
    const struct attention_params *op = &step->params.attention;
    *heads = (struct heads){norms + 3,  at + norms + 2, norms ? PROLOGUE_NORM : PROLOGUE_ROPE, at, at + 1,
                            at + norms, at + norms + 1};
    if (norms && (!is_head_norm(fuse_match(b, at, OP_rms_norm, -1), op->heads, op->dim) ||
                  !is_head_norm(fuse_match(b, at + 1, OP_rms_norm, -1), op->kv_heads, op->dim)))
        return false;
    const struct step *q_rope = fuse_match(b, heads->q_rope, OP_rope, norms ? (int64_t)at : -1),
                      *k_rope = fuse_match(b, heads->k_rope, OP_rope, norms ? (int64_t)at + 1 : -1);
    return is_rope(q_rope, op->heads, op->dim) && is_rope(k_rope, op->kv_heads, op->dim) &&
           b->store->table[heads->q_rope].offset == b->store->table[heads->k_rope].offset;
}

/* The attention with its norms and rope, then o, which puts its parts together. */
static enum status fuse_attention(struct builder *b, struct entry *entry)
{
    struct heads heads;
    struct matvec o = {0};
    if (!match_heads(b, &heads))
        return STATUS_OK;
    uint32_t end = heads.attention + 1;
    bool has_o = match_matmul(b, end, heads.attention, &o);
    uint32_t left_out = has_o ? end : heads.attention;
    bool capture = must_store(b, left_out, end + has_o, UINT32_MAX);
    TRY(add_parts(b, &heads, capture));
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
        TRY(add_matvec(b, &o));
    } else {
        TRY(add_join(b, heads.attention));
    }
    entry->n_steps = end + has_o - b->step;
    entry->leaves_out = !capture;
    return STATUS_OK;
}

enum status fuse_decode(struct builder *b, struct entry *entry)
{
    if (!uses_matvec(b))
        return STATUS_OK;
    TRY(fuse_products(b, entry));
    return entry->n_steps ? STATUS_OK : fuse_attention(b, entry);
}
