/* Trace files that are wrong in one way each: refused in one line that names the file and what is wrong in it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <hdf5.h>

#include "tests/support/recording.h"
#include "tests/support/scratch.h"
#include "workbench/trace/trace.h"

SCRATCH_FIXTURE

/* Builders of what stands in no healthy file. */
static void remove_object(hid_t file, const char *name)
{
    assert_true(H5Ldelete(file, name, H5P_DEFAULT) >= 0);
}

static hid_t add_dataset_with(hid_t file, const char *name, hid_t type, int n_dims, hsize_t rows, hsize_t width,
                              hid_t properties)
{
    hsize_t dims[3] = {rows, width, 1};
    hid_t space = H5Screate_simple(n_dims, dims, NULL);
    hid_t dataset = H5Dcreate2(file, name, type, space, H5P_DEFAULT, properties, H5P_DEFAULT);
    assert_true(dataset >= 0);
    char *zeros = xcalloc(rows * width, 8);
    assert_true(H5Dwrite(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, zeros) >= 0);
    free(zeros);
    H5Sclose(space);
    return dataset;
}

static void add_dataset(hid_t file, const char *name, hid_t type, int n_dims, hsize_t rows, hsize_t width)
{
    H5Dclose(add_dataset_with(file, name, type, n_dims, rows, width, H5P_DEFAULT));
}

static void set_integer(hid_t object, const char *name, int value)
{
    if (H5Aexists(object, name) > 0) {
        H5Adelete(object, name);
    }
    hid_t space = H5Screate(H5S_SCALAR);
    hid_t attribute = H5Acreate2(object, name, H5T_STD_I32LE, space, H5P_DEFAULT, H5P_DEFAULT);
    assert_true(H5Awrite(attribute, H5T_NATIVE_INT, &value) >= 0);
    H5Aclose(attribute);
    H5Sclose(space);
}

