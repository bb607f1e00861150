/* Reads a trace file that anybody may have written, in the process at hand. Every name, link, type and size is checked
 * before it is used. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "workbench/trace/trace_hdf5.h"

/* Limits that no model comes near; what is beyond them is no trace. */
#define MOST_LAYERS 10000

struct group_visit {
    struct trace_reader *reader;
    enum status status;
    int32_t layer;                                      /* of the stages in this group; LAYER_NONE: /stages */
    bool has_tokens, has_phase, has_layers, has_stages; /* root */
};

/* Opens a child that is really in this group: a soft or external link could lead anywhere, a foreign file included. */
static enum status open_child(struct trace_reader *reader, hid_t group, const char *name, const H5L_info_t *link,
                              const char *field, H5I_type_t type, hid_t *child)
{
    char reason[200];
    *child = -1;
    if (link->type != H5L_TYPE_HARD)
        return trace_bad(reader, field, "is %s link, expected the object itself",
                         link->type == H5L_TYPE_EXTERNAL ? "an external" : "a soft");
    *child = H5Oopen(group, name, H5P_DEFAULT);
    if (*child < 0)
        return trace_bad(reader, field, "cannot be opened: %s", hdf5_reason(reason));
    if (H5Iget_type(*child) == type)
        return STATUS_OK;
    H5Oclose(*child);
    return trace_bad(reader, field, "is no %s", type == H5I_GROUP ? "group" : "dataset");
}

static herr_t visit_stage(hid_t group, const char *name, const H5L_info_t *link, void *context)
{
    struct group_visit *visit = context;
    struct trace_reader *reader = visit->reader;
    char field[160];
    hid_t dataset = -1;
    if (visit->layer == LAYER_NONE)
        snprintf(field, sizeof field, "/stages/%.100s", name);
    else
        snprintf(field, sizeof field, "/layers/%d/%.100s", visit->layer, name);
    enum stage stage = stage_by_name(name);
    if (stage == STAGE_COUNT)
        visit->status = trace_bad(reader, field, "is no known stage");
    else if (stage_in_layer(stage) != (visit->layer != LAYER_NONE))
        visit->status = trace_bad(reader, field, "stands in the wrong group, expected %s",
                                  stage_in_layer(stage) ? "/layers/<i>" : "/stages");
    else
        visit->status = open_child(reader, group, name, link, field, H5I_DATASET, &dataset);
    if (visit->status)
        return -1;
    visit->status = trace_read_stage(reader, dataset, field, visit->layer, stage);
    H5Oclose(dataset);
    return visit->status ? -1 : 0;
}

/* Visits every link of a group. What the visitor did not report itself is the library's failure. */
static enum status visit_group(struct group_visit *visit, hid_t group, const char *field, H5L_iterate_t visitor)
{
    char reason[200];
    if (H5Literate(group, H5_INDEX_NAME, H5_ITER_INC, NULL, visitor, visit) < 0 && !visit->status)
        visit->status = trace_bad(visit->reader, field, "cannot be read: %s", hdf5_reason(reason));
    return visit->status;
}

static herr_t visit_layer(hid_t group, const char *name, const H5L_info_t *link, void *context)
{
    struct group_visit *visit = context;
    struct trace_reader *reader = visit->reader;
    char field[160], canonical[24];
    hid_t layer_group = -1;
    snprintf(field, sizeof field, "/layers/%.100s", name);
    unsigned long layer = strtoul(name, NULL, 10);
    snprintf(canonical, sizeof canonical, "%lu", layer);
    if (strcmp(name, canonical) != 0 || layer >= reader->trace->n_layers) {
        visit->status = trace_bad(reader, field, "is no layer, expected 0 to %u", reader->trace->n_layers - 1);
        return -1;
    }
    visit->status = open_child(reader, group, name, link, field, H5I_GROUP, &layer_group);
    if (visit->status)
        return -1;
    struct group_visit stages = {.reader = reader, .layer = (int32_t)layer};
    visit->status = visit_group(&stages, layer_group, field, visit_stage);
    H5Oclose(layer_group);
    return visit->status ? -1 : 0;
}

/* The first pass over the root: nothing but the four names of the format may be there. */
static herr_t visit_root(hid_t group, const char *name, const H5L_info_t *link, void *context)
{
    struct group_visit *visit = context;
    char field[160];
    (void)group;
    snprintf(field, sizeof field, "/%.100s", name);
    bool *has = strcmp(name, "tokens") == 0   ? &visit->has_tokens
                : strcmp(name, "phase") == 0  ? &visit->has_phase
                : strcmp(name, "layers") == 0 ? &visit->has_layers
                : strcmp(name, "stages") == 0 ? &visit->has_stages
                                              : NULL;
    if (!has)
        visit->status = trace_bad(visit->reader, field, "is unknown, expected tokens, phase, layers, stages");
    else if (link->type != H5L_TYPE_HARD)
        visit->status = trace_bad(visit->reader, field, "is %s link, expected the object itself",
                                  link->type == H5L_TYPE_EXTERNAL ? "an external" : "a soft");
    else
        *has = true;
    return visit->status ? -1 : 0;
}

static enum status read_digest(struct trace_reader *reader, hid_t file, const char *name, char digest[65])
{
    char text[256] = "";
    bool found;
    enum status status = trace_read_text(reader, file, "", name, text, &found);
    if (status)
        return status;
    if (*text && (strlen(text) != 64 || strspn(text, "0123456789abcdefABCDEF") != 64))
        return trace_bad(reader, name, "is \"%.80s\", expected 64 hexadecimal digits", text);
    strcpy(digest, text);
    return STATUS_OK;
}

