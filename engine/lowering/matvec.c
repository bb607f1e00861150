/* How the lanes of a GPU divide the rows of a matrix among them. See matvec.comp. */
#include "engine/lowering/matvec.h"

#include <string.h>

#include "engine/lowering/kernel_choice.h"

#define RUN 32             /* lanes of a run, as in matvec.comp */
#define LEAST_TEAM 4       /* lanes of the smallest team */
#define MOST_LANES 512     /* of a workgroup; with more lanes there would be too few registers */
#define BUSY_LANES 640     /* lanes that keep a core busy */
#define PROLOGUE_LANES 256 /* lanes that compute x quickly */
#define MOST_HALVES 14     /* max pieces per lane kept in registers: f16 and bf16 */
#define MOST_QUANTS 9      /* the same: quantised */
#define ROW_LOOPS 16       /* iterations of a lane for a piece of a row, or of two rows, at most */
#define MOST_LOOPS 4       /* loops whose sums are combined at a time */
#define RUN_SUM_BYTES 1024 /* shared memory of rows.glsl */
#define WRITTEN_FIRST 9    /* bindings from here on are written, those before it are read */
#define STORED_FIRST 12    /* written bindings before this one belong to the prologue */

uint32_t matvec_most_lanes(const struct builder *b, uint32_t wanted)
{
    const VkPhysicalDeviceLimits *limits = &b->buffers->device->limits;
    uint32_t subgroup = b->buffers->device->info.subgroup, most = limits->maxComputeWorkGroupInvocations;
    most = most < limits->maxComputeWorkGroupSize[0] ? most : limits->maxComputeWorkGroupSize[0];
    return (most < wanted ? most : wanted) / subgroup * subgroup;
}

/* Rows of a matrix that each core computes. */
static uint64_t share_of(const struct builder *b, const struct tensor *matrix)
{
    return divide_up(tensor_rows(matrix), builder_cores(b));
}

/* Weights of a piece, as in pieces.glsl. */
static uint32_t piece_elems(const struct builder *b, const struct tensor *matrix)
{
    const struct dtype_info *info = dtype_info(matrix->dtype);
    return weights_find(&b->buffers->weights, matrix)->grouped ? 16 * info->block_elems / info->parts.quants : 8;
}

/* Lanes that share a row. There are enough of them to keep a lane's pieces in registers, and more where a core's share
 * of the rows would leave lanes idle. The choice depends on the matrix alone, because the order of a sum must not
 * depend on what else a dispatch computes. */
static uint32_t choose_row_lanes(const struct builder *b, const struct tensor *matrix)
{
    uint64_t pieces = tensor_row_elems(matrix) / piece_elems(b, matrix), share = share_of(b, matrix),
             slots = LEAST_TEAM;
    uint32_t most = dtype_info(matrix->dtype)->block_elems == 1 ? MOST_HALVES : MOST_QUANTS;
    while (slots <= MOST_LANES &&
           (divide_up(pieces, slots) > most || (slots * 2 * share <= BUSY_LANES && slots * 2 <= pieces))) {
        slots *= 2;
    }
    return (uint32_t)slots;
}

/* How a workgroup divides its rows: it takes `rows` at a time (whole runs of teams), `loops` times. */
struct division {
    uint32_t team; /* lanes */
    uint32_t rows, loops;
};

static struct division divide_rows(const struct builder *b, uint64_t share, uint32_t row_lanes, uint32_t team)
{
    uint32_t least = RUN / team, most = matvec_most_lanes(b, MOST_LANES) / row_lanes / least * least;
    uint64_t loops = most ? divide_up(share, most) : 0;
    return (struct division){team, most ? (uint32_t)divide_up(divide_up(share, loops), least) * least : 0,
                             (uint32_t)loops};
}

/* One workgroup per core; prefer the smallest team whose busiest core does at most 10 % more rows. All workgroups then
 * run at the same time, and each core computes x once. Small teams share x best. But a workgroup has whole runs of
 * teams, and with small teams that can leave some cores without rows. */
static struct division choose_division(const struct builder *b, const struct tensor *matrix, uint32_t row_lanes)
{
    struct division chosen = {0};
    uint64_t n_out = tensor_rows(matrix), least = UINT64_MAX;
    for (uint32_t team = row_lanes < RUN ? row_lanes : RUN; team >= LEAST_TEAM; team /= 2) {
        struct division division = divide_rows(b, share_of(b, matrix), row_lanes, team);
        if (division.rows == 0) {
            break;
        }
        uint64_t group = (uint64_t)division.rows * division.loops;
        uint64_t busiest = divide_up(divide_up(n_out, group), builder_cores(b)) * group;
        if (least == UINT64_MAX || busiest * 10 <= least * 11) {
            chosen = division;
        }
        least = busiest < least ? busiest : least;
    }
    return chosen;
}

/* Iterations of a lane, at most: for each row that its team takes, its pieces, each of ROW_LOOPS. */
static uint64_t lane_loops(const struct builder *b, const struct tensor *matrix)
{
    uint32_t row_lanes = choose_row_lanes(b, matrix);
    uint64_t pieces = divide_up(tensor_row_elems(matrix) / piece_elems(b, matrix), row_lanes);
    return choose_division(b, matrix, row_lanes).loops * pieces * ROW_LOOPS + tensor_row_elems(matrix) / 4;
}