static void set_text(hid_t object, const char *name, const char *value)
{
    if (H5Aexists(object, name) > 0) {
        H5Adelete(object, name);
    }
    hid_t space = H5Screate(H5S_SCALAR), type = H5Tcopy(H5T_C_S1);
    H5Tset_size(type, strlen(value) + 1);
    hid_t attribute = H5Acreate2(object, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    assert_true(H5Awrite(attribute, type, value) >= 0);
    H5Aclose(attribute);
    H5Tclose(type);
    H5Sclose(space);
}

static void set_positions(hid_t file, int first, int second, hsize_t n)
{
    int values[4] = {first, second, 3, 3};
    hid_t dataset = H5Dopen2(file, "/stages/embed", H5P_DEFAULT), space = H5Screate_simple(1, &n, NULL);
    H5Adelete(dataset, "positions");
    hid_t attribute = H5Acreate2(dataset, "positions", H5T_STD_I32LE, space, H5P_DEFAULT, H5P_DEFAULT);
    assert_true(H5Awrite(attribute, H5T_NATIVE_INT, values) >= 0);
    H5Aclose(attribute);
    H5Sclose(space);
    H5Dclose(dataset);
}

/* Each spoils an open healthy file. */
static void spoil_nothing(hid_t file)
{
    set_text(file, "comment", "attributes that nobody knows do no harm");
}

static void spoil_format(hid_t file)
{
    set_text(file, "format", "lockstep-report");
}

static void spoil_no_format(hid_t file)
{
    H5Adelete(file, "format");
}

static void spoil_format_type(hid_t file)
{
    set_integer(file, "format", 1);
}

static void spoil_version(hid_t file)
{
    set_integer(file, "version", 2);
}

static void spoil_n_layers(hid_t file)
{
    set_integer(file, "n_layers", 1);
}

static void spoil_negative_layers(hid_t file)
{
    set_integer(file, "n_layers", -3);
}

static void spoil_producer(hid_t file)
{
    H5Adelete(file, "producer");
}

static void spoil_digest(hid_t file)
{
    set_text(file, "weights_sha256", "not hex");
}

static void spoil_storage(hid_t file)
{
    set_text(file, "storage_dtype", "float31");
}

static void spoil_sum_of_stage(hid_t file)
{
    hid_t dataset = H5Dopen2(file, "/layers/1/q_proj", H5P_DEFAULT);
    set_text(dataset, "sum_dtype", "int8");
    H5Dclose(dataset);
}

static void spoil_long_text(hid_t file)
{
    char text[400];
    memset(text, 'x', sizeof(text));
    text[399] = '\0';
    set_text(file, "producer", text);
}

static void spoil_no_tokens(hid_t file)
{
    remove_object(file, "tokens");
}

static void spoil_float_tokens(hid_t file)
{
    remove_object(file, "tokens");
    add_dataset(file, "tokens", H5T_IEEE_F32LE, 1, 4, 1);
}

static void spoil_token_shape(hid_t file)
{
    remove_object(file, "tokens");
    add_dataset(file, "tokens", H5T_STD_I32LE, 2, 4, 1);
}

static void spoil_negative_token(hid_t file)
{
    int values[] = {5, 6, -7, 8};
    hid_t dataset = H5Dopen2(file, "tokens", H5P_DEFAULT);
    H5Dwrite(dataset, H5T_NATIVE_INT, H5S_ALL, H5S_ALL, H5P_DEFAULT, values);
    H5Dclose(dataset);
}

static void write_phase(hid_t file, int second, int fourth)
{
    int values[] = {0, second, 0, fourth};
    hid_t dataset = H5Dopen2(file, "phase", H5P_DEFAULT);
    H5Dwrite(dataset, H5T_NATIVE_INT, H5S_ALL, H5S_ALL, H5P_DEFAULT, values);
    H5Dclose(dataset);
}

static void spoil_phase(hid_t file)
{
    write_phase(file, 0, 2);
}

static void spoil_phase_order(hid_t file)
{
    write_phase(file, 1, 1);
}

static void spoil_phase_length(hid_t file)
{
    remove_object(file, "phase");
    add_dataset(file, "phase", H5T_STD_U8LE, 1, 5, 1);
}

static void spoil_unknown_stage(hid_t file)
{
    add_dataset(file, "/layers/1/q_prj", H5T_IEEE_F32LE, 2, 4, 3);
}

static void spoil_misplaced_stage(hid_t file)
{
    add_dataset(file, "/stages/q_proj", H5T_IEEE_F32LE, 2, 4, 3);
}

static void spoil_unknown_group(hid_t file)
{
    H5Gclose(H5Gcreate2(file, "/extras", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
}

static void spoil_layer_name(hid_t file)
{
    H5Gclose(H5Gcreate2(file, "/layers/01", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
}

static void spoil_stage_is_group(hid_t file)
{
    H5Gclose(H5Gcreate2(file, "/layers/1/k_proj", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
}

static void spoil_stage_type(hid_t file)
{
    add_dataset(file, "/layers/1/k_proj", H5T_STD_I32LE, 2, 4, 3);
}

static void spoil_stage_dims(hid_t file)
{
    add_dataset(file, "/layers/1/k_proj", H5T_IEEE_F32LE, 3, 4, 3);
}

static void spoil_stage_rows(hid_t file)
{
    add_dataset(file, "/layers/1/k_proj", H5T_IEEE_F32LE, 2, 3, 3);
}

static void spoil_stage_many_rows(hid_t file)
{
    add_dataset(file, "/layers/1/k_proj", H5T_IEEE_F32LE, 2, 5, 3);
}

static void spoil_positions_order(hid_t file)
{
    set_positions(file, 2, 0, 2);
}

static void spoil_positions_range(hid_t file)
{
    set_positions(file, 0, 4, 2);
}

static void spoil_positions_count(hid_t file)
{
    set_positions(file, 0, 1, 3);
}

static void spoil_external_link(hid_t file)
{
    H5Lcreate_external("/etc/hostname", "/x", file, "/layers/1/k_proj", H5P_DEFAULT, H5P_DEFAULT);
}

static void spoil_external_group(hid_t file)
{
    remove_object(file, "layers");
    H5Lcreate_external("healthy.h5", "/layers", file, "/layers", H5P_DEFAULT, H5P_DEFAULT);
}

static void spoil_soft_link(hid_t file)
{
    H5Lcreate_soft("/layers/1/q_proj", file, "/layers/1/k_proj", H5P_DEFAULT, H5P_DEFAULT);
}

static void spoil_external_storage(hid_t file)
{
    hsize_t dims[2] = {4, 3};
    hid_t properties = H5Pcreate(H5P_DATASET_CREATE), space = H5Screate_simple(2, dims, NULL);
    H5Pset_external(properties, "/etc/hostname", 0, 48);
    hid_t dataset = H5Dcreate2(file, "/layers/1/k_proj", H5T_IEEE_F32LE, space, H5P_DEFAULT, properties, H5P_DEFAULT);
    assert_true(dataset >= 0);
    H5Dclose(dataset);
    H5Sclose(space);
    H5Pclose(properties);
}

static void spoil_virtual(hid_t file)
{
    hsize_t dims[2] = {4, 3};
    hid_t properties = H5Pcreate(H5P_DATASET_CREATE), space = H5Screate_simple(2, dims, NULL);
    assert_true(H5Pset_virtual(properties, space, "healthy.h5", "/layers/1/q_proj", space) >= 0);
    hid_t dataset = H5Dcreate2(file, "/layers/1/k_proj", H5T_IEEE_F32LE, space, H5P_DEFAULT, properties, H5P_DEFAULT);
    assert_true(dataset >= 0);
    H5Dclose(dataset);
    H5Sclose(space);
    H5Pclose(properties);
}

static hid_t chunked(hsize_t rows, hsize_t width)
{
    hsize_t chunk[2] = {rows, width};
    hid_t properties = H5Pcreate(H5P_DATASET_CREATE);
    assert_true(H5Pset_chunk(properties, 2, chunk) >= 0);
    return properties;
}

static void spoil_filter(hid_t file)
{
    hid_t properties = chunked(2, 3);
    H5Pset_nbit(properties);
    H5Dclose(add_dataset_with(file, "/layers/1/k_proj", H5T_IEEE_F32LE, 2, 4, 3, properties));
    H5Pclose(properties);
}

/* A claim of 48 GB that takes no space, for no chunk was ever written. */
static void spoil_huge(hid_t file)
{
    hsize_t dims[2] = {4, 3000000000u};
    hid_t properties = chunked(1, 1000), space = H5Screate_simple(2, dims, NULL);
    hid_t dataset = H5Dcreate2(file, "/layers/1/k_proj", H5T_IEEE_F32LE, space, H5P_DEFAULT, properties, H5P_DEFAULT);
    assert_true(dataset >= 0);
    H5Dclose(dataset);
    H5Sclose(space);
    H5Pclose(properties);
}

static void spoil_unwritten(hid_t file)
{
    hsize_t dims[2] = {4, 3};
    hid_t properties = chunked(1, 3), space = H5Screate_simple(2, dims, NULL);
    hid_t dataset = H5Dcreate2(file, "/layers/1/k_proj", H5T_IEEE_F32LE, space, H5P_DEFAULT, properties, H5P_DEFAULT);
    assert_true(dataset >= 0);
    H5Dclose(dataset);
    H5Sclose(space);
    H5Pclose(properties);
}

/* Compressed as h5py does it: legal. */
static void spoil_not_by_compression(hid_t file)
{
    hid_t properties = chunked(3, 2);
    H5Pset_shuffle(properties);
    H5Pset_deflate(properties, 9);
    H5Pset_fletcher32(properties);
    H5Dclose(add_dataset_with(file, "/layers/1/k_proj", H5T_IEEE_F64BE, 2, 4, 3, properties));
    H5Pclose(properties);
}

static const struct spoiled {
    const char *what;
    void (*spoil)(hid_t file);
    const char *text; /* that the error holds; NULL: the file is still good */
} cases[] = {
    {"unknown attribute", spoil_nothing, NULL},
    {"compressed", spoil_not_by_compression, NULL},
    {"format", spoil_format, "format: is \"lockstep-report\""},
    {"no format", spoil_no_format, "format: is missing"},
    {"format's type", spoil_format_type, "attribute format: has the wrong type"},
    {"version", spoil_version, "version: is 2, expected 1"},
    {"n_layers", spoil_n_layers, "/layers/1: is no layer, expected 0 to 0"},
    {"negative n_layers", spoil_negative_layers, "n_layers: is -3"},
    {"no producer", spoil_producer, "producer: is missing"},
    {"digest", spoil_digest, "weights_sha256: is \"not hex\""},
    {"storage_dtype", spoil_storage, "attribute storage_dtype: is \"float31\""},
    {"sum_dtype", spoil_sum_of_stage, "/layers/1/q_proj attribute sum_dtype: is \"int8\""},
    {"long text", spoil_long_text, "attribute producer: cannot be read"},
    {"no tokens", spoil_no_tokens, "/tokens: is missing"},
    {"float tokens", spoil_float_tokens, "/tokens: has the wrong type"},
    {"tokens' shape", spoil_token_shape, "/tokens: has the wrong shape"},
    {"negative token", spoil_negative_token, "/tokens: position 2 is token -7"},
    {"phase", spoil_phase, "/phase: position 3 is 2"},
    {"phase's order", spoil_phase_order, "/phase: position 2 is prefill after decode"},
    {"phase's length", spoil_phase_length, "/phase: has 5 values, expected 4"},
    {"unknown stage", spoil_unknown_stage, "/layers/1/q_prj: is no known stage"},
    {"misplaced stage", spoil_misplaced_stage, "/stages/q_proj: stands in the wrong group"},
    {"unknown group", spoil_unknown_group, "/extras: is unknown"},
    {"layer's name", spoil_layer_name, "/layers/01: is no layer"},
    {"a group for a stage", spoil_stage_is_group, "/layers/1/k_proj: is no dataset"},
    {"stage's type", spoil_stage_type, "/layers/1/k_proj: has the wrong type"},
    {"stage's dims", spoil_stage_dims, "/layers/1/k_proj: has the wrong shape"},
    {"stage's rows", spoil_stage_rows, "/layers/1/k_proj: has 3 rows, expected 4"},
    {"too many rows", spoil_stage_many_rows, "/layers/1/k_proj: has 5 rows"},
    {"positions' order", spoil_positions_order, "/stages/embed: attribute positions is wrong"},
    {"positions' range", spoil_positions_range, "/stages/embed: attribute positions is wrong"},
    {"positions' count", spoil_positions_count, "/stages/embed: attribute positions is wrong"},
    {"external link", spoil_external_link, "/layers/1/k_proj: is an external link"},
    {"external group", spoil_external_group, "/layers: is an external link"},
    {"soft link", spoil_soft_link, "/layers/1/k_proj: is a soft link"},
    {"external storage", spoil_external_storage, "/layers/1/k_proj: has external storage"},
    {"virtual dataset", spoil_virtual, "/layers/1/k_proj: is a virtual dataset"},
    {"filter", spoil_filter, "/layers/1/k_proj: has filter"},
    {"huge", spoil_huge, "/layers/1/k_proj: "},
    {"unwritten", spoil_unwritten, "/layers/1/k_proj: holds 0 of its 4 chunks"},
};

static void test_spoiled_files(void **state)
{
    (void)state;
    char path[512];
    healthy_trace_write(scratch_path(path, folder, "healthy.h5"));
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct trace trace;
        struct error err = {0};
        healthy_trace_write(scratch_path(path, folder, "spoiled.h5"));
        hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
        assert_true(file >= 0);
        cases[i].spoil(file);
        assert_true(H5Fclose(file) >= 0);
        enum status status = trace_read(&trace, path, &err);
        print_message("%s: %s\n", cases[i].what, err.text);
        assert_int_equal(status, cases[i].text ? STATUS_BAD_INPUT : STATUS_OK);
        if (cases[i].text) {
            assert_int_equal(err.status, STATUS_BAD_INPUT);
            assert_non_null(strstr(err.text, "spoiled.h5"));
            assert_non_null(strstr(err.text, cases[i].text));
            assert_null(strchr(err.text, '\n'));
            assert_null(trace.stages); /* left zeroed */
        }
        trace_free(&trace);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_spoiled_files),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
