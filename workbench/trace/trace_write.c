/* Writes a trace. The file depends on the trace alone: it holds no times, its names are in one order, and each stage is
 * one contiguous dataset. So equal traces are the same bytes. */
#include <errno.h>
#include <fcntl.h>
#include <float.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "workbench/trace/safe_replace.h"
#include "workbench/trace/trace_hdf5.h"

/* A file that is being written. Whatever fails in the library means the same to the user: the file cannot be written.
 */
struct writer {
    const char *path;
    struct error *err;
    enum status status; /* of the first failure */
    hid_t group_properties, dataset_properties;
};

static void write_failed(struct writer *writer, const char *field)
{
    char reason[200];
    if (writer->status == STATUS_OK) {
        writer->status = error_set(writer->err, STATUS_IO, writer->path, field, ERROR_NO_OFFSET, "writing failed: %s",
                                   hdf5_reason(reason));
    }
}

static void write_attribute(struct writer *writer, hid_t object, const char *name, hid_t type, hid_t space,
                            const void *value)
{
    hid_t attribute = H5Acreate2(object, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    bool written = attribute >= 0 && H5Awrite(attribute, type, value) >= 0;
    if (attribute >= 0 && H5Aclose(attribute) < 0) {
        written = false;
    }
    if (!written) {
        write_failed(writer, name);
    }
}

/* Writes a string of variable length, which h5py reads as str; one of fixed length it reads as bytes. */
static void write_text(struct writer *writer, hid_t object, const char *name, const char *text)
{
    hid_t type = H5Tcopy(H5T_C_S1), space = H5Screate(H5S_SCALAR);
    if (type >= 0 && space >= 0 && H5Tset_size(type, H5T_VARIABLE) >= 0 && H5Tset_cset(type, H5T_CSET_UTF8) >= 0) {
        write_attribute(writer, object, name, type, space, &text);
    } else {
        write_failed(writer, name);
    }
    H5Sclose(space);
    H5Tclose(type);
}

static void write_integer(struct writer *writer, hid_t object, const char *name, int32_t value)
{
    hid_t space = H5Screate(H5S_SCALAR);
    write_attribute(writer, object, name, H5T_STD_I32LE, space, &value);
    H5Sclose(space);
}

static void write_number(struct writer *writer, hid_t object, const char *name, hid_t type, const void *value)
{
    hid_t space = H5Screate(H5S_SCALAR);
    write_attribute(writer, object, name, type, space, value);
    H5Sclose(space);
}

/* Declares how tokens were sampled; a greedy choice declares nothing. */
static void write_sampling(struct writer *writer, hid_t file, const struct sampling *sampling)
{
    if (sampling->temperature == 0) {
        return;
    }
    const int64_t top_k = sampling->top_k, seed = (int64_t)sampling->seed;
    write_number(writer, file, "temperature", H5T_NATIVE_FLOAT, &sampling->temperature);
    if (top_k > 0) {
        write_number(writer, file, "top_k", H5T_NATIVE_INT64, &top_k);
    }
    if (sampling->top_p > 0) {
        write_number(writer, file, "top_p", H5T_NATIVE_FLOAT, &sampling->top_p);
    }
    write_number(writer, file, "seed", H5T_NATIVE_INT64, &seed);
}

static const char *float_type_name(double unit_roundoff)
{
    static const char *const names[] = {"float32", "float16", "bfloat16", "float64"};
    double u, smallest;
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        if (float_type(names[i], &u, &smallest) && u == unit_roundoff) {
            return names[i];
        }
    }
    ASSERT(!"a unit roundoff of no float type");
    return NULL;
}

static const char *weights_dtype_name(uint32_t dtype)
{
    return dtype == DTYPE_F16 ? "float16" : dtype == DTYPE_BF16 ? "bfloat16" : "float32";
}

const struct declaration declaration_none = {.arith = {.u_sum = 0x1p-24, .u_storage = 0x1p-24, .eta = FLT_MIN},
                                             .weights_dtype = DTYPE_F32};

/* Who is told of attributes that differ. */
struct listener {
    declaration_function *each;
    void *context;
    const char *suffix; /* of their names */
};

static void tell(const struct listener *listener, const char *attribute, const char *value)
{
    char name[64];
    snprintf(name, sizeof(name), "%s%s", attribute, listener->suffix);
    listener->each(listener->context, name, value);
}