static bool fits_matvec(const struct builder *b, const struct tensor *matrix, const struct tensor *bias)
{
    uint64_t n_in = tensor_row_elems(matrix);
    uint32_t block = dtype_info(matrix->dtype)->block_elems;
    return builder_can_matvec(b) && matrix->layout == LAYOUT_ROWS && tensor_row_bytes(matrix) % 4 == 0 &&
           n_in % (block > 8 ? block : 8) == 0 && choose_row_lanes(b, matrix) <= MOST_LANES &&
           (!bias || dtype_info(bias->dtype)->block_elems == 1) && builder_loops_fit(b, lane_loops(b, matrix));
}

bool matvec_fits(const struct builder *b, const struct step *step)
{
    uint32_t at = (uint32_t)(step - b->buffers->plan->steps);
    return step->variant == VARIANT_NONE && kernel_choice_is(b, at, KERNEL_matvec, builder_uses_matvec(b)) &&
           fits_matvec(b, step->weight[0], step->weight[1]);
}

static void choose_shape(const struct builder *b, const struct matvec *matvec, struct program_constants *constants)
{
    uint32_t row_lanes = choose_row_lanes(b, matvec->matrix);
    struct division division = choose_division(b, matvec->matrix, row_lanes);
    bool norms = matvec->prologue.kind != PROLOGUE_NONE && matvec->prologue.kind != PROLOGUE_ATTENTION;
    uint32_t lanes = division.rows * row_lanes;
    while (norms && lanes < PROLOGUE_LANES) {
        lanes *= 2;
    }
    constants->team = division.team;
    constants->split = row_lanes / division.team;
    constants->rows = matvec->matrices;
    constants->local_size = lanes;
    constants->chunks = (uint32_t)divide_up(division.loops, MOST_LOOPS);
    constants->loops = (uint32_t)divide_up(division.loops, constants->chunks);
    uint64_t shared = sizeof(float) * (constants->n_in + (uint64_t)constants->loops * constants->rows * lanes);
    constants->x_shared = matvec->prologue.kind != PROLOGUE_NONE ||
                          shared + RUN_SUM_BYTES <= b->buffers->device->limits.maxComputeSharedMemorySize;
}

/* Copies the bindings that matvec sets, and adds the bias. */
static void set_bindings(const struct builder *b, const struct matvec *matvec, struct binding *bindings)
{
    memcpy(bindings + MATVEC_FIRST_BINDING, matvec->bindings + MATVEC_FIRST_BINDING,
           sizeof(matvec->bindings) - MATVEC_FIRST_BINDING * sizeof(matvec->bindings[0]));
    if (matvec->bias) {
        bindings[5] = weight_binding(b, matvec->bias, 0, tensor_rows(matvec->bias));
    }
}

/* Binds something harmless where nothing is set: the matrix for what would be read, the output for what would be
 * written. stores: what the prologue computes is written. */
static void fill_bindings(bool stores, struct binding *bindings)
{
    for (uint32_t i = MATVEC_FIRST_BINDING; i < MATVEC_BINDINGS; i++) {
        bool writes = i >= WRITTEN_FIRST;
        if (!bindings[i].buffer || (writes && !stores && i < STORED_FIRST)) {
            bindings[i] = bindings[writes ? 1 : 4];
        }
    }
}

enum status matvec_add(struct builder *b, const struct matvec *matvec)
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
    if (matvec->prologue.kind == PROLOGUE_ATTENTION) {
        constants.head_dim = constants.n_in / matvec->params.heads;
    }
    uint64_t slice, pass = constants.local_size / (constants.team * constants.split);
    uint64_t outputs = pass * constants.loops * constants.chunks * (constants.rows / matvec->matrices);
    TRY(builder_slice_rows(b, matrix, &slice));
    for (uint64_t first = 0; first < tensor_rows(matrix); first += slice) {
        uint64_t rest = tensor_rows(matrix) - first, count = rest < slice ? rest : slice;
        struct dispatch *dispatch = builder_add(b, matvec->output);
        struct matvec_params params = matvec->params;
        params.n_out = (uint32_t)tensor_rows(matrix);
        params.has_bias = bias != NULL;
        params.stores = matvec->stores && first == 0;
        dispatch->waits = matvec->waits && first == 0;
        set_bindings(b, matvec, dispatch->bindings);
        dispatch->bindings[4] = weight_binding(b, matrix, first, count);
        dispatch->bindings[4].range += matvec->more_bytes;
        fill_bindings(params.stores, dispatch->bindings);
        struct dispatch_desc desc = {
            .shader = "matvec",
            .n_bindings = MATVEC_BINDINGS,
            .part = {.first = (uint32_t)first, .count = (uint32_t)count},
            .params = &params,
            .params_bytes = sizeof(params),
            .constants = constants,
            .n_groups = divide_up(count, outputs),
        };
        TRY(builder_finish(b, dispatch, matvec->output, &desc));
    }
    return STATUS_OK;
}

enum status matvec_lower(struct builder *b, bool *done)
{
    const struct step *step = builder_step(b);
    *done = matvec_fits(b, step);
    if (!*done) {
        return STATUS_OK;
    }
    struct matvec matvec = {
        .matrix = step->weight[0], .bias = step->weight[1], .output = b->step, .matrices = 1, .capture = true};
    matvec.bindings[3] = slot_vec4_binding(b, (uint32_t)step->input[0]);
    return matvec_add(b, &matvec);
}
