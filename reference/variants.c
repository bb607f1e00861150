/* Variants that mistake the type of what an op reads or stores. Variants that are a wrong formula are computed by the
 * op itself. model/variants.h lists them all. */
#include <math.h>
#include <stdlib.h>

#include "model/error.h"
#include "reference/bits.h"
#include "reference/op.h"

/* Whether the step's op has the variant; another op would silently compute the right formula. */
static bool variant_fits(const struct step *step)
{
    const struct variant_info *info = variant_info(step->variant);
    enum op op = step->op == OP_attention_probs ? OP_attention : step->op;
    return info->how != MUTANT_NONE && (info->op == OP_COUNT || info->op == op);
}

/* Reads f32 as f16 (VARIANT_READ_AS_F16), or f16 as f32. */
static void misread(uint32_t variant, const float *row, uint32_t width, float *misread)
{
    for (uint32_t i = 0; i < width; i++) {
        if (variant == VARIANT_READ_AS_F16) {
            misread[i] = float_from_half((uint16_t)(bits_of_float(row[i / 2]) >> (i % 2 * 16)));
        } else {
            misread[i] =
                i < width / 2 ? float_from_bits(half_of(row[2 * i]) | (uint32_t)half_of(row[2 * i + 1]) << 16) : 0;
        }
    }
}

/* Runs the op on rows whose first input is misread. */
static void run_misread(const struct op_batch *batch, op_function *op)
{
    const struct step *step = batch->step;
    uint32_t width =
        step->op == OP_matmul ? step->params.matmul.n_in : step->params.attention.heads * step->params.attention.dim;
    struct op_row *rows = xcalloc(batch->n_rows, sizeof(*rows));
    float *inputs = xmalloc((uint64_t)batch->n_rows * width * sizeof(*inputs));
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

/* Rounds the op's output to f16. Where the bound crosses a rounding boundary, either neighbour may be stored. */
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
        if (batch->bound) {
            batch->bound[i] = isfinite(low) && isfinite(high) ? fabs((double)high - low) : bound;
        }
    }
}

/* The op's own function computes the wrong formula. */
static void run_formula(const struct op_batch *batch, op_function *op)
{
    op(batch);
}

void variant_run(const struct op_batch *batch, op_function *op)
{
    static void (*const runs[])(const struct op_batch *batch, op_function *op) = {
        [MUTANT_FORMULA] = run_formula,
        [MUTANT_READS] = run_misread,
        [MUTANT_STORES] = run_stored_f16,
    };
    ASSERT(variant_fits(batch->step));
    runs[variant_info(batch->step->variant)->how](batch, op);
}
