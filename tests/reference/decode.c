/* Plain floats, parts of rows, and rounding of weights to a declared dtype. formats.c tests the block formats. */
#include "tests/reference/reference_case.h"

static struct tensor tensor_of_bytes(uint32_t dtype, uint64_t rows, uint64_t cols, const void *bytes)
{
    const struct dtype_info *info = dtype_info(dtype);
    return (struct tensor){.name = "test",
                           .dtype = dtype,
                           .n_dims = 2,
                           .shape = {rows, cols},
                           .bytes = bytes,
                           .n_bytes = rows * cols / info->block_elems * info->block_bytes};
}

/* Index of the first value whose bits differ, or -1. */
static int first_wrong(uint32_t dtype, const void *bytes, const uint32_t *bits, uint64_t count)
{
    float values[64];
    assert_true(count <= COUNT(values));
    struct tensor tensor = tensor_of_bytes(dtype, 1, count, bytes);
    weights_decode(&tensor, 0, 0, count, values);
    for (uint64_t i = 0; i < count; i++) {
        if (memcmp(&values[i], &bits[i], 4) != 0) {
            return (int)i;
        }
    }
    return -1;
}

static void decodes_floats(void **state)
{
    (void)state;
    static const uint16_t half[] = {0x0000, 0x8000, 0x3c00, 0xc000, 0x7bff, 0x0001,
                                    0x83ff, 0x0400, 0x7c00, 0xfc00, 0x3555};
    static const float half_values[] = {0,           -0.0f,    1,        -2,        65504,      0x1p-24f,
                                        -0x3ffp-24f, 0x1p-14f, INFINITY, -INFINITY, 0x1.554p-2f};
    assert_int_equal(first_wrong(DTYPE_F16, half, (const uint32_t *)half_values, COUNT(half)), -1);

    static const uint16_t brain[] = {0x3f80, 0xbfc0, 0x0001, 0x7f7f, 0xff80};
    static const uint32_t brain_bits[] = {0x3f800000, 0xbfc00000, 0x00010000, 0x7f7f0000, 0xff800000};
    assert_int_equal(first_wrong(DTYPE_BF16, brain, brain_bits, COUNT(brain)), -1);

    static const float plain[] = {1.5f, -0.0f, 0x1p-149f, 3e38f};
    assert_int_equal(first_wrong(DTYPE_F32, plain, (const uint32_t *)plain, COUNT(plain)), -1);

    float nan;
    struct tensor tensor = tensor_of_bytes(DTYPE_F16, 1, 1, (const uint16_t[]){0x7e01});
    weights_decode(&tensor, 0, 0, 1, &nan);
    assert_true(isnan(nan));
}

/* Decodes any row, and any run of blocks in it. */
static void decodes_parts_of_rows(void **state)
{
    (void)state;
    uint8_t bytes[3 * 4 * 34]; /* 3 rows of 4 blocks */
    uint64_t seed = 1;
    for (unsigned i = 0; i < sizeof(bytes); i++) {
        bytes[i] = (uint8_t)(random_bits(&seed) & 0x3f); /* keeps scales finite */
    }
    struct tensor all = tensor_of_bytes(DTYPE_Q8_0, 1, 12 * 32, bytes),
                  rows = tensor_of_bytes(DTYPE_Q8_0, 3, 4 * 32, bytes);
    float expected[12 * 32], values[2 * 32];
    weights_decode(&all, 0, 0, 12 * 32, expected);
    weights_decode(&rows, 2, 32, 64, values);
    assert_memory_equal(values, expected + (2 * 4 + 1) * 32, sizeof(values));
    assert_memory_not_equal(values, expected + 2 * 4 * 32, sizeof(values));
}

/* Rounding to weights_dtype is to nearest, ties to even. It is tested through embed, whose scale is rounded too. */
static double rounded(uint32_t dtype, float weight, float scale)
{
    struct tensor tensor = tensor_of_floats(&weight, 1, 1);
    struct step step = {.op = OP_embed, .width = 1, .weight = {&tensor}, .params.embed = {1, 1, scale}};
    struct op_row row = {.arith = &arith_float32, .token = 0};
    struct result result = run_rows(&step, &row, 1, dtype);
    double y = result.y[0];
    result_free(&result);
    return y;
}

static void rounds_weights_to_a_dtype(void **state)
{
    (void)state;
    assert_true(rounded(DTYPE_F32, 1.00390625f, 1) == 1.00390625);
    assert_true(rounded(DTYPE_BF16, 1.00390625f, 1) == 1);         /* a tie: to even */
    assert_true(rounded(DTYPE_BF16, 1.01171875f, 1) == 1.015625);  /* a tie: to even, up */
    assert_true(rounded(DTYPE_BF16, 1.00390637f, 1) == 1.0078125); /* above the tie */
    assert_true(rounded(DTYPE_BF16, -3.4e38f, 1) == -INFINITY);
    assert_true(rounded(DTYPE_F16, 1 + 0x1p-11f, 1) == 1);
    assert_true(rounded(DTYPE_F16, 1 + 0x3p-11f, 1) == 1 + 0x1p-9);
    assert_true(rounded(DTYPE_F16, 65519, 1) == 65504);
    assert_true(rounded(DTYPE_F16, 65520, 1) == INFINITY);
    assert_true(rounded(DTYPE_F16, 0x5p-25f, 1) == 0x2p-24); /* subnormal, a tie: to even */
    assert_true(rounded(DTYPE_F16, -0x1p-26f, 1) == 0);
    assert_true(isnan(rounded(DTYPE_F16, NAN, 1)) && isnan(rounded(DTYPE_BF16, NAN, 1)));
    assert_true(rounded(DTYPE_BF16, 1, sqrtf(1152)) == 34); /* Gemma 3 1B's scale, as transformers casts it */
    assert_true(rounded(DTYPE_F32, 1, sqrtf(1152)) != 34);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decodes_floats),
        cmocka_unit_test(decodes_parts_of_rows),
        cmocka_unit_test(rounds_weights_to_a_dtype),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
