/* Files that are not traces, are cut short or have one byte changed; and every float type that a dump may use. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <hdf5.h>

#include "tests/support/recording.h"
#include "tests/support/scratch.h"

SCRATCH_FIXTURE

static void expect_refused(const char *path, const char *text)
{
    struct trace trace;
    struct error err = {0};
    assert_int_equal(trace_read(&trace, path, &err), STATUS_BAD_INPUT);
    assert_non_null(strstr(err.text, path));
    assert_non_null(strstr(err.text, text));
    assert_null(strchr(err.text, '\n'));
}

static void test_what_is_no_trace(void **state)
{
    (void)state;
    char path[512];
    expect_refused(scratch_path(path, folder, "missing.h5"), "No such file");
    expect_refused(folder, "not a regular file");
    scratch_write(scratch_path(path, folder, "text.h5"), "The color of the sky is blue.\n", 30);
    expect_refused(path, "HDF5");
    scratch_write(scratch_path(path, folder, "empty.h5"), "", 0);
    expect_refused(path, "HDF5");
    expect_refused("/dev/null", "not a regular file");
}

/* Cut short anywhere: refused, never a crash. (Only the very end may be missing unnoticed, where nothing is stored.) */
static void test_truncated(void **state)
{
    (void)state;
    char path[512], cut[512];
    healthy_trace_write(scratch_path(path, folder, "whole.h5"));
    static char bytes[65536];
    size_t size = scratch_read(path, bytes, sizeof(bytes));
    assert_true(size > 1000);
    scratch_path(cut, folder, "cut.h5");
    for (size_t length = 0; length < size; length += length < 200 || length + 200 > size ? 7 : 97) {
        scratch_write(cut, bytes, length);
        expect_refused(cut, "HDF5");
    }
}

/* A file with one byte changed is read, or refused in one line. HDF5 itself crashes on some of them; the program must
 * not. */
static void test_changed_bytes(void **state)
{
    (void)state;
    char path[512];
    uint32_t seed = 3, n_refused = 0;
    healthy_trace_write(scratch_path(path, folder, "whole.h5"));
    static uint8_t bytes[65536];
    size_t size = scratch_read(path, bytes, sizeof(bytes));
    scratch_path(path, folder, "changed.h5");
    for (unsigned i = 0; i < 300; i++) {
        struct trace trace;
        struct error err = {0};
        size_t at = (size_t)((scratch_random(&seed) + 1) / 2 * (float)size);
        uint8_t before = bytes[at];
        bytes[at] ^= (uint8_t)(1 + i % 255);
        scratch_write(path, bytes, size);
        bytes[at] = before;
        enum status status = trace_read(&trace, path, &err);
        assert_true(status == STATUS_OK || status == STATUS_BAD_INPUT);
        if (status != STATUS_OK) {
            assert_true(err.text[0] && !strchr(err.text, '\n'));
        }
        n_refused += status != STATUS_OK;
        trace_free(&trace);
    }
    assert_true(n_refused > 20);
}

/* Every float type that a dump may use is read; a 16-bit one declares its storage. */
static void test_float_types(void **state)
{
    (void)state;
    char path[512];
    hid_t half = H5Tcopy(H5T_IEEE_F32LE);
    assert_true(H5Tset_fields(half, 15, 10, 5, 0, 10) >= 0 && H5Tset_size(half, 2) >= 0 && H5Tset_ebias(half, 15) >= 0);
    const hid_t types[] = {half, H5T_IEEE_F32BE, H5T_IEEE_F64LE};
    static const float values[12] = {1, -2.5f, 0.333251953125f, 65504, 0, 5.9604645e-8f, 7, 8, 9, 10, 11, 12};
    for (size_t i = 0; i < 3; i++) {
        struct trace trace;
        healthy_trace_write(scratch_path(path, folder, "types.h5"));
        hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
        hsize_t dims[] = {4, 3};
        hid_t space = H5Screate_simple(2, dims, NULL);
        hid_t dataset = H5Dcreate2(file, "/layers/1/k_proj", types[i], space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
        H5Sclose(space);
        assert_true(H5Dwrite(dataset, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0);
        H5Dclose(dataset);
        H5Fclose(file);
        assert_int_equal(trace_read(&trace, path, NULL), STATUS_OK);
        const struct trace_stage *stage = trace_find(&trace, 1, STAGE_k_proj);
        assert_memory_equal(stage->rows, values, sizeof(values));
        assert_true(stage->arith.u_storage == (i == 0 ? ldexp(1, -11) : ldexp(1, -24)));
        trace_free(&trace);
    }
    H5Tclose(half);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_no_trace),
        cmocka_unit_test(test_truncated),
        cmocka_unit_test(test_changed_bytes),
        cmocka_unit_test(test_float_types),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
