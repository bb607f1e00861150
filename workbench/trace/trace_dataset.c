/* Reads one dataset of a trace file. Anybody may have written it, so everything about it is checked before its values
 * are read. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "workbench/trace/trace_hdf5.h"

/* The most that a deflate stream can expand, per byte. Source: zlib, "Maximum expansion factor". */
#define DEFLATE_MOST 1032

/* What a dataset must be, and is: [rows] of integers, or [rows, width] of floats. */
struct form {
    bool integers;
    bool or_floats; /* floats that hold integers are accepted too */
    int n_dims;
    hsize_t rows, width;
    uint64_t value_bytes; /* bytes of one value in the file */
    unsigned mantissa;    /* bits of a float's mantissa that are stored */
};

/* Refuses what reaches outside the file or runs code from there: external storage, virtual datasets, filter plugins. */
static enum status check_storage(struct trace_reader *reader, hid_t properties, const char *field, bool *deflated)
{
    H5D_layout_t layout = H5Pget_layout(properties);
    if (layout != H5D_COMPACT && layout != H5D_CONTIGUOUS && layout != H5D_CHUNKED) {
        return trace_bad(reader, field, "is a virtual dataset, expected values in this file");
    }
    if (H5Pget_external_count(properties) != 0) {
        return trace_bad(reader, field, "has external storage, expected values in this file");
    }
    int n_filters = H5Pget_nfilters(properties);
    for (int i = 0; i < n_filters; i++) {
        unsigned flags;
        size_t n_values = 0;
        H5Z_filter_t filter = H5Pget_filter2(properties, (unsigned)i, &flags, &n_values, NULL, 0, NULL, NULL);
        if (filter != H5Z_FILTER_DEFLATE && filter != H5Z_FILTER_SHUFFLE && filter != H5Z_FILTER_FLETCHER32) {
            return trace_bad(reader, field, "has filter %d, expected deflate, shuffle or fletcher32", (int)filter);
        }
        if (filter == H5Z_FILTER_DEFLATE && *deflated) {
            return trace_bad(reader, field, "is deflated twice, expected at most once");
        }
        *deflated |= filter == H5Z_FILTER_DEFLATE;
    }
    return n_filters < 0 ? trace_bad(reader, field, "has unreadable filters") : STATUS_OK;
}

/* Counts a dataset's chunks in the file. (Given H5S_ALL, HDF5 1.10.8 counts none.) */
static herr_t count_chunks(hid_t dataset, hsize_t *n_chunks)
{
    hid_t space = H5Dget_space(dataset);
    herr_t result = space < 0 ? -1 : H5Dget_num_chunks(dataset, space, n_chunks);
    if (space >= 0) {
        H5Sclose(space);
    }
    return result;
}

/* Checks, before any memory is taken, that the file holds enough bytes for the shape that the dataset claims. */
static enum status check_size(struct trace_reader *reader, hid_t dataset, hid_t properties, const char *field,
                              const struct form *form, bool deflated)
{
    uint64_t stored = H5Dget_storage_size(dataset);
    uint64_t rows = form->rows, width = form->width;
    hsize_t chunk[2] = {1, 1}, n_chunks = 0;
    if (H5Pget_layout(properties) == H5D_CHUNKED) {
        if (H5Pget_chunk(properties, form->n_dims, chunk) != form->n_dims || chunk[0] == 0 || chunk[1] == 0) {
            return trace_bad(reader, field, "has unreadable chunks");
        }
        uint64_t down = (rows + chunk[0] - 1) / chunk[0], across = (width + chunk[1] - 1) / chunk[1];
        uint64_t n_expected = down * across;
        if (count_chunks(dataset, &n_chunks) < 0 || n_chunks != n_expected) {
            return trace_bad(reader, field, "holds %llu of its %llu chunks: not everything was written",
                             (unsigned long long)n_chunks, (unsigned long long)n_expected);
        }
        rows = down * chunk[0];
        width = across * chunk[1];
    }
    uint64_t claimed;
    uint64_t most = deflated ? stored * DEFLATE_MOST : stored;
    if (__builtin_mul_overflow(rows, width, &claimed) || __builtin_mul_overflow(claimed, form->value_bytes, &claimed) ||
        stored > reader->file_size || claimed > most) {
        return trace_bad(reader, field, "claims %llu × %llu values, but %llu bytes are stored",
                         (unsigned long long)form->rows, (unsigned long long)form->width, (unsigned long long)stored);
    }
    return STATUS_OK;
}

