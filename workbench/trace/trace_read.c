/* Reads a trace file in this process. Anybody may have written the file, so every name, link, type and size is checked
 * before it is used. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "workbench/trace/trace_hdf5.h"

/* No model has this many layers; a file that says so is not a trace. */
#define MOST_LAYERS 10000

/* The visit of one group's links. */
struct group_visit {
    struct trace_reader *reader;
    enum status status;                                 /* of the first failure */
    int32_t layer;                                      /* of the stages in this group; LAYER_NONE: /stages */
    bool has_tokens, has_phase, has_layers, has_stages; /* what the root holds; unused for other groups */
};

/* Accepts only objects of this file: a soft or external link could lead anywhere, to another file too. */
static enum status check_link(struct trace_reader *reader, const H5L_info_t *link, const char *field)
{
    if (link->type == H5L_TYPE_HARD) {
        return STATUS_OK;
    }
    return trace_bad(reader, field, "is %s link, expected the object itself",
                     link->type == H5L_TYPE_EXTERNAL ? "an external" : "a soft");
}

/* Opens a child, whose link was checked, of this type. *child is negative, or closed, on failure. */
static enum status open_child(struct trace_reader *reader, hid_t group, const char *name, const char *field,
                              H5I_type_t type, hid_t *child)
{
    char reason[200];
    *child = H5Oopen(group, name, H5P_DEFAULT);
    if (*child < 0) {
        return trace_bad(reader, field, "cannot be opened: %s", hdf5_reason(reason));
    }
    if (H5Iget_type(*child) == type) {
        return STATUS_OK;
    }
    H5Oclose(*child);
    return trace_bad(reader, field, "is not a %s", type == H5I_GROUP ? "group" : "dataset");
}

/* Reads one stage of a layer's group, or of /stages. */
static enum status read_stage(struct trace_reader *reader, hid_t group, const char *name, const H5L_info_t *link,
                              int32_t layer)
{
    char field[160];
    hid_t dataset;
    if (layer == LAYER_NONE) {
        snprintf(field, sizeof(field), "/stages/%.100s", name);
    } else {
        snprintf(field, sizeof(field), "/layers/%d/%.100s", layer, name);
    }
    enum stage stage = stage_by_name(name);
    if (stage == STAGE_COUNT) {
        return trace_bad(reader, field, "is not a known stage");
    }
    if (stage_in_layer(stage) != (layer != LAYER_NONE)) {
        return trace_bad(reader, field, "is in the wrong group, expected %s",
                         stage_in_layer(stage) ? "/layers/<i>" : "/stages");
    }
    TRY(check_link(reader, link, field));
    TRY(open_child(reader, group, name, field, H5I_DATASET, &dataset));
    enum status status = trace_read_stage(reader, dataset, field, layer, stage);
    H5Oclose(dataset);
    return status;
}

static herr_t visit_stage(hid_t group, const char *name, const H5L_info_t *link, void *context)
{
    struct group_visit *visit = context;
    visit->status = read_stage(visit->reader, group, name, link, visit->layer);
    return visit->status == STATUS_OK ? 0 : -1;
}

/* Visits every link of a group. A failure that the visitor did not report is the library's own. */
static enum status visit_group(struct group_visit *visit, hid_t group, const char *field, H5L_iterate_t visitor)
{
    char reason[200];
    if (H5Literate(group, H5_INDEX_NAME, H5_ITER_INC, NULL, visitor, visit) < 0 && visit->status == STATUS_OK) {
        visit->status = trace_bad(visit->reader, field, "cannot be read: %s", hdf5_reason(reason));
    }
    return visit->status;
}

/* Reads the group of one layer. */
static enum status read_layer(struct trace_reader *reader, hid_t group, const char *name, const H5L_info_t *link)
{
    char field[160], canonical[24];
    hid_t layer_group;
    snprintf(field, sizeof(field), "/layers/%.100s", name);
    unsigned long layer = strtoul(name, NULL, 10);
    snprintf(canonical, sizeof(canonical), "%lu", layer);
    if (strcmp(name, canonical) != 0 || layer >= reader->trace->n_layers) {
        return trace_bad(reader, field, "is not a layer, expected 0 to %u", reader->trace->n_layers - 1);
    }
    TRY(check_link(reader, link, field));
    TRY(open_child(reader, group, name, field, H5I_GROUP, &layer_group));
    struct group_visit stages = {.reader = reader, .layer = (int32_t)layer};
    enum status status = visit_group(&stages, layer_group, field, visit_stage);
    H5Oclose(layer_group);
    return status;
}

