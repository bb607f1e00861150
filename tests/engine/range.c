/* How large a tensor's weights are at most: what matrices of halves are scaled by. Only devices with cooperative
 * matrices ask for it, so it is tried here by itself, on every machine. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/placement/weight_range.h"
#include "model/tensor.h"

#define N_BLOCKS 640
#define BLOCK 17

/* Bytes that end where a page begins that nobody may touch. */
struct fenced {
    uint8_t *pages;
    size_t n_bytes; /* of the pages, the last one included */
    uint8_t *bytes;
};

static struct fenced fenced_copy(const uint8_t *bytes, size_t n)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), inner = (n + page - 1) / page * page;
    struct fenced fenced = {.n_bytes = inner + page};
    fenced.pages = mmap(NULL, fenced.n_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(fenced.pages, MAP_FAILED);
    fenced.bytes = fenced.pages + inner - n;
    memcpy(fenced.bytes, bytes, n);
    assert_int_equal(mprotect(fenced.pages + inner, page, PROT_NONE), 0);
    return fenced;
}

static void fenced_free(struct fenced *fenced)
{
    assert_int_equal(munmap(fenced->pages, fenced->n_bytes), 0);
}

/* Nibbles that look like large scales beside scales that are small: 120, but for one of `most`. */
static void fill(uint8_t joined[N_BLOCKS * BLOCK], uint32_t largest, uint8_t most)
{
    memset(joined, 0xff, N_BLOCKS * BLOCK);
    for (uint32_t i = 0; i < N_BLOCKS; i++) {
        joined[i * BLOCK] = i == largest ? most : 120;
    }
}

static struct tensor mxfp4(const uint8_t *bytes, const uint8_t *scales)
{
    return (struct tensor){.dtype = DTYPE_MXFP4,
                           .layout = LAYOUT_ROWS,
                           .n_dims = 2,
                           .shape = {N_BLOCKS / 4, 4 * 32},
                           .bytes = bytes,
                           .scales = scales,
                           .n_bytes = N_BLOCKS * BLOCK};
}

/* GGUF's blocks of 17 bytes and safetensors' blocks of 16 with their scales apart are the same weights; nothing beside
 * them is read. Blocks of 16 were walked in steps of 17 bytes, to beyond their end, and nibbles taken for scales. */
static void both_forms_of_mxfp4_have_one_scale(void **state)
{
    (void)state;
    static const uint32_t places[] = {0, 1, N_BLOCKS / 2, N_BLOCKS - 1};
    uint8_t joined[N_BLOCKS * BLOCK], apart[N_BLOCKS * (BLOCK - 1)], scales[N_BLOCKS];
    for (size_t k = 0; k < sizeof(places) / sizeof(places[0]); k++) {
        fill(joined, places[k], 130);
        for (uint32_t i = 0; i < N_BLOCKS; i++) {
            scales[i] = joined[i * BLOCK];
            memcpy(apart + i * (BLOCK - 1), joined + i * BLOCK + 1, BLOCK - 1);
        }
        struct fenced whole = fenced_copy(joined, sizeof(joined)), blocks = fenced_copy(apart, sizeof(apart)),
                      exponents = fenced_copy(scales, sizeof(scales));
        struct tensor one = mxfp4(whole.bytes, NULL), two = mxfp4(blocks.bytes, exponents.bytes);
        /* 6 * 2^3 is under 2^6, and halves keep 2^14 free of overflow. */
        assert_true(weight_range_scale(&one) == ldexpf(1, 14 - 6));
        assert_true(weight_range_scale(&two) == ldexpf(1, 14 - 6));
        fenced_free(&whole);
        fenced_free(&blocks);
        fenced_free(&exponents);
    }
}

/* Every dtype's bytes are read to their end, and not beyond. */
static void no_dtype_is_read_beyond_its_end(void **state)
{
    (void)state;
    static const uint8_t zeros[2048 * sizeof(float)];
    for (uint32_t dtype = 0; dtype < DTYPE_COUNT; dtype++) {
        uint64_t n_bytes = dtype_bytes(dtype, 2048);
        assert_true(n_bytes <= sizeof(zeros));
        struct fenced fenced = fenced_copy(zeros, n_bytes);
        struct tensor tensor = {
            .dtype = dtype, .n_dims = 2, .shape = {8, 256}, .bytes = fenced.bytes, .n_bytes = n_bytes};
        assert_true(weight_range_scale(&tensor) >= 1);
        fenced_free(&fenced);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_forms_of_mxfp4_have_one_scale),
        cmocka_unit_test(no_dtype_is_read_beyond_its_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
