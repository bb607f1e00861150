/* Trace files that are wrong in one way each are refused in one line, which names the file and what is wrong. */
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

static const hsize_t k_proj_dims[2] = {4, 3};

/* Builders of what a healthy file does not hold. */
static void remove_object(hid_t file, const char *name)
{
    assert_true(H5Ldelete(file, name, H5P_DEFAULT) >= 0);
}

/* Adds a dataset of zeros, and returns it open. */
static hid_t add_dataset(hid_t file, const char *name, hid_t type, int n_dims, const hsize_t *dims, hid_t properties)
{
    hid_t space = H5Screate_simple(n_dims, dims, NULL);
    hid_t dataset = H5Dcreate2(file, name, type, space, H5P_DEFAULT, properties, H5P_DEFAULT);
    assert_true(dataset >= 0);
    char *zeros = xcalloc((uint64_t)H5Sget_simple_extent_npoints(space), 8);
    assert_true(H5Dwrite(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, zeros) >= 0);
    free(zeros);
    H5Sclose(space);
    return dataset;
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

static hid_t chunked(hsize_t rows, hsize_t width)
{
    hsize_t chunk[2] = {rows, width};
    hid_t properties = H5Pcreate(H5P_DATASET_CREATE);
    assert_true(H5Pset_chunk(properties, 2, chunk) >= 0);
    return properties;
}

/* Adds layer 1's k_proj with these properties and no values, and closes the properties. */
static void add_unwritten(hid_t file, hid_t properties, hsize_t width)
{
    hsize_t dims[2] = {4, width};
    hid_t space = H5Screate_simple(2, dims, NULL);
    hid_t dataset = H5Dcreate2(file, "/layers/1/k_proj", H5T_IEEE_F32LE, space, H5P_DEFAULT, properties, H5P_DEFAULT);
    assert_true(dataset >= 0);
    H5Dclose(dataset);
    H5Sclose(space);
    H5Pclose(properties);
}

/* Each of these spoils an open healthy file in a way that no field of struct spoiled can say. */
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
    hid_t properties = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_external(properties, "/etc/hostname", 0, 48);
    add_unwritten(file, properties, 3);
}

static void spoil_virtual(hid_t file)
{
    hsize_t dims[2] = {4, 3};
    hid_t properties = H5Pcreate(H5P_DATASET_CREATE), space = H5Screate_simple(2, dims, NULL);
    assert_true(H5Pset_virtual(properties, space, "healthy.h5", "/layers/1/q_proj", space) >= 0);
    H5Sclose(space);
    add_unwritten(file, properties, 3);
}

static void spoil_filter(hid_t file)
{
    hid_t properties = chunked(2, 3);
    H5Pset_nbit(properties);
    H5Dclose(add_dataset(file, "/layers/1/k_proj", H5T_IEEE_F32LE, 2, k_proj_dims, properties));
    H5Pclose(properties);
}

/* The dataset claims 48 GB but takes no space, because no chunk is written. */
static void spoil_huge(hid_t file)
{
    add_unwritten(file, chunked(1, 1000), 3000000000u);
}

static void spoil_unwritten(hid_t file)
{
    add_unwritten(file, chunked(1, 3), 3);
}

/* Compression as h5py does it is legal. */
static void spoil_not_by_compression(hid_t file)
{
    hid_t properties = chunked(3, 2);
    H5Pset_shuffle(properties);
    H5Pset_deflate(properties, 9);
    H5Pset_fletcher32(properties);
    H5Dclose(add_dataset(file, "/layers/1/k_proj", H5T_IEEE_F64BE, 2, k_proj_dims, properties));
    H5Pclose(properties);
}