/* Tells what rows of all phases, or decode rows, declare beyond others. */
static void tell_differences(const struct arith *arith, const struct arith *other, const struct listener *listener)
{
    for (unsigned i = 0; i < N_ROUNDING_ATTRIBUTES; i++) {
        const struct rounding_attribute *attribute = &rounding_attributes[i];
        uint8_t type = ((const uint8_t *)&arith->roundings)[attribute->at];
        if (type != ((const uint8_t *)&other->roundings)[attribute->at]) {
            tell(listener, attribute->name, rounding_name((enum rounding_type)type));
        }
    }
    if (arith->u_rounded != other->u_rounded) {
        tell(listener, "rounded_dtype", arith->u_rounded == 0 ? "float32" : float_type_name(arith->u_rounded));
    }
    if (arith->u_storage != other->u_storage) {
        tell(listener, "storage_dtype", float_type_name(arith->u_storage));
    }
    if (arith->u_sum != other->u_sum) {
        tell(listener, "sum_dtype", float_type_name(arith->u_sum));
    }
}

/* What decode rows declare if a file says only what tell_differences tells of all rows: an attribute of all rows of
 * this object goes before one of decode rows of an outer one. */
static struct arith decode_unsaid(const struct declaration *declaration, const struct declaration *other)
{
    const struct arith *arith = &declaration->arith;
    struct arith unsaid = other->decode_differs ? other->decode : other->arith;
    for (unsigned i = 0; i < N_ROUNDING_ATTRIBUTES; i++) {
        size_t at = rounding_attributes[i].at;
        uint8_t type = ((const uint8_t *)&arith->roundings)[at];
        if (type != ((const uint8_t *)&other->arith.roundings)[at]) {
            ((uint8_t *)&unsaid.roundings)[at] = type;
        }
    }
    unsaid.u_rounded = arith->u_rounded;
    unsaid.u_storage = arith->u_storage != other->arith.u_storage ? arith->u_storage : unsaid.u_storage;
    unsaid.u_sum = arith->u_sum != other->arith.u_sum ? arith->u_sum : unsaid.u_sum;
    return unsaid;
}

void declaration_differences(const struct declaration *declaration, const struct declaration *other,
                             declaration_function *each, void *context)
{
    const struct arith *decode = declaration->decode_differs ? &declaration->decode : &declaration->arith;
    const struct arith unsaid = decode_unsaid(declaration, other);
    tell_differences(&declaration->arith, &other->arith, &(struct listener){each, context, ""});
    tell_differences(decode, &unsaid, &(struct listener){each, context, OF_DECODE});
    if (declaration->weights_dtype != other->weights_dtype) {
        each(context, "weights_dtype", weights_dtype_name(declaration->weights_dtype));
    }
}

/* Where write_declaration writes. */
struct declaration_target {
    struct writer *writer;
    hid_t object;
};

static void write_declaration(void *context, const char *attribute, const char *value)
{
    const struct declaration_target *target = context;
    write_text(target->writer, target->object, attribute, value);
}

static void write_root(struct writer *writer, hid_t file, const struct trace *trace)
{
    /* The root says its types even where they are float32. */
    static const struct declaration unsaid = {.arith = {.u_sum = -1, .u_storage = -1}, .weights_dtype = DTYPE_COUNT};
    const struct declaration declaration = trace_declaration(trace);
    write_text(writer, file, "format", TRACE_FORMAT);
    write_integer(writer, file, "version", TRACE_VERSION);
    write_text(writer, file, "producer", trace->producer);
    write_text(writer, file, "model_type", trace->model_type);
    write_integer(writer, file, "n_layers", (int32_t)trace->n_layers);
    declaration_differences(&declaration, &unsaid, write_declaration, &(struct declaration_target){writer, file});
    write_sampling(writer, file, &trace->sampling);
    if (trace->weights_sha256[0] != '\0') {
        write_text(writer, file, "weights_sha256", trace->weights_sha256);
    }
    if (trace->config_sha256[0] != '\0') {
        write_text(writer, file, "config_sha256", trace->config_sha256);
    }
}

/* What a dataset is. */
struct dataset_form {
    const char *name;
    int n_dims;
    hsize_t dims[2];
    hid_t file_type, memory_type; /* of a value in the file, and in memory */
};

