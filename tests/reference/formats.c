/* Compares every weight format, bit for bit, with gguf's own dequantiser. golden/decode_vectors.bin holds its results
 * (written by golden/make_decode_vectors.py): rows of 1152 and 288 elements, or of 1280 and 256 for formats with blocks
 * of 256. Also tests the layouts that only RDRR has. */
#include <stdio.h>

#include "tests/reference/reference_case.h"

#define MOST 2048

struct record {
    uint32_t dtype;
    uint32_t n, n_bytes;
    uint8_t bytes[MOST * 4];
    uint32_t bits[MOST];
};

/* Reads the next record; false at the end. */
static bool read_record(FILE *file, struct record *record)
{
    uint32_t head[3];
    if (fread(head, sizeof(head), 1, file) != 1) {
        return false;
    }
    record->n = head[1];
    record->n_bytes = head[2];
    assert_true(record->n <= MOST && record->n_bytes <= sizeof(record->bytes));
    assert_int_equal(fread(record->bytes, record->n_bytes, 1, file), 1);
    assert_int_equal(fread(record->bits, record->n * sizeof(uint32_t), 1, file), 1);
    for (record->dtype = 0; record->dtype < DTYPE_COUNT; record->dtype++) {
        if (dtype_info(record->dtype)->gguf_type == head[0]) {
            return true;
        }
    }
    fail_msg("GGUF type %u is in no row of DTYPES", head[0]);
    return false;
}

static FILE *open_vectors(void)
{
    FILE *file = fopen(LOCKSTEP_SOURCE_DIR "/golden/decode_vectors.bin", "rb");
    assert_non_null(file);
    return file;
}

static struct tensor tensor_of(uint32_t dtype, uint32_t layout, uint64_t rows, uint64_t cols, const uint8_t *bytes)
{
    return (struct tensor){
        .name = "test", .dtype = dtype, .layout = layout, .n_dims = 2, .shape = {rows, cols}, .bytes = bytes};
}

/* Decodes the record as one row. Returns the index of the first value whose bits differ, or -1. */
static int first_wrong(const struct record *record)
{
    float values[MOST];
    struct tensor tensor = tensor_of(record->dtype, LAYOUT_ROWS, 1, record->n, record->bytes);
    weights_decode(&tensor, 0, 0, record->n, values);
    for (uint32_t i = 0; i < record->n; i++) {
        if (memcmp(&values[i], &record->bits[i], 4) != 0) {
            return (int)i;
        }
    }
    return -1;
}

static void decodes_as_gguf_does(void **state)
{
    (void)state;
    static struct record record;
    unsigned n = 0;
    FILE *file = open_vectors();
    for (; read_record(file, &record); n++) {
        if (first_wrong(&record) >= 0) {
            fail_msg("%s: value %d differs", dtype_info(record.dtype)->name, first_wrong(&record));
        }
        assert_int_equal(dtype_bytes(record.dtype, record.n), record.n_bytes);
    }
    assert_int_equal(n, DTYPE_COUNT - 3); /* every format except the plain floats */
    fclose(file);
}

/* The twin: changing any byte of the second block changes its values, and none before it. */
static void a_changed_byte_shows(void **state)
{
    (void)state;
    static struct record record;
    FILE *file = open_vectors();
    while (read_record(file, &record)) {
        int elems = (int)dtype_info(record.dtype)->block_elems;
        uint32_t bytes = dtype_info(record.dtype)->block_bytes;
        for (uint32_t at = bytes; at < 2 * bytes; at++) {
            record.bytes[at] ^= 0xff;
            int wrong = first_wrong(&record);
            if (wrong < elems || wrong >= 2 * elems) {
                fail_msg("%s: byte %u changed, first wrong value %d", dtype_info(record.dtype)->name, at, wrong);
            }
            record.bytes[at] ^= 0xff;
        }
    }
    fclose(file);
}

/* Decodes parts of rows that begin and end anywhere, also of rows that no block divides. */
static void decodes_any_part_in_any_layout(void **state)
{
    (void)state;
    static struct record record;
    float part[MOST];
    FILE *file = open_vectors();
    while (read_record(file, &record)) {
        uint32_t block = dtype_info(record.dtype)->block_elems, cols = record.n / 5 - 3, n_blocks = record.n / block;
        struct tensor packed = tensor_of(record.dtype, LAYOUT_PACKED, 5, cols, record.bytes);
        weights_decode(&packed, 3, 7, cols - 9, part); /* row 3 begins inside a block */
        assert_memory_equal(part, &record.bits[3 * cols + 7], (cols - 9) * sizeof(float));
        struct tensor padded = tensor_of(record.dtype, LAYOUT_ROWS, n_blocks, block - 5, record.bytes);
        weights_decode(&padded, 2, 1, block - 6, part);
        assert_memory_equal(part, &record.bits[2 * block + 1], (block - 6) * sizeof(float));
        struct tensor columns = tensor_of(record.dtype, LAYOUT_COLUMNS, block - 5, n_blocks, record.bytes);
        weights_decode(&columns, 4, 1, n_blocks - 1, part);
        for (uint32_t i = 0; i + 1 < n_blocks; i++) {
            assert_memory_equal(&part[i], &record.bits[(i + 1) * block + 4], sizeof(float));
        }
        assert_memory_not_equal(&part[1], &record.bits[4], sizeof(float));
    }
    fclose(file);
}

