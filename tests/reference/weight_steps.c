/* The step of a quantised weight: no weight is further from its unquantised value than it says, and hardly nearer. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "model/error.h"
#include "reference/reference.h"
#include "reference/weight_steps.h"
#include "tests/support/quantise.h"

#define ROWS 64
#define ELEMS 512

static const uint32_t dtypes[] = {DTYPE_F16, DTYPE_Q4_0, DTYPE_Q5_0, DTYPE_Q8_0, DTYPE_Q4_K, DTYPE_Q6_K};
#define N_DTYPES (sizeof(dtypes) / sizeof(dtypes[0]))

/* Values between -1 and 1, of which a few are much larger; the scales of rows, and of parts of a row, differ. */
static void fill(float *values)
{
    uint32_t state = 1;
    for (unsigned i = 0; i < ROWS * ELEMS; i++) {
        float sum = 0;
        for (unsigned k = 0; k < 3; k++) {
            state = state * 1664525u + 1013904223u;
            sum += (float)(state >> 8) * 0x1p-24F - 0.5F;
        }
        float scale = (i / ELEMS % 5 == 0 ? 1e-4F : 0.1F) * (i / 128 % 3 == 0 ? 0.02F : 1);
        values[i] = scale * sum * (state % 97 == 0 ? 8 : 1);
    }
}

/* An unquantised matrix, and the same quantised. */
struct pair {
    float *values;
    uint8_t *bytes;
    struct tensor tensor;
};

static void pair_open(struct pair *pair, uint32_t dtype)
{
    pair->values = xmalloc(ROWS * ELEMS * sizeof(float));
    pair->bytes = xmalloc(dtype_bytes(dtype, ROWS * ELEMS));
    fill(pair->values);
    quantise_values(dtype, pair->values, ROWS * ELEMS, pair->bytes);
    pair->tensor = (struct tensor){.name = "w",
                                   .dtype = dtype,
                                   .layout = LAYOUT_ROWS,
                                   .n_dims = 2,
                                   .shape = {ROWS, ELEMS},
                                   .bytes = pair->bytes,
                                   .n_bytes = dtype_bytes(dtype, ROWS * ELEMS)};
}

static void pair_close(struct pair *pair)
{
    free(pair->values);
    free(pair->bytes);
}

/* The largest error as a share of `most`, and the rms error as a share of the step's. */
static void measure(const struct pair *pair, double *worst, double *rms)
{
    float row[ELEMS];
    struct weight_step steps[ELEMS];
    double squares = 0, variance = 0;
    *worst = 0;
    for (unsigned r = 0; r < ROWS; r++) {
        weights_decode(&pair->tensor, r, 0, ELEMS, row);
        weight_steps(&pair->tensor, r, 0, ELEMS, steps);
        for (unsigned i = 0; i < ELEMS; i++) {
            double error = (double)pair->values[r * ELEMS + i] - row[i];
            squares += error * error;
            variance += (double)steps[i].step * steps[i].step / 12;
            *worst = error == 0 ? *worst : fmax(*worst, fabs(error) / steps[i].most);
        }
    }
    *rms = sqrt(squares / variance);
}

static void errors_are_within_the_steps(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_DTYPES; i++) {
        struct pair pair;
        double worst, rms;
        pair_open(&pair, dtypes[i]);
        measure(&pair, &worst, &rms);
        print_message("%s: at most %.4f of the largest error, %.3f in rms\n", dtype_info(dtypes[i])->name, worst, rms);
        assert_true(worst <= 1);
        assert_true(worst > 0.9); /* and no wider than needed */
        assert_true(rms > 0.8 && rms < 1.1);
        pair_close(&pair);
    }
}

/* The twin: a weight that is one step off is found. */
static void a_step_more_is_found(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_DTYPES; i++) {
        struct pair pair;
        struct weight_step steps[ELEMS];
        float row[ELEMS];
        double worst, rms;
        pair_open(&pair, dtypes[i]);
        weight_steps(&pair.tensor, 1, 0, ELEMS, steps);
        weights_decode(&pair.tensor, 1, 0, ELEMS, row);
        pair.values[ELEMS + 7] = row[7] + 1.01F * steps[7].most;
        measure(&pair, &worst, &rms);
        assert_true(worst > 1);
        pair_close(&pair);
    }
}

/* Any piece of a row, in every layout, has the steps of the whole row. */
static void pieces_and_layouts(void **state)
{
    (void)state;
    struct pair pair;
    struct weight_step whole[ELEMS], piece[ELEMS];
    pair_open(&pair, DTYPE_Q4_K);
    struct tensor packed = pair.tensor, columns = pair.tensor;
    packed.layout = LAYOUT_PACKED;
    columns.layout = LAYOUT_COLUMNS;
    columns.shape[0] = ELEMS; /* the same blocks, one behind the other: columns of ROWS values were not whole blocks */
    columns.shape[1] = ROWS;
    weight_steps(&pair.tensor, 3, 0, ELEMS, whole);
    weight_steps(&packed, 3, 100, 300, piece);
    for (unsigned i = 0; i < 300; i++) {
        assert_true(piece[i].step == whole[100 + i].step && piece[i].most == whole[100 + i].most);
    }
    for (unsigned i = 0; i < ELEMS; i++) {
        weight_steps(&columns, i, 3, 1, piece); /* row i, column 3 */
        assert_true(piece[0].step == whole[i].step);
    }
    pair_close(&pair);
}

static void exact_weights_have_none(void **state)
{
    (void)state;
    static const float values[4] = {1, -2, 0, 1e-30F};
    const struct tensor tensor = {.name = "w",
                                  .dtype = DTYPE_F32,
                                  .layout = LAYOUT_ROWS,
                                  .n_dims = 1,
                                  .shape = {4},
                                  .bytes = (const uint8_t *)values,
                                  .n_bytes = sizeof(values)};
    struct weight_step steps[4];
    weight_steps(&tensor, 0, 0, 4, steps);
    for (unsigned i = 0; i < 4; i++) {
        assert_true(steps[i].step == 0 && steps[i].most == 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(errors_are_within_the_steps),
        cmocka_unit_test(a_step_more_is_found),
        cmocka_unit_test(pieces_and_layouts),
        cmocka_unit_test(exact_weights_have_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
