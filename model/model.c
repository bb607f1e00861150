#include "model/model.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "model/files/loader.h"
#include "model/plan.h"

static int compare_names(const void *a, const void *b)
{
    return strcmp(((const struct tensor *)a)->name, ((const struct tensor *)b)->name);
}

static int compare_name(const void *name, const void *tensor)
{
    return strcmp(name, ((const struct tensor *)tensor)->name);
}

static enum status sort_tensors(struct model *model, struct error *err)
{
    struct tensor *tensors = model->files->tensors;
    if (model->n_tensors) {
        qsort(tensors, model->n_tensors, sizeof(*tensors), compare_names);
    }
    for (uint32_t i = 1; i < model->n_tensors; i++) {
        const struct tensor *a = &tensors[i - 1], *b = &tensors[i];
        if (strcmp(a->name, b->name) == 0) {
            return error_set(err, STATUS_BAD_INPUT, b->file, b->stored_name, (int64_t)b->offset,
                             "a second tensor of this name (the other: %s in %s), expected one", a->stored_name,
                             a->file);
        }
    }
    return STATUS_OK;
}

/* Building the plan finds tensors that are missing or have a wrong shape, and tensors that no step reads. */
static enum status check_plan(struct model *model, struct error *err)
{
    struct plan plan;
    enum status status = plan_build(&plan, model, err);
    if (status == STATUS_OK) {
        status = loader_check_unread(model, &plan, err);
        plan_free(&plan);
    }
    return status;
}

static const char *main_dtype(const struct model *model)
{
    uint64_t bytes[DTYPE_COUNT] = {0};
    uint32_t most = 0;
    for (uint32_t i = 0; i < model->n_tensors; i++) {
        bytes[model->tensors[i].dtype] += model->tensors[i].n_bytes;
    }
    for (uint32_t dtype = 1; dtype < DTYPE_COUNT; dtype++) {
        most = bytes[dtype] > bytes[most] ? dtype : most;
    }
    return dtype_info(most)->name;
}

static enum status load(struct model *model, struct error *err)
{
    struct model_files *files = model->files;
    struct stat info;
    if (stat(model->path, &info) != 0) {
        return error_set(err, STATUS_BAD_INPUT, model->path, NULL, ERROR_NO_OFFSET,
                         "cannot be opened (%s), expected a model folder or a .gguf file", strerror(errno));
    }
    if (S_ISDIR(info.st_mode)) {
        const char *manifest = arena_printf(&files->arena, "%s/manifest.json", model->path);
        return stat(manifest, &info) == 0 ? rdrr_load(model, err) : folder_load(model, err);
    }
    files->weights = arena_alloc(&files->arena, sizeof(*files->weights));
    TRY(mapping_open(&files->weights[0], model->path, err));
    files->n_weights = 1;
    return gguf_load(model, err);
}

enum status model_open(struct model *model, const char *path, struct error *err)
{
    memset(model, 0, sizeof(*model));
    model->files = xcalloc(1, sizeof(*model->files));
    model->path = arena_strndup(&model->files->arena, path, strlen(path));
    enum status status = load(model, err);
    if (status == STATUS_OK) {
        status = sort_tensors(model, err);
    }
    if (status == STATUS_OK) {
        status = loader_check_excluded(model, err);
    }
    if (status == STATUS_OK) {
        status = check_plan(model, err);
    }
    if (status == STATUS_OK) {
        model->weights_dtype = main_dtype(model);
    } else {
        model_close(model);
    }
    return status;
}

void model_close(struct model *model)
{
    struct model_files *files = model->files;
    if (files) {
        for (uint32_t i = 0; i < files->n_weights; i++) {
            mapping_close(&files->weights[i]);
        }
        mapping_close(&files->config);
        free(files->tensors);
        free(files->notes);
        arena_free(&files->arena);
        free(files);
    }
    memset(model, 0, sizeof(*model));
}

const struct tensor *model_tensor(const struct model *model, const char *name)
{
    if (model->n_tensors == 0) {
        return NULL;
    }
    return bsearch(name, model->tensors, model->n_tensors, sizeof(*model->tensors), compare_name);
}