/* Creates a dataset and writes all its values. Returns it open, or negative. */
static hid_t write_dataset(struct writer *writer, hid_t group, const struct dataset_form *form, const void *values)
{
    hid_t space = H5Screate_simple(form->n_dims, form->dims, NULL);
    hid_t dataset =
        H5Dcreate2(group, form->name, form->file_type, space, H5P_DEFAULT, writer->dataset_properties, H5P_DEFAULT);
    if (dataset < 0 || H5Dwrite(dataset, form->memory_type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) < 0) {
        write_failed(writer, form->name);
    }
    H5Sclose(space);
    return dataset;
}

static void close_dataset(struct writer *writer, hid_t dataset, const char *name)
{
    if (dataset >= 0 && H5Dclose(dataset) < 0) {
        write_failed(writer, name);
    }
}

/* Packs the recorded rows of a stage: rows[n_recorded, width] and their positions[n_recorded]. */
static void pack_rows(const struct trace *trace, const struct trace_stage *stage, float *rows, int32_t *positions)
{
    uint32_t n = 0;
    for (uint32_t p = 0; p < trace->n_positions; p++) {
        const float *row = trace_row(stage, p);
        if (row != NULL) {
            memcpy(rows + (uint64_t)n * stage->width, row, stage->width * sizeof(*row));
            positions[n++] = (int32_t)p;
        }
    }
}

/* Writes the recorded rows of a stage; if some are missing, also the attribute `positions`. */
static void write_stage(struct writer *writer, hid_t group, const struct trace *trace, const struct trace_stage *stage)
{
    bool whole = stage->n_recorded == trace->n_positions;
    float *packed = NULL;
    int32_t *positions = NULL;
    if (!whole) {
        packed = xmalloc((uint64_t)stage->n_recorded * stage->width * sizeof(*packed));
        positions = xcalloc(stage->n_recorded, sizeof(*positions));
        pack_rows(trace, stage, packed, positions);
    }
    const struct dataset_form form = {
        .name = stage_name(stage->stage),
        .n_dims = 2,
        .dims = {stage->n_recorded, stage->width},
        .file_type = stage_is_integer(stage->stage) ? H5T_STD_I32LE : H5T_IEEE_F32LE,
        .memory_type = H5T_NATIVE_FLOAT,
    };
    hid_t dataset = write_dataset(writer, group, &form, whole ? stage->rows : packed);
    if (dataset >= 0 && !whole) {
        hid_t space = H5Screate_simple(1, form.dims, NULL);
        write_attribute(writer, dataset, "positions", H5T_STD_I32LE, space, positions);
        H5Sclose(space);
    }
    if (dataset >= 0) {
        const struct declaration whole_file = trace_declaration(trace), own = stage_declaration(stage);
        declaration_differences(&own, &whole_file, write_declaration, &(struct declaration_target){writer, dataset});
    }
    close_dataset(writer, dataset, form.name);
    free(packed);
    free(positions);
}

static hid_t open_group(struct writer *writer, hid_t parent, const char *name)
{
    hid_t group = H5Gcreate2(parent, name, H5P_DEFAULT, writer->group_properties, H5P_DEFAULT);
    if (group < 0) {
        write_failed(writer, name);
    }
    return group;
}

static void close_group(struct writer *writer, hid_t group, const char *name)
{
    if (group >= 0 && H5Gclose(group) < 0) {
        write_failed(writer, name);
    }
}

/* Writes the stages of one layer, or those outside the layers, as one group; no group if there are none. */
static void write_group(struct writer *writer, hid_t parent, const char *name, const struct trace *trace, int32_t layer)
{
    hid_t group = -1;
    for (uint32_t i = 0; i < trace->n_stages && writer->status == STATUS_OK; i++) {
        const struct trace_stage *stage = &trace->stages[i];
        if (stage->layer != layer || stage->n_recorded == 0) {
            continue;
        }
        if (group < 0) {
            group = open_group(writer, parent, name);
        }
        if (group >= 0) {
            write_stage(writer, group, trace, stage);
        }
    }
    close_group(writer, group, name);
}

/* Writes one value a position: /tokens or /phase. */
static void write_positions(struct writer *writer, hid_t file, const struct dataset_form *form, const void *values)
{
    hid_t dataset = write_dataset(writer, file, form, values);
    close_dataset(writer, dataset, form->name);
}

