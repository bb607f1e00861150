/* The step of each weight of a block, from the block's scale and the weight's integer. Sources: quantize_row_*_ref and
 * make_*quants of ggml-quants.c.
 *
 * Every quantiser rounds to the nearest value of the format, so the error is half a step at most. Three things add to
 * that:
 * - The end of the range. A value beyond it is clipped. (K-quants fit their scales afterwards, so that on average
 * clipped values are not further out.)
 * - A scale that is stored in f16 after the integers were chosen with the unrounded one: the value was within
 *   |q| + 1/2 of the unrounded ones.
 * - K-quants store the scale of a run as an integer times the super-block's. It is rounded before the integers are
 *   chosen, so only the ends of a run's range are moved, and runs whose scale became 0. */
#include "reference/weight_steps.h"

#include <math.h>
#include <stdlib.h>

#include "model/error.h"
#include "reference/bits.h"
#include "reference/decode.h"
#include "reference/integer_weights.h"

/* What a format's quantiser does at the ends of its range. */
struct range {
    int least, most;            /* integers of a block; of a table: its values */
    float beyond_least, beyond; /* how far beyond each a value may have been, in units of the scale */
    bool rounds_scale;          /* to f16, after the integers were chosen */
    bool runs;                  /* K: scales of runs are integers */
    const int8_t *table;        /* [16] in ascending order; NULL: every integer is a value */
};

#define SCALE_MOST 128 /* integers of scales and minimums: 63 in Q4_K and Q5_K, 128 in Q6_K */

