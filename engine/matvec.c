/* A row of x times a matrix: how the rows are shared by the lanes of a GPU, and the dispatches. See matvec.comp. */
#include "engine/matvec.h"

#include <string.h>

#define RUN 32             /* as in matvec.comp */
#define LEAST_TEAM 4       /* lanes */
#define MOST_LANES 512     /* more would have too few registers */
#define BUSY_LANES 640     /* enough for a core */
#define PROLOGUE_LANES 256 /* that make x quickly */
#define MOST_HALVES 14     /* pieces of a row that a lane has at once, in registers: of halves, and of quants */
#define MOST_QUANTS 9
#define MOST_LOOPS 4       /* whose sums are put together at once */
#define RUN_SUM_BYTES 1024 /* of rows.glsl */
#define WRITTEN_FIRST 9    /* binding; those before it are read */
#define STORED_FIRST 12    /* binding; those before it are written by what makes x */

uint32_t matvec_most_lanes(const struct builder *b, uint32_t wanted)
{
    const VkPhysicalDeviceLimits *limits = &b->store->device->limits;
    uint32_t subgroup = b->store->device->info.subgroup, most = limits->maxComputeWorkGroupInvocations;
    most = most < limits->maxComputeWorkGroupSize[0] ? most : limits->maxComputeWorkGroupSize[0];
    return (most < wanted ? most : wanted) / subgroup * subgroup;
}

/* Rows of a matrix that a core has. */
static uint64_t share_of(const struct builder *b, const struct tensor *matrix)
{
    return divide_up(tensor_rows(matrix), builder_cores(b));
}

/* Weights of a piece, as pieces.glsl has them. */
static uint32_t piece_elems(const struct builder *b, const struct tensor *matrix)
{
    const struct dtype_info *info = dtype_info(matrix->dtype);
    return weights_find(&b->store->weights, matrix)->grouped ? 16 * info->block_elems / info->parts.quants : 8;
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
        uint64_t busiest = divide_up(divide_up(n_out, group), builder_cores(b)) * group;
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
    uint64_t shared = sizeof(float) * (constants->n_in + (uint64_t)constants->loops * constants->rows * lanes);
    constants->x_shared = matvec->prologue.kind != PROLOGUE_NONE ||
                          shared + RUN_SUM_BYTES <= b->store->device->limits.maxComputeSharedMemorySize;
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
        memcpy(dispatch->bindings + MATVEC_FIRST_BINDING, matvec->bindings + MATVEC_FIRST_BINDING,
               sizeof(matvec->bindings) - MATVEC_FIRST_BINDING * sizeof(matvec->bindings[0]));
        dispatch->bindings[4] = weight_binding(b, matrix, first, count);
        dispatch->bindings[4].range += matvec->more_bytes;
        if (bias)
            dispatch->bindings[5] = weight_binding(b, bias, 0, tensor_rows(bias));
        for (uint32_t i = MATVEC_FIRST_BINDING; i < MATVEC_BINDINGS; i++) {
            bool writes = i >= WRITTEN_FIRST;
            if (!dispatch->bindings[i].buffer || (writes && !params.stores && i < STORED_FIRST))
                dispatch->bindings[i] = dispatch->bindings[writes ? 1 : 4];
        }
        struct finish finish = {
            .shader = "matvec",
            .n_bindings = MATVEC_BINDINGS,
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

struct binding matvec_input(const struct builder *b, int32_t step)
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
    matvec.bindings[3] = matvec_input(b, step->input[0]);
    return matvec_add(b, &matvec);
}