static herr_t visit_layer(hid_t group, const char *name, const H5L_info_t *link, void *context)
{
    struct group_visit *visit = context;
    visit->status = read_layer(visit->reader, group, name, link);
    return visit->status == STATUS_OK ? 0 : -1;
}

/* The first pass over the root, which may hold only the format's four names. */
static herr_t visit_root(hid_t group, const char *name, const H5L_info_t *link, void *context)
{
    struct group_visit *visit = context;
    char field[160];
    (void)group;
    snprintf(field, sizeof(field), "/%.100s", name);
    bool *has = strcmp(name, "tokens") == 0   ? &visit->has_tokens
                : strcmp(name, "phase") == 0  ? &visit->has_phase
                : strcmp(name, "layers") == 0 ? &visit->has_layers
                : strcmp(name, "stages") == 0 ? &visit->has_stages
                                              : NULL;
    if (has == NULL) {
        visit->status = trace_bad(visit->reader, field, "is unknown, expected tokens, phase, layers, stages");
        return -1;
    }
    *has = true;
    visit->status = check_link(visit->reader, link, field);
    return visit->status == STATUS_OK ? 0 : -1;
}

/* Reads an optional SHA-256; digest stays "" where there is none. */
static enum status read_digest(struct trace_reader *reader, hid_t file, const char *name, char digest[65])
{
    char text[256] = "";
    bool found;
    TRY(trace_read_text(reader, file, "", name, text, &found));
    if (*text != '\0' && (strlen(text) != 64 || strspn(text, "0123456789abcdefABCDEF") != 64)) {
        return trace_bad(reader, name, "is \"%.80s\", expected 64 hexadecimal digits", text);
    }
    strcpy(digest, text);
    return STATUS_OK;
}

/* *value is malloc'ed. */
static enum status read_required_text(struct trace_reader *reader, hid_t file, const char *name, char **value)
{
    char text[256] = "";
    bool found;
    TRY(trace_read_text(reader, file, "", name, text, &found));
    if (!found) {
        return trace_bad(reader, name, "is missing from the root's attributes");
    }
    *value = xstrdup(text);
    return STATUS_OK;
}

/* Reads an integer that must be from low to high. */
static enum status read_required_integer(struct trace_reader *reader, hid_t file, const char *name, int64_t low,
                                         int64_t high, int64_t *value)
{
    bool found;
    TRY(trace_read_integer(reader, file, "", name, value, &found));
    if (!found) {
        return trace_bad(reader, name, "is missing from the root's attributes");
    }
    if (*value >= low && *value <= high) {
        return STATUS_OK;
    }
    if (low == high) {
        return trace_bad(reader, name, "is %lld, expected %lld", (long long)*value, (long long)low);
    }
    return trace_bad(reader, name, "is %lld, expected %lld to %lld", (long long)*value, (long long)low,
                     (long long)high);
}

static enum status read_root_attributes(struct trace_reader *reader, hid_t file)
{
    struct trace *trace = reader->trace;
    char *format = NULL;
    int64_t number = 0;
    bool declared;
    enum status status = read_required_text(reader, file, "format", &format);
    if (status == STATUS_OK && strcmp(format, TRACE_FORMAT) != 0) {
        status = trace_bad(reader, "format", "is \"%s\", expected \"%s\"", format, TRACE_FORMAT);
    }
    free(format);
    TRY(status);
    TRY(read_required_integer(reader, file, "version", TRACE_VERSION, TRACE_VERSION, &number));
    TRY(read_required_integer(reader, file, "n_layers", 1, MOST_LAYERS, &number));
    trace->n_layers = (uint32_t)number;
    TRY(read_required_text(reader, file, "producer", &trace->producer));
    TRY(read_required_text(reader, file, "model_type", &trace->model_type));
    TRY(read_digest(reader, file, "weights_sha256", trace->weights_sha256));
    TRY(read_digest(reader, file, "config_sha256", trace->config_sha256));
    struct declaration declaration = trace_declaration(trace);
    TRY(trace_read_declaration(reader, file, "", &declaration, &declared));
    trace_declare(trace, &declaration);
    return trace_read_sampling(reader, file, &trace->sampling);
}