/* One way to spoil a file: a function, a root attribute, or an object. */
static const struct spoiled {
    const char *what;
    const char *text; /* that the error holds; NULL: the file is still good */
    void (*spoil)(hid_t file);
    const char *attribute; /* of the root: set to `value`, else to `number`, else removed */
    const char *value;
    int number;
    const char *object; /* removed if it is there; if n_dims > 0, made anew as a dataset of zeros */
    char type;          /* of its values: 'f' f32, 'i' i32 */
    int n_dims;
    hsize_t dims[3];
} cases[] = {
    {"unknown attribute", NULL, .attribute = "comment", .value = "attributes that nobody knows do no harm"},
    {"compressed", NULL, .spoil = spoil_not_by_compression},
    {"format", "format: is \"lockstep-report\"", .attribute = "format", .value = "lockstep-report"},
    {"no format", "format: is missing", .attribute = "format"},
    {"format's type", "attribute format: has the wrong type", .attribute = "format", .number = 1},
    {"version", "version: is 2, expected 1", .attribute = "version", .number = 2},
    {"n_layers", "/layers/1: is not a layer, expected 0 to 0", .attribute = "n_layers", .number = 1},
    {"negative n_layers", "n_layers: is -3", .attribute = "n_layers", .number = -3},
    {"no producer", "producer: is missing", .attribute = "producer"},
    {"digest", "weights_sha256: is \"not hex\"", .attribute = "weights_sha256", .value = "not hex"},
    {"storage_dtype", "attribute storage_dtype: is \"float31\"", .attribute = "storage_dtype", .value = "float31"},
    {"sum_dtype", "/layers/1/q_proj attribute sum_dtype: is \"int8\"", .spoil = spoil_sum_of_stage},
    {"long text", "attribute producer: cannot be read", .spoil = spoil_long_text},
    {"no tokens", "/tokens: is missing", .object = "/tokens"},
    {"float tokens", "/tokens: has the wrong type", .object = "/tokens", .type = 'f', .n_dims = 1, .dims = {4}},
    {"tokens' shape", "/tokens: has the wrong shape", .object = "/tokens", .type = 'i', .n_dims = 2, .dims = {4, 1}},
    {"negative token", "/tokens: position 2 is token -7", .spoil = spoil_negative_token},
    {"phase", "/phase: position 3 is 2", .spoil = spoil_phase},
    {"phase's order", "/phase: position 2 is prefill after decode", .spoil = spoil_phase_order},
    {"phase's length", "/phase: has 5 values, expected 4", .object = "/phase", .type = 'i', .n_dims = 1, .dims = {5}},
    {"unknown stage", "/layers/1/q_prj: is not a known stage", .object = "/layers/1/q_prj", .type = 'f', .n_dims = 2,
     .dims = {4, 3}},
    {"misplaced stage", "/stages/q_proj: is in the wrong group", .object = "/stages/q_proj", .type = 'f', .n_dims = 2,
     .dims = {4, 3}},
    {"unknown group", "/extras: is unknown", .spoil = spoil_unknown_group},
    {"layer's name", "/layers/01: is not a layer", .spoil = spoil_layer_name},
    {"a group for a stage", "/layers/1/k_proj: is not a dataset", .spoil = spoil_stage_is_group},
    {"stage's type", "/layers/1/k_proj: has the wrong type", .object = "/layers/1/k_proj", .type = 'i', .n_dims = 2,
     .dims = {4, 3}},
    {"stage's dims", "/layers/1/k_proj: has the wrong shape", .object = "/layers/1/k_proj", .type = 'f', .n_dims = 3,
     .dims = {4, 3, 1}},
    {"batch dimension", "has the wrong shape [1, 4, 3], expected [4 positions, width]: leave out the batch dimension",
     .object = "/layers/1/k_proj", .type = 'f', .n_dims = 3, .dims = {1, 4, 3}},
    {"heads apart", "has the wrong shape [2, 4, 3], expected [4 positions, width]: [heads, positions, dim] is",
     .object = "/layers/1/k_proj", .type = 'f', .n_dims = 3, .dims = {2, 4, 3}},
    {"transposed", "/layers/1/k_proj: has shape [3, 4], expected [4 positions, width]: record it transposed",
     .object = "/layers/1/k_proj", .type = 'f', .n_dims = 2, .dims = {3, 4}},
    {"tokens' batch", "/tokens: has the wrong shape [1, 4], expected one dimension: leave out the batch dimension",
     .object = "/tokens", .type = 'i', .n_dims = 2, .dims = {1, 4}},
    {"a row too many", "expected 4 as in /tokens, or an attribute positions: if the engine ran with BOS",
     .object = "/layers/1/k_proj", .type = 'f', .n_dims = 2, .dims = {5, 3}},
    {"stage's rows", "/layers/1/k_proj: has 3 rows, expected 4", .object = "/layers/1/k_proj", .type = 'f', .n_dims = 2,
     .dims = {3, 3}},
    {"too many rows", "/layers/1/k_proj: has 5 rows", .object = "/layers/1/k_proj", .type = 'f', .n_dims = 2,
     .dims = {5, 3}},
    {"positions' order", "/stages/embed: attribute positions is wrong", .spoil = spoil_positions_order},
    {"positions' range", "/stages/embed: attribute positions is wrong", .spoil = spoil_positions_range},
    {"positions' count", "/stages/embed: attribute positions is wrong", .spoil = spoil_positions_count},
    {"external link", "/layers/1/k_proj: is an external link", .spoil = spoil_external_link},
    {"external group", "/layers: is an external link", .spoil = spoil_external_group},
    {"soft link", "/layers/1/k_proj: is a soft link", .spoil = spoil_soft_link},
    {"external storage", "/layers/1/k_proj: has external storage", .spoil = spoil_external_storage},
    {"virtual dataset", "/layers/1/k_proj: is a virtual dataset", .spoil = spoil_virtual},
    {"filter", "/layers/1/k_proj: has filter", .spoil = spoil_filter},
    {"huge", "/layers/1/k_proj: ", .spoil = spoil_huge},
    {"unwritten", "/layers/1/k_proj: holds 0 of its 4 chunks", .spoil = spoil_unwritten},
};

static void spoil(hid_t file, const struct spoiled *how)
{
    if (how->spoil != NULL) {
        how->spoil(file);
        return;
    }
    if (how->attribute != NULL && how->value != NULL) {
        set_text(file, how->attribute, how->value);
    } else if (how->attribute != NULL && how->number != 0) {
        set_integer(file, how->attribute, how->number);
    } else if (how->attribute != NULL) {
        assert_true(H5Adelete(file, how->attribute) >= 0);
    }
    if (how->object != NULL && H5Lexists(file, how->object, H5P_DEFAULT) > 0) {
        remove_object(file, how->object);
    }
    if (how->n_dims > 0) {
        hid_t type = how->type == 'f' ? H5T_IEEE_F32LE : H5T_STD_I32LE;
        H5Dclose(add_dataset(file, how->object, type, how->n_dims, how->dims, H5P_DEFAULT));
    }
}

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
        spoil(file, &cases[i]);
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
