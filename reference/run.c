/* Dispatch of ops by their table, and the arithmetic that traces declare. */
#include <float.h>
#include <string.h>

#include "model/error.h"
#include "reference/dot.h"
#include "reference/op.h"

static op_function *const op_functions[OP_END] = {
#define X(name, inputs, weights, what) [OP_##name] = reference_##name,
    OPS(X) JUDGED_OPS(X)
#undef X
};

void op_run(const struct op_batch *batch)
{
    ASSERT((unsigned)batch->step->op < OP_END && batch->step->op != OP_COUNT);
    if (batch->step->variant == VARIANT_NONE) {
        op_functions[batch->step->op](batch);
    } else {
        variant_run(batch, op_functions[batch->step->op]);
    }
}

double *op_widened(const struct op_batch *batch, unsigned input, uint64_t width)
{
    double *values = xmalloc(batch->n_rows * width * sizeof(*values));
    for (uint32_t r = 0; r < batch->n_rows; r++) {
        dot_widen(batch->rows[r].in[input], width, values + r * width);
    }
    return values;
}

const struct arith arith_float32 = {.u_sum = 0x1p-24, .u_storage = 0x1p-24, .u_operand = 0, .eta = FLT_MIN};

bool float_type(const char *name, double *unit_roundoff, double *smallest_normal)
{
    static const struct {
        const char *name;
        double unit_roundoff, smallest_normal;
    } types[] = {
        {"float32", 0x1p-24, FLT_MIN},
        {"float16", 0x1p-11, 0x1p-14},
        {"bfloat16", 0x1p-8, 0x1p-126},
        {"float64", 0x1p-53, DBL_MIN},
    };
    for (unsigned i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        if (strcmp(types[i].name, name) == 0) {
            *unit_roundoff = types[i].unit_roundoff;
            *smallest_normal = types[i].smallest_normal;
            return true;
        }
    }
    return false;
}