static void write_contents(struct writer *writer, hid_t file, const struct trace *trace)
{
    const struct dataset_form tokens = {"tokens", 1, {trace->n_positions}, H5T_STD_I32LE, H5T_NATIVE_INT32};
    const struct dataset_form phase = {"phase", 1, {trace->n_positions}, H5T_STD_U8LE, H5T_NATIVE_UINT8};
    write_root(writer, file, trace);
    write_positions(writer, file, &tokens, trace->tokens);
    write_positions(writer, file, &phase, trace->phase);
    hid_t layers = open_group(writer, file, "layers");
    for (uint32_t layer = 0; layer < trace->n_layers && writer->status == STATUS_OK; layer++) {
        char name[16];
        snprintf(name, sizeof(name), "%u", layer);
        write_group(writer, layers, name, trace, (int32_t)layer);
    }
    close_group(writer, layers, "layers");
    write_group(writer, file, "stages", trace, LAYER_NONE);
}

/* Reserves the disk space now, so that a full disk fails here, not in the library while it closes the file. The file's
 * length stays as it is. */
static void reserve_space(struct writer *writer, int fd, const struct trace *trace)
{
    uint64_t size = 1 << 16;
    for (uint32_t i = 0; i < trace->n_stages; i++) {
        size += (uint64_t)trace->stages[i].n_recorded * trace->stages[i].width * sizeof(float) + 1024;
    }
    if (fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, (off_t)size) != 0 && errno != EOPNOTSUPP && errno != ENOSYS) {
        writer->status = error_set(writer->err, STATUS_IO, writer->path, NULL, ERROR_NO_OFFSET, "writing failed: %s",
                                   strerror(errno));
    }
}

/* Frees the space that was reserved past the file's end. */
static void release_space(struct writer *writer, int fd)
{
    struct stat info;
    if (fstat(fd, &info) != 0 || ftruncate(fd, info.st_size) != 0) {
        writer->status = error_set(writer->err, STATUS_IO, writer->path, NULL, ERROR_NO_OFFSET, "writing failed: %s",
                                   strerror(errno));
    }
}

/* Creates the file, fills it and closes it. */
static enum status write_file(struct writer *writer, const struct replacement *replacement, const struct trace *trace)
{
    hid_t access = H5Pcreate(H5P_FILE_ACCESS), creation = H5Pcreate(H5P_FILE_CREATE);
    writer->group_properties = H5Pcreate(H5P_GROUP_CREATE);
    writer->dataset_properties = H5Pcreate(H5P_DATASET_CREATE);
    /* HDF5 1.8's format: an attribute (positions) may be larger than 64 KiB, and every h5py and h5dump reads it. */
    bool ready = access >= 0 && creation >= 0 && H5Pset_libver_bounds(access, H5F_LIBVER_V18, H5F_LIBVER_V18) >= 0 &&
                 H5Pset_obj_track_times(creation, false) >= 0 &&
                 H5Pset_obj_track_times(writer->group_properties, false) >= 0 &&
                 H5Pset_obj_track_times(writer->dataset_properties, false) >= 0 &&
                 H5Pset_fill_time(writer->dataset_properties, H5D_FILL_TIME_NEVER) >= 0;
    hid_t file = ready ? H5Fcreate(replacement->temporary, H5F_ACC_TRUNC, creation, access) : -1;
    if (file < 0) {
        write_failed(writer, NULL);
    } else {
        reserve_space(writer, replacement->fd, trace);
    }
    if (writer->status == STATUS_OK) {
        write_contents(writer, file, trace);
    }
    if (file >= 0 && H5Fclose(file) < 0) {
        write_failed(writer, NULL);
    }
    if (writer->status == STATUS_OK) {
        release_space(writer, replacement->fd);
    }
    H5Pclose(writer->dataset_properties);
    H5Pclose(writer->group_properties);
    H5Pclose(creation);
    H5Pclose(access);
    return writer->status;
}

enum status trace_write(const struct trace *trace, const char *path, struct error *err)
{
    struct replacement replacement;
    hdf5_start();
    TRY(replacement_begin(&replacement, path, err));
    struct writer writer = {.path = path, .err = err};
    enum status status = write_file(&writer, &replacement, trace);
    if (status != STATUS_OK) {
        replacement_abort(&replacement);
        return status;
    }
    return replacement_commit(&replacement, err);
}