static enum status read_required_text(struct trace_reader *reader, hid_t file, const char *name, char **value)
{
    char text[256] = "";
    bool found;
    enum status status = trace_read_text(reader, file, "", name, text, &found);
    if (status)
        return status;
    if (!found)
        return trace_bad(reader, name, "is missing from the root's attributes");
    *value = xstrdup(text);
    return STATUS_OK;
}

static enum status read_required_integer(struct trace_reader *reader, hid_t file, const char *name, int64_t low,
                                         int64_t high, int64_t *value)
{
    bool found;
    enum status status = trace_read_integer(reader, file, "", name, value, &found);
    if (status)
        return status;
    if (!found)
        return trace_bad(reader, name, "is missing from the root's attributes");
    if (*value >= low && *value <= high)
        return STATUS_OK;
    return trace_bad(reader, name, "is %lld, expected %lld%s", (long long)*value, (long long)low,
                     low == high ? "" : " or more, and no absurd number");
}

static enum status read_root_attributes(struct trace_reader *reader, hid_t file)
{
    struct trace *trace = reader->trace;
    char *format = NULL;
    int64_t number = 0;
    bool declared;
    enum status status = read_required_text(reader, file, "format", &format);
    if (!status && strcmp(format, TRACE_FORMAT) != 0)
        status = trace_bad(reader, "format", "is \"%s\", expected \"%s\"", format, TRACE_FORMAT);
    free(format);
    if (!status)
        status = read_required_integer(reader, file, "version", TRACE_VERSION, TRACE_VERSION, &number);
    if (!status)
        status = read_required_integer(reader, file, "n_layers", 1, MOST_LAYERS, &number);
    if (status)
        return status;
    trace->n_layers = (uint32_t)number;
    status = read_required_text(reader, file, "producer", &trace->producer);
    if (!status)
        status = read_required_text(reader, file, "model_type", &trace->model_type);
    if (!status)
        status = read_digest(reader, file, "weights_sha256", trace->weights_sha256);
    if (!status)
        status = read_digest(reader, file, "config_sha256", trace->config_sha256);
    if (!status)
        status = trace_read_arith(reader, file, "", &trace->arith, &trace->weights_dtype, &declared);
    if (!status)
        status = trace_read_sampling(reader, file, &trace->sampling);
    return status;
}

static const H5L_info_t hard_link = {.type = H5L_TYPE_HARD};

static enum status read_root_dataset(struct trace_reader *reader, hid_t file, const char *name,
                                     enum status (*read)(struct trace_reader *, hid_t))
{
    char field[16];
    hid_t dataset;
    snprintf(field, sizeof field, "/%s", name);
    enum status status = open_child(reader, file, name, &hard_link, field, H5I_DATASET, &dataset);
    if (status)
        return status;
    status = read(reader, dataset);
    H5Oclose(dataset);
    return status;
}

static enum status read_root_group(struct trace_reader *reader, hid_t file, const char *name, H5L_iterate_t visitor)
{
    char field[16];
    hid_t group;
    snprintf(field, sizeof field, "/%s", name);
    enum status status = open_child(reader, file, name, &hard_link, field, H5I_GROUP, &group);
    if (status)
        return status;
    struct group_visit visit = {.reader = reader, .layer = LAYER_NONE};
    status = visit_group(&visit, group, field, visitor);
    H5Oclose(group);
    return status;
}

static enum status read_file(struct trace_reader *reader, hid_t file)
{
    enum status status = read_root_attributes(reader, file);
    if (status)
        return status;
    struct group_visit root = {.reader = reader};
    status = visit_group(&root, file, "/", visit_root);
    if (status)
        return status;
    if (!root.has_tokens || !root.has_phase)
        return trace_bad(reader, root.has_tokens ? "/phase" : "/tokens", "is missing");
    status = read_root_dataset(reader, file, "tokens", trace_read_tokens);
    if (!status)
        status = read_root_dataset(reader, file, "phase", trace_read_phase);
    if (!status && root.has_layers)
        status = read_root_group(reader, file, "layers", visit_layer);
    if (!status && root.has_stages)
        status = read_root_group(reader, file, "stages", visit_stage);
    return status;
}

/* Opens a regular file that HDF5 recognises. */
static enum status open_file(struct trace_reader *reader, hid_t *file)
{
    char reason[200];
    struct stat info;
    if (stat(reader->path, &info) != 0)
        return trace_bad(reader, NULL, "cannot be opened: %s", strerror(errno));
    if (!S_ISREG(info.st_mode))
        return trace_bad(reader, NULL, "is no regular file, expected a trace (HDF5)");
    reader->file_size = (uint64_t)info.st_size;
    hid_t access = H5Pcreate(H5P_FILE_ACCESS);
    bool ready = access >= 0 && H5Pset_fapl_sec2(access) >= 0 && H5Pset_fclose_degree(access, H5F_CLOSE_STRONG) >= 0;
    *file = ready ? H5Fopen(reader->path, H5F_ACC_RDONLY, access) : -1;
    enum status status = STATUS_OK;
    if (*file < 0)
        status = trace_bad(reader, "HDF5", "cannot be opened as a trace: %s", hdf5_reason(reason));
    if (access >= 0)
        H5Pclose(access);
    return status;
}

enum status trace_read_file(struct trace *trace, const char *path, struct error *err)
{
    hid_t file = -1;
    *trace = (struct trace){.arith = arith_float32, .weights_dtype = DTYPE_F32};
    struct trace_reader reader = {.path = path, .trace = trace, .err = err};
    hdf5_start();
    enum status status = open_file(&reader, &file);
    if (status)
        return status;
    trace->path = xstrdup(path);
    status = read_file(&reader, file);
    H5Fclose(file);
    if (status)
        trace_free(trace);
    return status;
}
