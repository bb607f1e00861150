/* Matrix products on a schedule: a lane has rows of the matrix, or a workgroup has. Prefill's and decode's own kernels
 * go before (prefill.c, decode.c). */
#include "engine/schedule/builder.h"

/* Rows of x that a matmul handles for each weight it decodes, where a batch has more than one; and rows of the matrix
 * for each x that it loads, where a lane has rows of its own: a load is a loop over the lanes on llvmpipe. Measured
 * there: 2 to 4 times as fast as 1 and 1; and 8 of both 1.5 times as fast as 4 of both, but a driver takes a second for
 * such a program, so that short prompts are better off without. */
#define MATMUL_TILE 4
#define MATMUL_LANE_ROWS 4
#define MATMUL_MANY 8 /* of both, from so many rows: */
#define MATMUL_MANY_ROWS 16

static bool wants_lanes(const struct builder *b)
{
    return b->store->limits.matmul == MATMUL_LANE || (b->store->limits.matmul == MATMUL_CHOSEN && uses_cpu_shapes(b));
}

/* A lane's loop: units of 8 where it can, else elements: those that no whole span of units holds, 128 of them at most;
 * see matmul.glsl. */
static enum status check_matmul_loop(const struct builder *b)
{
    uint32_t n_in = builder_step(b)->params.matmul.n_in;
    bool by_element =
        builder_step(b)->variant != VARIANT_NONE || n_in % 4 != 0 || builder_step(b)->weight[0]->layout != LAYOUT_ROWS;
    uint64_t iterations = by_element ? n_in : n_in / 8 + n_in % 128; /* the loops inside are unrolled */
    if (!uses_cpu_shapes(b) || iterations <= CPU_MAX_ITERATIONS) {
        return STATUS_OK;
    }
    return error_set(b->err, STATUS_BAD_INPUT, NULL, NULL, ERROR_NO_OFFSET,
                     "a matrix row of %u values needs longer loops than %s runs", n_in, b->store->device->info.name);
}

/* Lanes, and rows of the matrix, that a workgroup has of one product. */
static void choose_shape(const struct builder *b, const struct matmul *matmul, bool lanes,
                         struct program_constants *constants)
{
    uint64_t n_out = tensor_rows(matmul->matrix), n_in = tensor_row_elems(matmul->matrix);
    uint32_t subgroup = b->store->device->info.subgroup;
    constants->tile = b->n_rows > 1 ? MATMUL_TILE : 1;
    bool by_rows = matmul->matrix->layout == LAYOUT_ROWS;
    constants->by_block = lanes && by_rows && n_in % 32 == 0;
    if (lanes) {
        bool many = b->n_rows >= MATMUL_MANY_ROWS;
        constants->local_size = 8;
        constants->rows = many ? MATMUL_MANY : MATMUL_LANE_ROWS;
        constants->tile = many ? MATMUL_MANY : constants->tile;
        constants->wide = 0;
        return;
    }
    /* A short row is one subgroup's, without a barrier; a long one keeps four busy. Enough groups must remain to fill
     * the device. The choice is by the matrix alone, so that prefill, decode and slices sum in one order. */
    constants->local_size = subgroup < 32 || subgroup > 64 ? 64 : subgroup;
    if (n_in >= 4096) {
        constants->local_size *= 4;
    }
    constants->rows = (n_out >= 32768 ? 4 : n_out >= 16384 ? 2 : 1) * matmul->matrices;
}

