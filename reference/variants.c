/* The wrong variants that are not a wrong formula of one op: what an op reads or stores is mistaken for another type.
 * params.h says what each of them does. */
#include <math.h>
#include <stdlib.h>

#include "model/error.h"
#include "reference/bits.h"
#include "reference/op.h"

/* The op that a variant belongs to; another op would silently compute the right formula. */
static bool variant_fits(const struct step *step)
{
    static const enum op op_of[VARIANT_COUNT] = {
        [VARIANT_COPY] = OP_rms_norm,
        [VARIANT_HALF_SUM] = OP_rms_norm,
        [VARIANT_MEAN_SUBTRACTED] = OP_rms_norm,
        [VARIANT_TRANSPOSE_B] = OP_matmul,
        [VARIANT_READ_AS_F16] = OP_matmul,
        [VARIANT_SOFTMAX_SIZES_SWAPPED] = OP_attention,
        [VARIANT_KV_STALE] = OP_attention,
        [VARIANT_QUERY_AS_F32] = OP_attention,
        [VARIANT_OWN_KEY_ONLY] = OP_attention,
        [VARIANT_KEYS_256] = OP_attention,
        [VARIANT_NO_MAXIMUM] = OP_attention,
        [VARIANT_NEXT_KEY] = OP_attention,
        [VARIANT_DROP_RESIDUAL] = OP_add,
        [VARIANT_SOFTMAX_FIRST] = OP_topk_softmax,
        [VARIANT_PLAIN_SWIGLU] = OP_swiglu,
        [VARIANT_GATE_UP_HALVES] = OP_swiglu,
        [VARIANT_LAST_EXPERT] = OP_expert_sum,
        [VARIANT_ROPE_NEIGHBOURS] = OP_rope,
        [VARIANT_KV_HEADS_IN_TURN] = OP_attention,
        [VARIANT_COLUMNS_MIXED] = OP_COUNT, /* the engine's alone */
        [VARIANT_SCALE_UNSYNCED] = OP_COUNT,
        [VARIANT_GROUPS_BY_X] = OP_COUNT,
    };
    enum op op = step->op == OP_attention_probs ? OP_attention : step->op;
    return step->variant == VARIANT_STORE_F16 || (step->variant < VARIANT_COUNT && op_of[step->variant] == op);
}

/* f32 read as f16, or f16 read as f32. */
static void misread(uint32_t variant, const float *row, uint32_t width, float *misread)
{
    for (uint32_t i = 0; i < width; i++) {
        if (variant == VARIANT_READ_AS_F16)
            misread[i] = float_from_half((uint16_t)(bits_of_float(row[i / 2]) >> (i % 2 * 16)));
        else
            misread[i] =
                i < width / 2 ? float_from_bits(half_of(row[2 * i]) | (uint32_t)half_of(row[2 * i + 1]) << 16) : 0;
    }
}

/* The op on rows whose first input is misread. */
static void run_misread(const struct op_batch *batch, op_function *op)
{
    const struct step *step = batch->step;
    uint32_t width =
        step->op == OP_matmul ? step->params.matmul.n_in : step->params.attention.heads * step->params.attention.dim;
    struct op_row *rows = xcalloc(batch->n_rows, sizeof *rows);
    float *inputs = xmalloc((uint64_t)batch->n_rows * width * sizeof *inputs);
    for (uint32_t r = 0; r < batch->n_rows; r++) {
        float *input = inputs + (uint64_t)r * width;
        misread(step->variant, batch->rows[r].in[0], width, input);
        rows[r] = batch->rows[r];
        rows[r].in[0] = input;
    }
    struct op_batch changed = *batch;
    changed.rows = rows;
    op(&changed);
    free(inputs);
    free(rows);
}

/* What is stored is rounded to f16. Where the bound reaches over a rounding boundary, either neighbour may be stored.
 */
static void run_stored_f16(const struct op_batch *batch, op_function *op)
{
    struct step step = *batch->step;
    struct op_batch right = *batch;
    step.variant = VARIANT_NONE;
    right.step = &step;
    op(&right);
    for (uint64_t i = 0; i < (uint64_t)batch->n_rows * step.width; i++) {
        double bound = batch->bound ? batch->bound[i] : 0;
        float low = round_to_dtype((float)(batch->y[i] - bound), DTYPE_F16);
        float high = round_to_dtype((float)(batch->y[i] + bound), DTYPE_F16);
        batch->y[i] = round_to_dtype((float)batch->y[i], DTYPE_F16);
        if (batch->bound)
            batch->bound[i] = isfinite(low) && isfinite(high) ? fabs((double)high - low) : bound;
    }
}

void variant_run(const struct op_batch *batch, op_function *op)
{
    ASSERT(variant_fits(batch->step));
    switch (batch->step->variant) {
    case VARIANT_READ_AS_F16:
    case VARIANT_QUERY_AS_F32:
        run_misread(batch, op);
        break;
    case VARIANT_STORE_F16:
        run_stored_f16(batch, op);
        break;
    default:
        op(batch);
    }
}