static enum status check_type(struct trace_reader *reader, hid_t dataset, const char *field, struct form *form)
{
    hid_t type = H5Dget_type(dataset);
    H5T_class_t class = type < 0 ? H5T_NO_CLASS : H5Tget_class(type);
    size_t sign, exponent, exponent_bits = 0, mantissa, mantissa_bits = 0;
    form->value_bytes = type < 0 ? 0 : H5Tget_size(type);
    bool fits = form->integers ? class == H5T_INTEGER && form->value_bytes <= 8 : class == H5T_FLOAT;
    fits |= form->or_floats && class == H5T_FLOAT && form->value_bytes <= 8;
    if (fits && !form->integers) {
        /* float16, bfloat16, float32, float64; the library converts either byte order. */
        fits = H5Tget_fields(type, &sign, &exponent, &exponent_bits, &mantissa, &mantissa_bits) >= 0 &&
               ((form->value_bytes == 2 && exponent_bits == 5 && mantissa_bits == 10) ||
                (form->value_bytes == 2 && exponent_bits == 8 && mantissa_bits == 7) ||
                (form->value_bytes == 4 && exponent_bits == 8 && mantissa_bits == 23) ||
                (form->value_bytes == 8 && exponent_bits == 11 && mantissa_bits == 52));
        form->mantissa = (unsigned)mantissa_bits;
    }
    if (type >= 0) {
        H5Tclose(type);
    }
    return fits ? STATUS_OK
                : trace_bad(reader, field, "has the wrong type, expected %s",
                            form->integers ? "integers" : "floats of 16, 32 or 64 bits");
}

static enum status check_shape(struct trace_reader *reader, hid_t dataset, const char *field, struct form *form)
{
    int n_dims = form->n_dims, n_found;
    hsize_t dims[H5S_MAX_RANK] = {0, 1};
    hid_t space = H5Dget_space(dataset);
    bool simple = space >= 0 && H5Sget_simple_extent_type(space) == H5S_SIMPLE;
    n_found = simple ? H5Sget_simple_extent_dims(space, dims, NULL) : -1;
    if (space >= 0) {
        H5Sclose(space);
    }
    if (n_found < 0) {
        return trace_bad(reader, field, "has the wrong shape, expected %s",
                         n_dims == 1 ? "one dimension" : "[positions, width]");
    }
    if (n_found != n_dims) {
        return trace_bad_shape(reader, field, dims, n_found, n_dims);
    }
    form->rows = dims[0];
    form->width = n_dims == 1 ? 1 : dims[1];
    if (form->rows == 0 || form->width == 0 || form->rows > INT32_MAX || form->width > INT32_MAX) {
        return trace_bad(reader, field, "has shape [%llu, %llu], expected at least one value and less than 2^31",
                         (unsigned long long)form->rows, (unsigned long long)form->width);
    }
    return STATUS_OK;
}

static enum status check_dataset(struct trace_reader *reader, hid_t dataset, const char *field, struct form *form)
{
    char reason[200];
    bool deflated = false;
    hid_t properties = H5Dget_create_plist(dataset);
    if (properties < 0) {
        return trace_bad(reader, field, "cannot be read: %s", hdf5_reason(reason));
    }
    enum status status = check_storage(reader, properties, field, &deflated);
    if (status == STATUS_OK) {
        status = check_type(reader, dataset, field, form);
    }
    if (status == STATUS_OK) {
        status = check_shape(reader, dataset, field, form);
    }
    if (status == STATUS_OK) {
        status = check_size(reader, dataset, properties, field, form, deflated);
    }
    H5Pclose(properties);
    return status;
}

