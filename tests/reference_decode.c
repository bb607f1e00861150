/* Weight decoders, bit for bit against the dequantisers of Python's `gguf` package, which made the vectors of the block
 * formats: two blocks of random bytes each, with ordinary and odd scales. */
#include "tests/reference_case.h"

static const uint8_t q4_0_bytes[] = {0xca, 0xa8, 0x8b, 0x4a, 0xe5, 0xf1, 0xa9, 0x41, 0x06, 0xa0, 0x95, 0x6a,
                                     0x26, 0xaf, 0xbc, 0xcd, 0xaf, 0xe5, 0x32, 0x00, 0x62, 0xf9, 0x0a, 0x94,
                                     0x5f, 0x56, 0x93, 0xc6, 0x42, 0x27, 0x6a, 0xd5, 0xab, 0x2d, 0xa7, 0x39};
static const uint32_t q4_0_bits[] = {
    0xbde5e000, 0xbd994000, 0x3de5e000, 0x3e861800, 0xbd194000, 0x3e861800, 0x3d994000, 0x3e994000,
    0x3de5e000, 0xbd994000, 0x3d994000, 0xbe861800, 0xbe194000, 0xbe3f9000, 0xbe861800, 0x3de5e000,
    0x80000000, 0x3e194000, 0xbe65e000, 0xbe861800, 0xbd994000, 0x3e194000, 0x3e994000, 0xbd994000,
    0xbd194000, 0x3d994000, 0x3e65e000, 0xbd994000, 0xbde5e000, 0xbe194000, 0xbd994000, 0xbe65e000,
    0xb7960000, 0x36480000, 0x36c80000, 0xb7480000, 0x37af0000, 0xb6c80000, 0xb77a0000, 0xb6c80000,
    0xb7960000, 0xb6480000, 0x36c80000, 0xb7160000, 0x37160000, 0x377a0000, 0xb6480000, 0x36480000,
    0xb6c80000, 0x37af0000, 0xb7c80000, 0x36480000, 0xb7160000, 0xb7160000, 0x36480000, 0x37480000,
    0xb7480000, 0xb7960000, 0xb6c80000, 0x377a0000, 0x36c80000, 0xb7960000, 0x36c80000, 0xb77a0000};
static const uint8_t q4_1_bytes[] = {0xac, 0x22, 0x37, 0xae, 0x45, 0x51, 0x37, 0x0e, 0x99, 0xb2, 0xd7, 0x4c, 0x34, 0x27,
                                     0xfa, 0x48, 0xd7, 0x32, 0xa1, 0xdf, 0xae, 0x2c, 0xdd, 0xdc, 0x70, 0xac, 0xa1, 0xe9,
                                     0x26, 0x11, 0x59, 0x01, 0xdd, 0x06, 0xf2, 0x7f, 0x8f, 0x06, 0x3c, 0xd2};
static const uint32_t q4_1_bits[] = {
    0xbd02e000, 0xbdac3000, 0xbbc10000, 0x3daec000, 0x3ca54000, 0xbd918000, 0xbbc10000, 0x3d72c000,
    0xbd384000, 0xbbc10000, 0x3d080000, 0x3bea0000, 0xbbc10000, 0xbd918000, 0xbdac3000, 0x3dc97000,
    0xbd384000, 0xbd02e000, 0xbd6da000, 0xbdc6e000, 0x3ca54000, 0x3d3d6000, 0x3d941000, 0xbd384000,
    0xbd6da000, 0xbd918000, 0x3dc97000, 0xbd384000, 0x3d941000, 0xbd6da000, 0x3d080000, 0x3d941000,
    0xc39ba000, 0xc39b2fb0, 0xc39b96a4, 0xc39b4bc4, 0xc39b67d8, 0xc39b96a4, 0xc39b4bc4, 0xc39b96a4,
    0xc39b2654, 0xc39b67d8, 0xc39b8d48, 0xc39b139c, 0xc39b139c, 0xc39b67d8, 0xc39b2fb0, 0xc39b8d48,
    0xc39b5e7c, 0xc39b4268, 0xc39b4268, 0xc39b1cf8, 0xc39b8d48, 0xc39b96a4, 0xc39b7134, 0xc39ba000,
    0xc39b2654, 0xc39ba000, 0xc39b139c, 0xc39b5e7c, 0xc39b5520, 0xc39ba000, 0xc39b83ec, 0xc39b2654};
static const uint8_t q8_0_bytes[] = {0xfd, 0x11, 0x5e, 0x19, 0xa6, 0x21, 0xf9, 0xbd, 0x0c, 0xcc, 0x21, 0x39, 0x7c, 0x1e,
                                     0xc7, 0x95, 0xca, 0x77, 0x48, 0xdc, 0x03, 0xd1, 0x7a, 0x88, 0x93, 0x4d, 0x85, 0x52,
                                     0x73, 0x57, 0xa2, 0xe6, 0x46, 0x47, 0x00, 0xc1, 0xf0, 0x3e, 0x2f, 0xb8, 0x1f, 0x22,
                                     0x3f, 0x41, 0x92, 0xc5, 0x8e, 0xfd, 0x51, 0x85, 0xf0, 0x71, 0x1e, 0xf7, 0x67, 0x7a,
                                     0x1f, 0x13, 0x2a, 0x81, 0x8d, 0x88, 0x21, 0x95, 0xa1, 0x00, 0xb2, 0x8d};
