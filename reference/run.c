/* Dispatch of ops by their table, and the arithmetic that traces declare. */
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/error.h"
#include "reference/bounds.h"
#include "reference/op.h"

static op_function *const op_functions[OP_END] = {
#define X(name, inputs, weights, what) [OP_##name] = reference_##name,
    OPS(X) JUDGED_OPS(X)
#undef X
};

static void run_uniform(const struct op_batch *batch)
{
    if (batch->step->variant == VARIANT_NONE) {
        op_functions[batch->step->op](batch);
    } else {
        variant_run(batch, op_functions[batch->step->op]);
    }
}

/* What was recorded is the rounding of what was computed. */
static void add_rounded(const struct op_batch *batch)
{
    uint64_t width = batch->step->width;
    for (uint32_t r = 0; r < batch->n_rows && batch->bound; r++) {
        double u = batch->rows[r].arith ? batch->rows[r].arith->u_rounded : 0;
        for (uint64_t i = r * width; u > 0 && i < (r + 1) * width; i++) {
            batch->bound[i] += bound_rounded(u, fabs(batch->y[i]) + batch->bound[i]);
        }
    }
}

static const struct roundings *roundings_of(const struct op_row *row)
{
    static const struct roundings none = {0};
    return row->arith ? &row->arith->roundings : &none;
}

/* The rows among [first, n_rows) with the roundings of row `first`, as a batch of their own; done[] marks them. */
static void run_alike(const struct op_batch *batch, uint32_t first, uint8_t *done)
{
    uint64_t width = batch->step->width;
    struct op_batch part = *batch;
    struct op_row *rows = xmalloc((batch->n_rows - first) * sizeof(*rows));
    uint32_t *from = xmalloc((batch->n_rows - first) * sizeof(*from));
    part.n_rows = 0;
    for (uint32_t r = first; r < batch->n_rows; r++) {
        if (!done[r] && roundings_equal(roundings_of(&batch->rows[r]), roundings_of(&batch->rows[first]))) {
            done[r] = 1;
            from[part.n_rows] = r;
            rows[part.n_rows++] = batch->rows[r];
        }
    }
    part.rows = rows;
    part.y = xmalloc(part.n_rows * width * sizeof(*part.y));
    part.bound = batch->bound ? xmalloc(part.n_rows * width * sizeof(*part.bound)) : NULL;
    run_uniform(&part);
    for (uint32_t i = 0; i < part.n_rows; i++) {
        memcpy(batch->y + from[i] * width, part.y + i * width, width * sizeof(*part.y));
        if (batch->bound) {
            memcpy(batch->bound + from[i] * width, part.bound + i * width, width * sizeof(*part.bound));
        }
    }
    free(part.bound);
    free(part.y);
    free(from);
    free(rows);
}

void op_run(const struct op_batch *batch)
{
    ASSERT((unsigned)batch->step->op < OP_END && batch->step->op != OP_COUNT);
    uint32_t alike = 0;
    while (alike < batch->n_rows && roundings_equal(roundings_of(&batch->rows[alike]), roundings_of(&batch->rows[0]))) {
        alike++;
    }
    uint8_t *done = xcalloc(batch->n_rows + 1, 1);
    for (uint32_t r = 0; alike < batch->n_rows && r < batch->n_rows; r++) {
        if (!done[r]) {
            run_alike(batch, r, done);
        }
    }
    if (alike == batch->n_rows) {
        run_uniform(batch);
    }
    free(done);
    add_rounded(batch);
}

const struct arith arith_float32 = {.u_sum = 0x1p-24, .u_storage = 0x1p-24, .eta = FLT_MIN};

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