static const int8_t iq4_nl[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
static const int8_t e2m1[16] = {-12, -8, -6, -4, -3, -2, -1, 0, 0, 1, 2, 3, 4, 6, 8, 12}; /* doubled */

/* Q4_0, Q5_0: the largest magnitude becomes exactly `least`; one as large of the other sign would be most + 1.
 * Q4_1, Q5_1, Q8_0: the range spans the block; nothing is clipped.
 * K: the scale is searched for, from (n - 0.9) to (n + 0.9) steps over the largest value, and fitted afterwards.
 * IQ4_NL: the largest magnitude becomes 120 to 134; of the other sign it may be 134 as well.
 * MXFP4: the largest magnitude is 4 to 8 (doubled: 8 to 16) times the scale. */
static const struct range ranges[DTYPE_COUNT] = {
    [DTYPE_Q4_0] = {-8, 7, 0.5F, 1, true, false, NULL},        [DTYPE_Q5_0] = {-16, 15, 0.5F, 1, true, false, NULL},
    [DTYPE_Q4_1] = {0, 15, 0.5F, 0.5F, true, false, NULL},     [DTYPE_Q5_1] = {0, 31, 0.5F, 0.5F, true, false, NULL},
    [DTYPE_Q8_0] = {-127, 127, 0.5F, 0.5F, true, false, NULL}, [DTYPE_Q4_K] = {0, 15, 1.5F, 1.5F, false, true, NULL},
    [DTYPE_Q5_K] = {0, 31, 1.5F, 1.5F, false, true, NULL},     [DTYPE_Q6_K] = {-32, 31, 1.5F, 2.5F, false, true, NULL},
    [DTYPE_IQ4_NL] = {-127, 113, 7, 21, true, false, iq4_nl},  [DTYPE_MXFP4] = {-12, 12, 4, 4, false, false, e2m1},
};

/* Half of the distance between the f16 numbers beside x. */
static double half_rounding(double x)
{
    return fmax(fabs(x) * 0x1p-11, 0x1p-25);
}

/* The larger gap beside a value, in units of the scale. */
static double gap_at(const struct range *range, int q)
{
    double gap = range->table ? 0 : 1;
    for (unsigned i = 0; range->table && i < 15; i++) {
        int width = range->table[i + 1] - range->table[i];
        if ((range->table[i] == q || range->table[i + 1] == q) && width > gap) {
            gap = width;
        }
    }
    return gap;
}

/* How far the ends of a K-quant's run are moved. Its scale is an integer times d: off by half of d, and by the rounding
 * of d to f16. The same holds of its minimum. super: d and dmin. */
static double range_moved(const struct range *range, double scale, const float super[2])
{
    double d = fabs((double)super[0]), dmin = fabs((double)super[1]);
    double integer = d > 0 ? scale / d : SCALE_MOST;
    double length = range->least == 0 ? range->most + 1 : -range->least; /* from 0 to the further end */
    double minimum = range->least == 0 ? dmin / 2 + SCALE_MOST * half_rounding(dmin) : 0;
    return length * (d / 2 + integer * half_rounding(d)) + minimum;
}

static struct weight_step step_of(const struct range *range, const struct integer_weights *w, unsigned i,
                                  const float super[2])
{
    double scale = fabs(w->scale[i / (INTEGER_BLOCK / 2)]), step = scale * gap_at(range, w->q[i]), most = step / 2;
    double outwards = 0;
    bool low = w->q[i] <= range->least, high = w->q[i] >= range->most;
    if (range->runs) {
        double moved = range_moved(range, scale, super);
        if (low || high || scale == 0) {
            most = (high ? range->beyond : range->beyond_least) * scale + moved;
        }
        step = scale == 0 ? 2 * most : step;
    } else if (low || high) {
        double inside = most;
        most = fmax(most, (high ? range->beyond : range->beyond_least) * scale);
        outwards = (most - inside) / 2; /* uniform over -inside to most */
        step = 2 * most;
    }
    if (range->rounds_scale) {
        double units = scale > 0 ? fabs((double)w->q[i]) + most / scale : range->most;
        double moved = units * half_rounding(scale) + (w->minimum != 0 ? half_rounding(w->minimum) : 0);
        step = sqrt(step * step + 4 * moved * moved); /* uniform over +-moved: variance moved^2 / 3 */
        most += moved;
    }
    /* Quantisers compute in float32: x * (1 / scale) rounds twice, and adding an offset to round rounds once more. */
    most += 4 * (range->most - range->least + 1) * 0x1p-24 * scale;
    return (struct weight_step){(float)step, (float)most, (float)outwards};
}

static float half_at(const uint8_t *bytes)
{
    return float_from_half((uint16_t)(bytes[0] | bytes[1] << 8));
}

/* A float's error is half of the distance to its neighbours. */
static struct weight_step float_step(uint32_t dtype, const uint8_t *bytes)
{
    float value;
    int exponent;
    decode_blocks(dtype, bytes, 1, &value);
    if (dtype == DTYPE_F32 || !isfinite(value)) {
        return (struct weight_step){0, 0, 0};
    }
    (void)frexp(value, &exponent); /* |value| < 2^exponent */
    double step = dtype == DTYPE_F16 ? fmax(ldexp(1, exponent - 11), 0x1p-24) : ldexp(1, exponent - 8);
    step = value == 0 ? (dtype == DTYPE_F16 ? 0x1p-24 : 0) : step;
    return (struct weight_step){(float)step, (float)(step / 2), 0};
}

/* The steps of a block's elements. */
static void block_steps(uint32_t dtype, const uint8_t *block, struct weight_step *steps)
{
    struct integer_weights blocks[DECODE_MAX_BLOCK / INTEGER_BLOCK];
    uint32_t elems = dtype_info(dtype)->block_elems;
    if (elems == 1) {
        *steps = float_step(dtype, block);
        return;
    }
    /* Of a super-block: the unit of its scales, and of its minimums. */
    const struct range *range = &ranges[dtype];
    const struct dtype_info *info = dtype_info(dtype);
    const float super[2] = {range->runs ? half_at(block + info->d_at) : 0,
                            range->runs && info->m_times != 0 ? half_at(block + info->m_at) : 0};
    ASSERT(range->most > range->least);
    integer_block_decode(dtype, block, blocks);
    for (uint32_t i = 0; i < elems; i++) {
        steps[i] = step_of(range, &blocks[i / INTEGER_BLOCK], i % INTEGER_BLOCK, super);
    }
}

/* Elements [first, first + count) of a run of blocks that begins at byte `start` of the tensor. */
static void run_steps(const struct tensor *tensor, uint64_t start, uint64_t first, uint64_t count,
                      struct weight_step *steps)
{
    const struct dtype_info *info = dtype_info(tensor->dtype);
    struct weight_step all[DECODE_MAX_BLOCK];
    uint8_t block[DECODE_MAX_BLOCK];
    ASSERT(info->block_bytes <= sizeof(block));
    while (count > 0) {
        uint64_t skip = first % info->block_elems, n = info->block_elems - skip;
        n = n < count ? n : count;
        tensor_copy(tensor, start + first / info->block_elems * info->block_bytes, info->block_bytes, block);
        block_steps(tensor->dtype, block, all);
        for (uint64_t i = 0; i < n; i++) {
            steps[i] = all[skip + i];
        }
        first += n;
        count -= n;
        steps += n;
    }
}

void weight_steps(const struct tensor *tensor, uint64_t row, uint64_t first, uint64_t count, struct weight_step *steps)
{
    uint64_t row_elems = tensor_row_elems(tensor), n_rows = tensor_rows(tensor);
    ASSERT(row < n_rows && first <= row_elems && count <= row_elems - first);
    switch (tensor->layout) {
    case LAYOUT_ROWS:
        run_steps(tensor, row * tensor_row_bytes(tensor), first, count, steps);
        break;
    case LAYOUT_PACKED:
        run_steps(tensor, 0, row * row_elems + first, count, steps);
        break;
    case LAYOUT_COLUMNS:
        for (uint64_t i = 0; i < count; i++) {
            run_steps(tensor, (first + i) * dtype_bytes(tensor->dtype, n_rows), row, 1, steps + i);
        }
        break;
    default:
        ASSERT(!"a layout without a reader");
    }
}