enum status builder_matmul(struct builder *b, const struct matmul *matmul)
{
    const struct tensor *matrix = matmul->matrix, *bias = matmul->bias;
    bool lanes = wants_lanes(b);
    uint64_t slice;
    TRY(slice_rows(b, matrix, &slice));
    if (bias && dtype_info(bias->dtype)->block_elems != 1) {
        return error_set(b->err, STATUS_BAD_INPUT, bias->file, bias->stored_name, ERROR_NO_OFFSET,
                         "a bias is %s, expected F32, F16 or BF16", dtype_info(bias->dtype)->name);
    }
    if (matmul->variant == VARIANT_TRANSPOSE_B && slice < tensor_rows(matrix)) {
        return error_set(b->err, STATUS_BAD_INPUT, matrix->file, matrix->stored_name, ERROR_NO_OFFSET,
                         "is too large to be read transposed on %s", b->store->device->info.name);
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
        bindings[3] = slot_binding(b, (uint32_t)matmul->input, false);
        bindings[3].range = align_up(bindings[3].range, 16); /* read as vec4; slots are so far apart */
        bindings[4] = weight_binding(b, matrix, first, count);
        bindings[4].range += matmul->more_bytes;
        bindings[5] = bias ? weight_binding(b, bias, 0, tensor_rows(bias)) : bindings[4];
        for (uint32_t i = 0; i < matmul->n_more; i++) {
            bindings[6 + i] = matmul->more[i];
        }
        struct finish all = {
            .shader = lanes ? matmul->lane_shader : matmul->reduce_shader,
            .variant = matmul->variant,
            .n_bindings = 6 + matmul->n_more,
            .part = {.first = (uint32_t)first, .count = (uint32_t)count},
            .params = matmul->params,
            .params_bytes = matmul->params_bytes,
            .constants = constants,
            .n_groups = divide_up(count, outputs_a_group) * divide_up(b->n_rows, constants.tile),
        };
        TRY(builder_finish(b, dispatch, matmul->output, &all));
    }
    return STATUS_OK;
}

enum status matmul_alone(struct builder *b)
{
    const struct step *step = builder_step(b);
    bool done;
    TRY(matvec_alone(b, &done));
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
        .variant = step->variant,
        .matrices = 1,
        .params = &step->params,
        .params_bytes = sizeof(struct matmul_params),
    };
    return builder_matmul(b, &matmul);
}

/* Slices of [experts, n_out] rows, as of any matrix; each dispatch does the outputs that its slice holds. */
enum status expert_matmul_alone(struct builder *b)
{
    const struct step *step = builder_step(b);
    const struct expert_matmul_params *op = &step->params.expert_matmul;
    const struct tensor *matrix = step->weight[0], *bias = step->weight[1];
    uint64_t slice, n_rows = tensor_rows(matrix);
    TRY(slice_rows(b, matrix, &slice));
    if (uses_cpu_shapes(b) && op->n_in / 8 + 128 > CPU_MAX_ITERATIONS) {
        return error_set(b->err, STATUS_BAD_INPUT, matrix->file, matrix->stored_name, ERROR_NO_OFFSET,
                         "a matrix row of %u values needs longer loops than %s runs", op->n_in,
                         b->store->device->info.name);
    }
    bool lanes = wants_lanes(b);
    uint32_t subgroup = b->store->device->info.subgroup;
    struct program_constants constants = {.local_size = lanes                            ? 8
                                                        : subgroup < 32 || subgroup > 64 ? 64
                                                                                         : subgroup,
                                          .dtype = matrix->dtype,
                                          .bias_dtype = bias->dtype,
                                          .layout = matrix->layout};
    uint64_t groups = lanes ? divide_up(op->n_out, constants.local_size) : op->n_out; /* of a row and slot */
    for (uint64_t first = 0; first < n_rows; first += slice) {
        uint64_t count = n_rows - first < slice ? n_rows - first : slice;
        struct dispatch *dispatch = builder_add(b, b->step);
        dispatch->bindings[3] = slot_binding(b, (uint32_t)step->input[0], false);
        dispatch->bindings[4] = slot_binding(b, (uint32_t)step->input[1], false);
        dispatch->bindings[5] = weight_binding(b, matrix, first, count);
        dispatch->bindings[6] = weight_binding(b, bias, 0, tensor_rows(bias));
        TRY(builder_finish_alone(b, dispatch, lanes ? "expert_matmul" : "expert_matmul_reduce", 7,
                                 (struct dispatch_params){.first = (uint32_t)first, .count = (uint32_t)count},
                                 constants, b->n_rows * op->k * groups));
    }
    return STATUS_OK;
}
