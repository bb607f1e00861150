#include "engine/lowering/prefill.h"

#include <string.h>

#include "engine/device/cooperative.h"
#include "engine/lowering/kernel_choice.h"

/* Tiles pay off from this number of rows on; fewer leave most of a tile empty. Measured on an H200. */
#define LEAST_ROWS 32

#define LANES 256 /* of a workgroup of the tiled kernels */

/* A workgroup of matmul_tile.comp or matmul_coop.comp computes a tile of ROWS x OUTPUTS, as in matmul_tile.glsl. */
#define ROWS 64
#define OUTPUTS 64
#define TILE_CHUNK 32    /* elements of a row that matmul_tile.comp takes at a time */
#define CHUNK_LOOPS 210  /* iterations of a lane for a chunk, at most */
#define F32_SHARED 18432 /* bytes of shared memory that matmul_tile.comp declares */

/* A workgroup of attention_tile.comp computes FEW_ROWS rows of a head, or MANY_ROWS where there are many workgroups.
 * Its lanes form PARTS parts, and a tile has SCORES scores. */
#define FEW_ROWS 8
#define MANY_ROWS 16
#define PARTS 8
#define SCORES 512
#define TILE_LOOPS 512 /* iterations of a lane for a tile of keys, at most */

uint32_t prefill_least_rows(const struct buffers *buffers)
{
    if (buffers->limits.tiles == TILES_CHOSEN) {
        return buffers->device->info.is_cpu || buffers->limits.matmul != MATMUL_CHOSEN ? 0 : LEAST_ROWS;
    }
    return buffers->limits.tiles == TILES_NEVER ? 0 : 2;
}

static bool has_many_rows(const struct builder *b)
{
    uint32_t least = prefill_least_rows(b->buffers);
    return least && b->n_rows >= least;
}

/* The shader of a product: with cooperative matrices of the KHR extension, of the NV extension, or without. */
static const char *best_tile_shader(const struct builder *b)
{
    unsigned has = b->buffers->device->cooperative;
    switch (b->buffers->limits.tiles) {
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

/* The tiled shader of a product, or NULL. */
static const char *tile_shader(const struct builder *b, const struct matmul *matmul)
{
    unsigned has = b->buffers->device->cooperative;
    enum stage_kernel chosen = kernel_choice_in(b, b->step, matmul->last);
    switch (chosen) {
    case KERNEL_AUTO:
        return has_many_rows(b) ? best_tile_shader(b) : NULL;
    case KERNEL_matmul_tile:
        return stage_kernel_name(chosen);
    case KERNEL_matmul_coop:
        return has & COOPERATIVE_KHR ? stage_kernel_name(chosen) : NULL;
    case KERNEL_matmul_coop_nv:
        return has & COOPERATIVE_NV ? stage_kernel_name(chosen) : NULL;
    default:
        return NULL;
    }
}

bool prefill_has_matmul(const struct builder *b, const struct matmul *matmul)
{
    const struct tensor *matrix = matmul->matrix;
    uint64_t iterations = divide_up(tensor_row_elems(matrix), TILE_CHUNK) * CHUNK_LOOPS;
    return tile_shader(b, matmul) && builder_loops_fit(b, iterations) && matmul->variant == VARIANT_NONE &&
           matrix->layout == LAYOUT_ROWS &&
           tensor_row_elems(matrix) % (dtype_info(matrix->dtype)->block_elems == 1 ? 8 : 32) == 0 &&
           b->buffers->device->limits.maxComputeSharedMemorySize >= F32_SHARED &&
           b->buffers->device->limits.maxComputeWorkGroupInvocations >= LANES;
}

enum status prefill_matmul(struct builder *b, const struct matmul *matmul, uint64_t slice)
{
    const struct tensor *matrix = matmul->matrix, *bias = matmul->bias;
    const char *shader = tile_shader(b, matmul);
    bool coop = strcmp(shader, "matmul_tile") != 0;
    struct matmul_tile_params params = {(uint32_t)tensor_row_elems(matrix), (uint32_t)tensor_rows(matrix), bias != NULL,
                                        1};
    if (coop && matrix->dtype != DTYPE_F16) {
        params.scale = weights_find(&b->buffers->weights, matrix)->scale;
    }
    for (uint64_t first = 0; first < tensor_rows(matrix); first += slice) {
        uint64_t rest = tensor_rows(matrix) - first, count = rest < slice ? rest : slice;
        struct dispatch *dispatch = builder_add(b, matmul->output);
        struct binding *bindings = dispatch->bindings;
        bindings[3] = slot_vec4_binding(b, (uint32_t)matmul->input);
        bindings[4] = weight_binding(b, matrix, first, count);
        bindings[5] = bias ? weight_binding(b, bias, 0, tensor_rows(bias)) : bindings[4];
        struct dispatch_desc desc = {
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
        desc.constants.local_size = LANES;
        desc.constants.bias_dtype = bias ? bias->dtype : DTYPE_F32;
        TRY(builder_finish(b, dispatch, matmul->output, &desc));
    }
    return STATUS_OK;
}

/* Bytes of shared memory that a workgroup of attention_tile.comp declares. */
static uint64_t attention_shared(uint32_t rows, uint32_t piece, uint32_t dim)
{
    uint64_t keys = SCORES / rows, part = piece * (keys + 8 / piece), sums = SCORES / 4;
    uint64_t vectors = rows * (dim / 4 + 1) + PARTS * (part > sums ? part : sums) + sums;
    return 16 * vectors + 8 * rows; /* the last term: row_scale4 and row_total */
}

/* The largest piece of a key, in vec4s, that fits into shared memory; 0: none. */
static uint32_t attention_piece(const struct builder *b, uint32_t rows, uint32_t dim)
{
    uint32_t piece = dim < 128 ? dim / 32 : 4;
    while (piece && attention_shared(rows, piece, dim) > b->buffers->device->limits.maxComputeSharedMemorySize) {
        piece /= 2;
    }
    return piece;
}

bool prefill_has_attention(const struct builder *b, const struct attention_params *op)
{
    uint64_t most = b->buffers->max_positions, keys = op->window && op->window < most ? op->window : most;
    uint64_t iterations = (keys / (SCORES / MANY_ROWS) + 2) * TILE_LOOPS;
    bool fits = op->dim == 32 || op->dim == 64 || op->dim == 128 || op->dim == 256;
    return kernel_choice_is(b, b->step, KERNEL_attention_tile, has_many_rows(b)) && fits &&
           builder_loops_fit(b, iterations) && builder_step(b)->variant == VARIANT_NONE &&
           attention_piece(b, FEW_ROWS, op->dim) && b->buffers->device->limits.maxComputeWorkGroupInvocations >= LANES;
}

/* MANY_ROWS pay off where every core still gets two workgroups. */
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