/* Reads a one-dimensional dataset of integers. *values is malloc'ed. */
static enum status read_integers(struct trace_reader *reader, hid_t dataset, const char *field, int64_t **values,
                                 uint32_t *n_values)
{
    char reason[200];
    struct form form = {.integers = true, .n_dims = 1};
    TRY(check_dataset(reader, dataset, field, &form));
    int64_t *read = xcalloc(form.rows, sizeof(*read));
    if (H5Dread(dataset, H5T_NATIVE_INT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, read) < 0) {
        free(read);
        return trace_bad(reader, field, "cannot be read: %s", hdf5_reason(reason));
    }
    *values = read;
    *n_values = (uint32_t)form.rows;
    return STATUS_OK;
}

enum status trace_read_tokens(struct trace_reader *reader, hid_t dataset)
{
    struct trace *trace = reader->trace;
    int64_t *values;
    enum status status = STATUS_OK;
    TRY(read_integers(reader, dataset, "/tokens", &values, &trace->n_positions));
    trace->tokens = xcalloc(trace->n_positions, sizeof(*trace->tokens));
    trace->phase = xcalloc(trace->n_positions, sizeof(*trace->phase));
    for (uint32_t p = 0; p < trace->n_positions && status == STATUS_OK; p++) {
        trace->tokens[p] = (int32_t)values[p];
        if (values[p] < 0 || values[p] > INT32_MAX) {
            status =
                trace_bad(reader, "/tokens", "position %u is token %lld, expected 0 or more", p, (long long)values[p]);
        }
    }
    free(values);
    return status;
}

enum status trace_read_phase(struct trace_reader *reader, hid_t dataset)
{
    struct trace *trace = reader->trace;
    int64_t *values;
    uint32_t n_values;
    enum status status = STATUS_OK;
    TRY(read_integers(reader, dataset, "/phase", &values, &n_values));
    if (n_values != trace->n_positions) {
        status = trace_bad(reader, "/phase", "has %u values, expected %u as in /tokens", n_values, trace->n_positions);
    }
    for (uint32_t p = 0; p < trace->n_positions && status == STATUS_OK; p++) {
        trace->phase[p] = (uint8_t)values[p];
        if (values[p] != PHASE_PREFILL && values[p] != PHASE_DECODE) {
            status = trace_bad(reader, "/phase", "position %u is %lld, expected 0 (prefill) or 1 (decode)", p,
                               (long long)values[p]);
        } else if (p > 0 && values[p] < values[p - 1]) {
            status = trace_bad(reader, "/phase", "position %u is prefill after decode, expected the prompt first", p);
        }
    }
    free(values);
    return status;
}

/* Reads the attribute `positions`: n positions below n_positions, in rising order. Returns false if it is anything
 * else. */
static bool read_rising(hid_t dataset, uint64_t n, uint32_t n_positions, int64_t *positions)
{
    hid_t attribute = H5Aopen(dataset, "positions", H5P_DEFAULT);
    if (attribute < 0) {
        return false;
    }
    bool fits = hdf5_holds(attribute, H5T_INTEGER, n) && H5Aread(attribute, H5T_NATIVE_INT64, positions) >= 0;
    H5Aclose(attribute);
    for (uint64_t i = 0; i < n && fits; i++) {
        fits = positions[i] >= 0 && positions[i] < n_positions && (i == 0 || positions[i] > positions[i - 1]);
    }
    return fits;
}

