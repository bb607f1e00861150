#include "engine/lowering/lower_matmul.h"

#include <string.h>

#include "engine/lowering/kernel_choice.h"
#include "engine/lowering/matvec.h"
#include "engine/lowering/prefill.h"

/* A lane or workgroup computes a tile: TILE_X rows of x share each decoded weight, and TILE_MATRIX rows of the matrix
 * share each loaded x (on llvmpipe, a load is a loop over the lanes). Measured on llvmpipe, 4 x 4 is 2 to 4 times as
 * fast as 1 x 1. A larger tile of 8 x 8 is 1.5 times as fast again, but its program takes the driver a second to
 * compile, so it is used only for batches of LARGE_TILE_ROWS rows or more. */
#define TILE_X 4
#define TILE_MATRIX 4
#define LARGE_TILE 8
#define LARGE_TILE_ROWS 16

/* Whether a lane computes a row of the matrix, by lane_shader; otherwise a workgroup does, by reduce_shader. chosen:
 * for the product. */
static bool wants_lanes(const struct builder *b, enum stage_kernel chosen, const char *lane_shader,
                        const char *reduce_shader)
{
    if (strcmp(stage_kernel_name(chosen), lane_shader) == 0) {
        return true;
    }
    if (strcmp(stage_kernel_name(chosen), reduce_shader) == 0) {
        return false;
    }
    return b->buffers->limits.matmul == MATMUL_LANE ||
           (b->buffers->limits.matmul == MATMUL_CHOSEN && builder_is_cpu(b));
}

/* Refuses a matrix whose lanes would loop longer than a CPU driver allows. matmul.glsl loops over units of 8 elements
 * where it can, then over the elements of the last partial span (fewer than 128). */
static enum status check_matmul_loop(const struct builder *b)
{
    uint32_t n_in = builder_step(b)->params.matmul.n_in;
    bool by_element =
        builder_step(b)->variant != VARIANT_NONE || n_in % 4 != 0 || builder_step(b)->weight[0]->layout != LAYOUT_ROWS;
    uint64_t iterations = by_element ? n_in : n_in / 8 + n_in % 128; /* inner loops are unrolled */
    if (!builder_is_cpu(b) || iterations <= CPU_MAX_ITERATIONS) {
        return STATUS_OK;
    }
    return error_set(b->err, STATUS_BAD_INPUT, NULL, NULL, ERROR_NO_OFFSET,
                     "a matrix row of %u values needs longer loops than %s runs", n_in, b->buffers->device->info.name);
}

/* Chooses the lanes of a workgroup and the tile that it computes. */
static void choose_shape(const struct builder *b, const struct matmul *matmul, bool lanes,
                         struct program_constants *constants)
{
    uint64_t n_out = tensor_rows(matmul->matrix), n_in = tensor_row_elems(matmul->matrix);
    uint32_t subgroup = b->buffers->device->info.subgroup;
    constants->tile = b->n_rows > 1 ? TILE_X : 1;
    bool by_rows = matmul->matrix->layout == LAYOUT_ROWS;
    constants->by_block = lanes && by_rows && n_in % 32 == 0;
    if (lanes) {
        bool many = b->n_rows >= LARGE_TILE_ROWS;
        constants->local_size = 8;
        constants->rows = many ? LARGE_TILE : TILE_MATRIX;
        constants->tile = many ? LARGE_TILE : constants->tile;
        constants->wide = 0;
        return;
    }
    /* One subgroup computes a short row, without barriers; four compute a long one. There must be enough workgroups to
     * fill the device. The choice depends on the matrix alone, so that prefill, decode and slices sum in the same
     * order. */
    constants->local_size = subgroup < 32 || subgroup > 64 ? 64 : subgroup;
    if (n_in >= 4096) {
        constants->local_size *= 4;
    }
    constants->rows = (n_out >= 32768 ? 4 : n_out >= 16384 ? 2 : 1) * matmul->matrices;
}