static const uint32_t q8_0_bits[] = {
    0x3d8cb980, 0x3c95b500, 0xbd86bc80, 0x3cc59d00, 0xbba7ac00, 0xbd489b80, 0x3c0fb800, 0xbd1bb200,
    0x3cc59d00, 0x3d2aaa80, 0x3db9a300, 0x3cb3a600, 0xbd2aaa80, 0xbda02fc0, 0xbd21af00, 0x3db226c0,
    0x3d579400, 0xbcd79400, 0x3b0fb800, 0xbd0cb980, 0x3db6a480, 0xbdb3a600, 0xbda32e40, 0x3d668c80,
    0xbdb823c0, 0x3d758500, 0x3dac29c0, 0x3d823ec0, 0xbd8cb980, 0xbc9bb200, 0x3d519700, 0x3d549580,
    0x42200000, 0xc31b0000, 0xc2eb0000, 0x43340000, 0xc29b0000, 0xc2aa0000, 0xc31d8000, 0xc3228000,
    0x43898000, 0x43138000, 0x438e8000, 0x40f00000, 0xc34a8000, 0x4399c000, 0x42200000, 0xc38d4000,
    0xc2960000, 0x41b40000, 0xc380c000, 0xc3988000, 0xc29b0000, 0xc23e0000, 0xc2d20000, 0x439ec000,
    0x438fc000, 0x43960000, 0xc2a50000, 0x4385c000, 0x436d8000, 0x80000000, 0x43430000, 0x438fc000};

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

/* Index of the first value that has other bits than expected, or -1. */
static int first_wrong(uint32_t dtype, const void *bytes, const uint32_t *bits, uint64_t count)
{
    float values[64];
    assert_true(count <= COUNT(values));
    struct tensor tensor = tensor_of_bytes(dtype, 1, count, bytes);
    weights_decode(&tensor, 0, 0, count, values);
    for (uint64_t i = 0; i < count; i++) {
        if (memcmp(&values[i], &bits[i], 4) != 0)
            return (int)i;
    }
    return -1;
}

static void decodes_blocks_as_gguf_does(void **state)
{
    (void)state;
    assert_int_equal(first_wrong(DTYPE_Q4_0, q4_0_bytes, q4_0_bits, COUNT(q4_0_bits)), -1);
    assert_int_equal(first_wrong(DTYPE_Q4_1, q4_1_bytes, q4_1_bits, COUNT(q4_1_bits)), -1);
    assert_int_equal(first_wrong(DTYPE_Q8_0, q8_0_bytes, q8_0_bits, COUNT(q8_0_bits)), -1);
}

/* The twin: one byte flipped must show, and at the element that it holds. */
static void a_flipped_byte_shows(void **state)
{
    (void)state;
    uint8_t bytes[sizeof(q4_1_bytes)];
    memcpy(bytes, q4_1_bytes, sizeof(bytes));
    bytes[20 + 4 + 5] ^= 0x10; /* second block, sixth byte, high nibble: element 32 + 16 + 5 */
    assert_int_equal(first_wrong(DTYPE_Q4_1, bytes, q4_1_bits, COUNT(q4_1_bits)), 32 + 16 + 5);
    memcpy(bytes, q4_1_bytes, sizeof(bytes));
    bytes[2] ^= 1; /* the minimum of the first block */
    assert_int_equal(first_wrong(DTYPE_Q4_1, bytes, q4_1_bits, COUNT(q4_1_bits)), 0);
    memcpy(bytes, q4_0_bytes, sizeof(q4_0_bytes));
    bytes[18 + 2] ^= 1;
    assert_int_equal(first_wrong(DTYPE_Q4_0, bytes, q4_0_bits, COUNT(q4_0_bits)), 32);
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

/* Any row, and any run of blocks within it. */
static void decodes_parts_of_rows(void **state)
{
    (void)state;
    uint8_t bytes[3 * 4 * 34]; /* 3 rows of 4 blocks */
    uint64_t seed = 1;
    for (unsigned i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)(random_bits(&seed) & 0x3f); /* no NaN scales */
    struct tensor all = tensor_of_bytes(DTYPE_Q8_0, 1, 12 * 32, bytes),
                  rows = tensor_of_bytes(DTYPE_Q8_0, 3, 4 * 32, bytes);
    float expected[12 * 32], values[2 * 32];
    weights_decode(&all, 0, 0, 12 * 32, expected);
    weights_decode(&rows, 2, 32, 64, values);
    assert_memory_equal(values, expected + (2 * 4 + 1) * 32, sizeof(values));
    assert_memory_not_equal(values, expected + 2 * 4 * 32, sizeof(values));
}

/* weights_dtype: to nearest, ties to even; seen through embed, whose scale is rounded as well. */
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
        cmocka_unit_test(decodes_blocks_as_gguf_does),
        cmocka_unit_test(a_flipped_byte_shows),
        cmocka_unit_test(decodes_floats),
        cmocka_unit_test(decodes_parts_of_rows),
        cmocka_unit_test(rounds_weights_to_a_dtype),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