static void grains(void **state)
{
    (void)state;
    uint64_t rows, bytes;
    struct tensor tensor = tensor_of(DTYPE_Q4_K, LAYOUT_ROWS, 8, 1152, NULL);
    tensor_grain(&tensor, &rows, &bytes);
    assert_int_equal(rows, 1);
    assert_int_equal(bytes, 5 * 144); /* the fifth block of a row is half padding */
    tensor.layout = LAYOUT_PACKED;
    tensor_grain(&tensor, &rows, &bytes);
    assert_int_equal(rows, 2);
    assert_int_equal(bytes, 9 * 144);
    tensor.layout = LAYOUT_COLUMNS;
    tensor.n_bytes = 1152 * 144;
    tensor_grain(&tensor, &rows, &bytes);
    assert_int_equal(rows, 8);
    assert_int_equal(bytes, tensor.n_bytes);
}

/* Splits a record's blocks into nibbles and scales, as in safetensors. */
static void take_apart(const struct record *record, uint8_t *nibbles, uint8_t *scales)
{
    for (uint32_t b = 0; b < record->n_bytes / 17; b++) {
        const uint8_t *block = record->bytes + 17 * b;
        scales[b] = block[0];
        for (unsigned i = 0; i < 32; i += 2) {
            uint8_t low = i < 16 ? block[1 + i] & 15 : block[1 + i - 16] >> 4;
            uint8_t high = i + 1 < 16 ? block[2 + i] & 15 : block[2 + i - 16] >> 4;
            nibbles[16 * b + i / 2] = (uint8_t)(low | high << 4);
        }
    }
}

/* Whether three equal rows, held in two tensors, decode from any element on as the joined blocks do, and copy as the
 * same blocks from any byte on. */
static bool apart_is_joined(const struct record *record, const uint8_t *nibbles, const uint8_t *scales)
{
    float values[MOST];
    uint8_t bytes[MOST];
    struct tensor tensor = tensor_of(DTYPE_MXFP4, LAYOUT_ROWS, 3, record->n, nibbles);
    tensor.scales = scales;
    tensor.n_bytes = 3 * (uint64_t)record->n_bytes;
    bool same = true;
    for (uint32_t first = 0; first < record->n; first += 29) {
        for (uint32_t count = record->n - first; count > 0; count /= 3) {
            weights_decode(&tensor, first % 3, first, count, values);
            same = same && memcmp(values, record->bits + first, count * sizeof(float)) == 0;
        }
    }
    for (uint32_t from = 0; from < record->n_bytes; from += 13) {
        tensor_copy(&tensor, record->n_bytes + from, record->n_bytes - from, bytes);
        same = same && memcmp(bytes, record->bytes + from, record->n_bytes - from) == 0;
    }
    return same;
}

static void test_experts_in_two_tensors(void **state)
{
    (void)state;
    static struct record record;
    FILE *file = open_vectors();
    uint32_t n_seen = 0;
    while (read_record(file, &record)) {
        if (record.dtype != DTYPE_MXFP4) {
            continue;
        }
        uint32_t n = record.n_bytes / 17;
        uint8_t *nibbles = calloc(3 * n, 16), *scales = calloc(3, n);
        take_apart(&record, nibbles, scales);
        for (int row = 1; row < 3; row++) {
            memcpy(nibbles + 16 * n * row, nibbles, 16 * n);
            memcpy(scales + n * row, scales, n);
        }
        assert_true(apart_is_joined(&record, nibbles, scales));
        scales[n + 3] ^= 1;
        assert_false(apart_is_joined(&record, nibbles, scales));
        scales[n + 3] ^= 1;
        nibbles[16 * n + 5] ^= 0x10;
        assert_false(apart_is_joined(&record, nibbles, scales));
        free(nibbles);
        free(scales);
        n_seen++;
    }
    fclose(file);
    assert_true(n_seen >= 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decodes_as_gguf_does),
        cmocka_unit_test(test_experts_in_two_tensors),
        cmocka_unit_test(a_changed_byte_shows),
        cmocka_unit_test(decodes_any_part_in_any_layout),
        cmocka_unit_test(grains),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
