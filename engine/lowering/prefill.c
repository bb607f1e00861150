/* Prefill by tiles: which steps of a batch of many rows are made by matmul_tile.comp, matmul_coop.comp (or
 * matmul_coop_nv.comp) and attention_tile.comp, and how. A tile's sum runs in another order than a single row's: the
 * bound holds for any. */
#include <string.h>

#include "engine/schedule/builder.h"

/* From so many rows on tiles pay: fewer leave most of one empty. Measured on an H200. */
#define LEAST_ROWS 32

/* Of a workgroup of the tiled kernels; rows and outputs as matmul_tile.glsl has them. */
#define LANES 256
#define ROWS 64
#define OUTPUTS 64
#define F32_SHARED 18432 /* bytes, that matmul_tile.comp declares */

/* Of attention_tile.comp: rows of a workgroup where there are few groups, and where there are many; parts; scores of a
 * tile. */
#define FEW_ROWS 8
#define MANY_ROWS 16
#define PARTS 8
#define SCORES 512

uint32_t prefill_least_rows(const struct store *store)
{
    if (store->limits.tiles == TILES_CHOSEN) {
        return store->device->info.is_cpu || store->limits.matmul != MATMUL_CHOSEN ? 0 : LEAST_ROWS;
    }
    return store->limits.tiles == TILES_NEVER ? 0 : 2;
}

static bool has_many_rows(const struct builder *b)
{
    uint32_t least = prefill_least_rows(b->store);
    return least && b->n_rows >= least;
}

bool prefill_has_matmul(const struct builder *b, const struct matmul *matmul)
{
    const struct tensor *matrix = matmul->matrix;
    return has_many_rows(b) && matmul->variant == VARIANT_NONE && matrix->layout == LAYOUT_ROWS &&
           tensor_row_elems(matrix) % (dtype_info(matrix->dtype)->block_elems == 1 ? 8 : 32) == 0 &&
           b->store->device->limits.maxComputeSharedMemorySize >= F32_SHARED &&
           b->store->device->limits.maxComputeWorkGroupInvocations >= LANES;
}

/* The shader of many rows: the cooperative one of the later extension that the device has, if it has any. */
static const char *tile_shader(const struct builder *b)
{
    unsigned has = b->store->device->cooperative;
    switch (b->store->limits.tiles) {
    case TILES_F32:
        has = 0;
        break;
    case TILES_NV:
        has &= COOPERATIVE_NV;
        break;
    case TILES_KHR:
        has &= COOPERATIVE_KHR;
        break;
    default:
        break;
    }
    return has & COOPERATIVE_KHR ? "matmul_coop" : has ? "matmul_coop_nv" : "matmul_tile";
}

enum status prefill_matmul(struct builder *b, const struct matmul *matmul, uint64_t slice)
{
    const struct tensor *matrix = matmul->matrix, *bias = matmul->bias;
    const char *shader = tile_shader(b);
    bool coop = strcmp(shader, "matmul_tile") != 0;
    struct matmul_tile_params params = {(uint32_t)tensor_row_elems(matrix), (uint32_t)tensor_rows(matrix), bias != NULL,
                                        1};
    if (coop && matrix->dtype != DTYPE_F16) {
        params.scale = weights_find(&b->store->weights, matrix)->scale;
    }
    for (uint64_t first = 0; first < tensor_rows(matrix); first += slice) {
        uint64_t rest = tensor_rows(matrix) - first, count = rest < slice ? rest : slice;
        struct dispatch *dispatch = builder_add(b, matmul->output);
        struct binding *bindings = dispatch->bindings;
        bindings[3] = slot_binding(b, (uint32_t)matmul->input, false);
        bindings[3].range = align_up(bindings[3].range, 16);
        bindings[4] = weight_binding(b, matrix, first, count);
        bindings[5] = bias ? weight_binding(b, bias, 0, tensor_rows(bias)) : bindings[4];
        struct finish all = {
            .shader = shader,
            .twin = coop ? "matmul_tile" : NULL,
            .n_bindings = 6,
            .subgroup = coop ? COOPERATIVE_SUBGROUP : 0,
            .part = {.first = (uint32_t)first, .count = (uint32_t)count},
            .params = &params,
            .params_bytes = sizeof(params),
            .constants = weight_constants(b, matrix),
            .n_groups = divide_up(count, OUTPUTS) * divide_up(b->n_rows, ROWS),
        };
        all.constants.local_size = LANES;
        all.constants.bias_dtype = bias ? bias->dtype : DTYPE_F32;
        TRY(builder_finish(b, dispatch, matmul->output, &all));
    }
    return STATUS_OK;
}

/* Bytes of shared memory of a workgroup of attention_tile.comp, as it declares them. */
static uint64_t attention_shared(uint32_t rows, uint32_t piece, uint32_t dim)
{
    uint64_t keys = SCORES / rows, part = piece * (keys + 8 / piece), sums = SCORES / 4;
    uint64_t vectors = rows * (dim / 4 + 1) + PARTS * (part > sums ? part : sums) + sums;
    return 16 * vectors + 8 * rows; /* row_scale4 and row_total */
}

/* The largest piece of a key, in vec4s, that shared memory has room for; 0: none. */
static uint32_t attention_piece(const struct builder *b, uint32_t rows, uint32_t dim)
{
    uint32_t piece = dim < 128 ? dim / 32 : 4;
    while (piece && attention_shared(rows, piece, dim) > b->store->device->limits.maxComputeSharedMemorySize) {
        piece /= 2;
    }
    return piece;
}

bool prefill_has_attention(const struct builder *b, const struct attention_params *op)
{
    bool fits = op->dim == 32 || op->dim == 64 || op->dim == 128 || op->dim == 256;
    return has_many_rows(b) && fits && builder_step(b)->variant == VARIANT_NONE &&
           attention_piece(b, FEW_ROWS, op->dim) && b->store->device->limits.maxComputeWorkGroupInvocations >= LANES;
}

/* More rows a workgroup pay where every core has two of them nonetheless. */
uint64_t prefill_attention(const struct builder *b, const struct attention_params *op,
                           struct program_constants *constants)
{
    uint64_t n_groups = divide_up(b->n_rows, MANY_ROWS) * op->heads;
    bool many = n_groups >= 2ull * builder_cores(b) && attention_piece(b, MANY_ROWS, op->dim);
    constants->local_size = LANES;
    constants->rows = many ? MANY_ROWS : FEW_ROWS;
    constants->piece = attention_piece(b, constants->rows, op->dim);
    return divide_up(b->n_rows, constants->rows) * op->heads;
}