enum status matmul_add(struct builder *b, const struct matmul *matmul)
{
    const struct tensor *matrix = matmul->matrix, *bias = matmul->bias;
    bool lanes = wants_lanes(b, kernel_choice_in(b, b->step, matmul->last), matmul->lane_shader, matmul->reduce_shader);
    uint64_t slice;
    TRY(builder_slice_rows(b, matrix, &slice));
    if (bias && dtype_info(bias->dtype)->block_elems != 1) {
        return error_set(b->err, STATUS_BAD_INPUT, bias->file, bias->stored_name, ERROR_NO_OFFSET,
                         "a bias is %s, expected F32, F16 or BF16", dtype_info(bias->dtype)->name);
    }
    if (matmul->variant == VARIANT_TRANSPOSE_B && slice < tensor_rows(matrix)) {
        return error_set(b->err, STATUS_BAD_INPUT, matrix->file, matrix->stored_name, ERROR_NO_OFFSET,
                         "is too large to be read transposed on %s", b->buffers->device->info.name);
    }
    if (prefill_has_matmul(b, matmul)) {
        return prefill_matmul(b, matmul, slice);
    }
    struct program_constants constants = weight_constants(b, matrix);
    constants.bias_dtype = bias ? bias->dtype : DTYPE_F32;
    choose_shape(b, matmul, lanes, &constants);
    uint64_t outputs_a_group = (lanes ? constants.local_size * constants.rows : constants.rows) / matmul->matrices;
    for (uint64_t first = 0; first < tensor_rows(matrix); first += slice) {
        uint64_t rest = tensor_rows(matrix) - first, count = rest < slice ? rest : slice;
        struct dispatch *dispatch = builder_add(b, matmul->output);
        struct binding *bindings = dispatch->bindings;
        bindings[3] = slot_vec4_binding(b, (uint32_t)matmul->input);
        bindings[4] = weight_binding(b, matrix, first, count);
        bindings[4].range += matmul->more_bytes;
        bindings[5] = bias ? weight_binding(b, bias, 0, tensor_rows(bias)) : bindings[4];
        for (uint32_t i = 0; i < matmul->n_more; i++) {
            bindings[6 + i] = matmul->more[i];
        }
        struct dispatch_desc desc = {
            .shader = lanes ? matmul->lane_shader : matmul->reduce_shader,
            .variant = matmul->variant,
            .n_bindings = 6 + matmul->n_more,
            .part = {.first = (uint32_t)first, .count = (uint32_t)count},
            .params = matmul->params,
            .params_bytes = matmul->params_bytes,
            .constants = constants,
            .n_groups = divide_up(count, outputs_a_group) * divide_up(b->n_rows, constants.tile),
        };
        TRY(builder_finish(b, dispatch, matmul->output, &desc));
    }
    return STATUS_OK;
}

enum status lower_matmul(struct builder *b)
{
    const struct step *step = builder_step(b);
    bool done;
    TRY(matvec_lower(b, &done));
    if (done) {
        return STATUS_OK;
    }
    TRY(check_matmul_loop(b));
    struct matmul matmul = {
        .lane_shader = "matmul",
        .reduce_shader = "matmul_reduce",
        .matrix = step->weight[0],
        .bias = step->weight[1],
        .input = step->input[0],
        .output = b->step,
        .last = b->step,
        .variant = step->variant,
        .matrices = 1,
        .params = &step->params,
        .params_bytes = sizeof(struct matmul_params),
    };
    return matmul_add(b, &matmul);
}

/* The matrix has experts * n_out rows. It is sliced like any other; a dispatch computes the outputs of its slice. */
enum status lower_expert_matmul(struct builder *b)
{
    const struct step *step = builder_step(b);
    const struct expert_matmul_params *op = &step->params.expert_matmul;
    const struct tensor *matrix = step->weight[0], *bias = step->weight[1];
    uint64_t slice, n_rows = tensor_rows(matrix);
    TRY(builder_slice_rows(b, matrix, &slice));
    if (builder_is_cpu(b) && op->n_in / 8 + 128 > CPU_MAX_ITERATIONS) {
        return error_set(b->err, STATUS_BAD_INPUT, matrix->file, matrix->stored_name, ERROR_NO_OFFSET,
                         "a matrix row of %u values needs longer loops than %s runs", op->n_in,
                         b->buffers->device->info.name);
    }
    const char *const shaders[] = {"expert_matmul_reduce", "expert_matmul"};
    bool lanes = wants_lanes(b, kernel_choice_of(b, b->step), shaders[1], shaders[0]);
    uint32_t subgroup = b->buffers->device->info.subgroup;
    uint32_t group_lanes = subgroup < 32 || subgroup > 64 ? 64 : subgroup;
    struct program_constants constants = {.local_size = lanes ? 8 : group_lanes,
                                          .dtype = matrix->dtype,
                                          .bias_dtype = bias->dtype,
                                          .layout = matrix->layout};
    uint64_t groups =
        lanes ? divide_up(op->n_out, constants.local_size) : op->n_out; /* for a row of x and one of its k experts */
    for (uint64_t first = 0; first < n_rows; first += slice) {
        uint64_t count = n_rows - first < slice ? n_rows - first : slice;
        struct dispatch *dispatch = builder_add(b, b->step);
        dispatch->bindings[3] = slot_binding(b, (uint32_t)step->input[0], false);
        dispatch->bindings[4] = slot_binding(b, (uint32_t)step->input[1], false);
        dispatch->bindings[5] = weight_binding(b, matrix, first, count);
        dispatch->bindings[6] = weight_binding(b, bias, 0, tensor_rows(bias));
        struct dispatch_desc desc = {
            .shader = shaders[lanes],
            .n_bindings = 7,
            .part = {.first = (uint32_t)first, .count = (uint32_t)count},
            .constants = constants,
            .n_groups = b->n_rows * op->k * groups,
        };
        TRY(builder_finish_step(b, dispatch, desc));
    }
    return STATUS_OK;
}