static enum status read_root_dataset(struct trace_reader *reader, hid_t file, const char *name,
                                     enum status (*read)(struct trace_reader *, hid_t))
{
    char field[16];
    hid_t dataset;
    snprintf(field, sizeof(field), "/%s", name);
    TRY(open_child(reader, file, name, field, H5I_DATASET, &dataset));
    enum status status = read(reader, dataset);
    H5Oclose(dataset);
    return status;
}

static enum status read_root_group(struct trace_reader *reader, hid_t file, const char *name, H5L_iterate_t visitor)
{
    char field[16];
    hid_t group;
    snprintf(field, sizeof(field), "/%s", name);
    TRY(open_child(reader, file, name, field, H5I_GROUP, &group));
    struct group_visit visit = {.reader = reader, .layer = LAYER_NONE};
    enum status status = visit_group(&visit, group, field, visitor);
    H5Oclose(group);
    return status;
}

/* Reads the open file. The trace may be half-filled on failure. */
static enum status read_file(struct trace_reader *reader, hid_t file)
{
    TRY(read_root_attributes(reader, file));
    struct group_visit root = {.reader = reader};
    TRY(visit_group(&root, file, "/", visit_root));
    if (!root.has_tokens || !root.has_phase) {
        return trace_bad(reader, root.has_tokens ? "/phase" : "/tokens", "is missing");
    }
    TRY(read_root_dataset(reader, file, "tokens", trace_read_tokens));
    TRY(read_root_dataset(reader, file, "phase", trace_read_phase));
    if (root.has_layers) {
        TRY(read_root_group(reader, file, "layers", visit_layer));
    }
    if (root.has_stages) {
        TRY(read_root_group(reader, file, "stages", visit_stage));
    }
    return STATUS_OK;
}

/* Opens a regular file that HDF5 recognises. */
static enum status open_file(struct trace_reader *reader, hid_t *file)
{
    char reason[200];
    struct stat info;
    if (stat(reader->path, &info) != 0) {
        return trace_bad(reader, NULL, "cannot be opened: %s", strerror(errno));
    }
    if (!S_ISREG(info.st_mode)) {
        return trace_bad(reader, NULL, "is not a regular file, expected a trace (HDF5)");
    }
    reader->file_size = (uint64_t)info.st_size;
    hid_t access = H5Pcreate(H5P_FILE_ACCESS);
    /* An import's file has no name (python_import.c). The library wants one, unless it holds the file in memory. */
    bool nameless = strncmp(reader->path, "/proc/self/fd/", strlen("/proc/self/fd/")) == 0;
    herr_t driver = access < 0 ? -1 : nameless ? H5Pset_fapl_core(access, 1 << 20, 0) : H5Pset_fapl_sec2(access);
    bool ready = driver >= 0 && H5Pset_fclose_degree(access, H5F_CLOSE_STRONG) >= 0;
    *file = ready ? H5Fopen(reader->path, H5F_ACC_RDONLY, access) : -1;
    enum status status = STATUS_OK;
    if (*file < 0) {
        status = trace_bad(reader, "HDF5", "cannot be opened as a trace: %s", hdf5_reason(reason));
    }
    if (access >= 0) {
        H5Pclose(access);
    }
    return status;
}

enum status trace_read_file(struct trace *trace, const char *path, struct error *err)
{
    hid_t file = -1;
    *trace = (struct trace){.arith = arith_float32, .weights_dtype = DTYPE_F32};
    struct trace_reader reader = {.path = path, .trace = trace, .err = err};
    hdf5_start();
    TRY(open_file(&reader, &file));
    trace->path = xstrdup(path);
    enum status status = read_file(&reader, file);
    H5Fclose(file);
    if (status != STATUS_OK) {
        trace_free(trace);
    }
    return status;
}