/* The position of each row of a dataset: the attribute `positions`, or without it all in order. malloc'ed. */
static enum status read_positions(struct trace_reader *reader, hid_t dataset, const char *field,
                                  const struct form *form, int64_t **positions)
{
    uint32_t n_positions = reader->trace->n_positions;
    htri_t exists = H5Aexists(dataset, "positions");
    if (exists < 0 || (exists == 0 && form->rows != n_positions)) {
        return trace_bad_rows(reader, field, form->rows, form->width);
    }
    if (form->rows > n_positions) {
        return trace_bad(reader, field, "has %llu rows, expected at most %u as in /tokens",
                         (unsigned long long)form->rows, n_positions);
    }
    int64_t *read = xcalloc(form->rows, sizeof(*read));
    for (uint32_t i = 0; i < form->rows; i++) {
        read[i] = i;
    }
    if (exists > 0 && !read_rising(dataset, form->rows, n_positions, read)) {
        free(read);
        return trace_bad(reader, field, "attribute positions is wrong, expected %llu rising integers below %u",
                         (unsigned long long)form->rows, n_positions);
    }
    *positions = read;
    return STATUS_OK;
}

/* Refuses a trace whose rows would not fit into the machine's memory. */
static enum status check_memory(struct trace_reader *reader, const char *field, const struct form *form)
{
    uint64_t have = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    reader->memory += reader->trace->n_positions * form->width * sizeof(float);
    if (reader->memory <= have) {
        return STATUS_OK;
    }
    return trace_bad(reader, field, "brings the trace to %llu MiB, expected no more than this machine's %llu",
                     (unsigned long long)(reader->memory >> 20), (unsigned long long)(have >> 20));
}

/* The rows were read to the front of stage->rows; moves each to its position. Goes from the last to the first, so that
 * none is overwritten. */
static void spread_rows(struct trace_stage *stage, const int64_t *positions, uint32_t n_rows)
{
    for (uint32_t i = n_rows; i-- > 0;) {
        float *to = stage->rows + (uint64_t)positions[i] * stage->width;
        float *from = stage->rows + (uint64_t)i * stage->width;
        if (to == from) {
            continue;
        }
        memcpy(to, from, stage->width * sizeof(float));
        for (uint32_t k = 0; k < stage->width; k++) {
            from[k] = NAN;
        }
    }
    for (uint32_t i = 0; i < n_rows; i++) {
        stage->recorded[positions[i]] = 1;
    }
    stage->n_recorded = n_rows;
}

/* Values of a 16-bit dataset are rounded to its type, whatever the file declares for all stages. */
static void take_type_of(const struct form *form, struct arith *arith)
{
    if (form->mantissa == 10 && arith->u_storage == arith_float32.u_storage) {
        float_type("float16", &arith->u_storage, &arith->eta);
    }
    if (form->mantissa == 7 && arith->u_storage == arith_float32.u_storage) {
        float_type("bfloat16", &arith->u_storage, &arith->eta);
    }
}

enum status trace_read_stage(struct trace_reader *reader, hid_t dataset, const char *field, int32_t layer,
                             enum stage stage)
{
    char reason[200];
    struct trace *trace = reader->trace;
    struct form form = {.integers = stage_is_integer(stage), .or_floats = stage == STAGE_sample_token, .n_dims = 2};
    struct declaration declaration = trace_declaration(trace);
    int64_t *positions = NULL;
    bool declared;
    TRY(check_dataset(reader, dataset, field, &form));
    TRY(trace_read_declaration(reader, dataset, field, &declaration, &declared));
    TRY(check_memory(reader, field, &form));
    TRY(read_positions(reader, dataset, field, &form, &positions));
    if (!declared) {
        take_type_of(&form, &declaration.arith);
        take_type_of(&form, &declaration.decode);
    }
    struct trace_stage *added = trace_add(trace, layer, stage, (uint32_t)form.width);
    stage_declare(added, &declaration);
    enum status status = STATUS_OK;
    if (H5Dread(dataset, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, added->rows) < 0) {
        status = trace_bad(reader, field, "cannot be read: %s", hdf5_reason(reason));
    } else {
        spread_rows(added, positions, (uint32_t)form.rows);
    }
    free(positions);
    return status;
}
