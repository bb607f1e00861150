/* Loads a folder as transformers writes it: config.json, *.safetensors, and an index if there are several of them. */
#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "model/files/loader.h"

#define SUFFIX ".safetensors"
#define INDEX "model.safetensors.index.json"

static bool has_suffix(const char *name)
{
    size_t length = strlen(name), suffix = strlen(SUFFIX);
    return length > suffix && strcmp(name + length - suffix, SUFFIX) == 0;
}

static int is_weights(const struct dirent *entry)
{
    return entry->d_name[0] != '.' && has_suffix(entry->d_name);
}

/* In byte order, not the locale's: the digest of the weights depends on it. */
static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static enum status map_weights(struct model *model, struct error *err)
{
    struct model_files *files = model->files;
    struct dirent **entries = NULL;
    int n = scandir(model->path, &entries, is_weights, by_name);
    if (n < 0) {
        return error_set(err, STATUS_BAD_INPUT, model->path, NULL, ERROR_NO_OFFSET, "cannot be listed (%s)",
                         strerror(errno));
    }
    enum status status = STATUS_OK;
    if (n == 0) {
        status = error_set(err, STATUS_BAD_INPUT, model->path, "*" SUFFIX, ERROR_NO_OFFSET,
                           "missing, expected at least one");
    }
    files->weights = arena_alloc(&files->arena, (size_t)n * sizeof(*files->weights));
    for (int i = 0; i < n; i++) {
        if (status == STATUS_OK) {
            const char *path = arena_printf(&files->arena, "%s/%s", model->path, entries[i]->d_name);
            status = mapping_open(&files->weights[files->n_weights], path, err);
            files->n_weights += status == STATUS_OK;
        }
        free(entries[i]);
    }
    free(entries);
    return status;
}

static const struct mapping *find_weights(const struct model_files *files, const char *name)
{
    for (uint32_t i = 0; i < files->n_weights; i++) {
        const char *slash = strrchr(files->weights[i].path, '/');
        if (strcmp(slash + 1, name) == 0) {
            return &files->weights[i];
        }
    }
    return NULL;
}

/* Reads the files that the index names, and compares the index with what they hold. */
static enum status read_indexed(struct model *model, const char *path, json_t *index, struct error *err)
{
    json_t *map = json_object_get(index, "weight_map");
    if (!json_is_object(map)) {
        return error_set(err, STATUS_BAD_INPUT, path, "weight_map", ERROR_NO_OFFSET, "missing, expected an object");
    }
    const char *tensor;
    json_t *value;
    json_object_foreach(map, tensor, value)
    {
        const char *name = json_string_value(value);
        if (!loader_plain_name(name) || !has_suffix(name)) {
            return error_set(err, STATUS_BAD_INPUT, path, tensor, ERROR_NO_OFFSET,
                             "%s%s, expected the name of a *" SUFFIX " file in this folder",
                             name ? "file " : "no file name", name ? name : "");
        }
        if (!find_weights(model->files, name)) {
            return error_set(err, STATUS_BAD_INPUT, path, tensor, ERROR_NO_OFFSET, "%s is missing in the folder", name);
        }
    }
    for (uint32_t i = 0; i < model->files->n_weights; i++) {
        const struct mapping *file = &model->files->weights[i];
        const char *base = strrchr(file->path, '/') + 1;
        uint32_t first = model->n_tensors, expected = 0;
        json_object_foreach(map, tensor, value) expected += strcmp(json_string_value(value), base) == 0;
        if (expected == 0) {
            loader_note(model, "%s: not in " INDEX ", and not read", file->path);
            continue;
        }
        TRY(safetensors_read(model, file, err));
        for (uint32_t j = first; j < model->n_tensors; j++) {
            const char *where = json_string_value(json_object_get(map, model->tensors[j].name));
            if (!where || strcmp(where, base) != 0) {
                return error_set(err, STATUS_BAD_INPUT, path, model->tensors[j].name, ERROR_NO_OFFSET,
                                 "%s, but %s holds it", where ? where : "missing", base);
            }
        }
        if (model->n_tensors - first != expected) {
            return error_set(err, STATUS_BAD_INPUT, path, "weight_map", ERROR_NO_OFFSET,
                             "%u tensors in %s, but that file holds %u", expected, base, model->n_tensors - first);
        }
    }
    return STATUS_OK;
}

static enum status read_weights(struct model *model, struct error *err)
{
    struct model_files *files = model->files;
    const char *path = arena_printf(&files->arena, "%s/" INDEX, model->path);
    struct stat info;
    if (stat(path, &info) != 0) {
        enum status status = STATUS_OK;
        for (uint32_t i = 0; status == STATUS_OK && i < files->n_weights; i++) {
            status = safetensors_read(model, &files->weights[i], err);
        }
        return status;
    }
    json_t *index;
    enum status status = loader_json(path, &index, err);
    if (status == STATUS_OK) {
        status = read_indexed(model, path, index, err);
    }
    json_decref(index);
    return status;
}

/* A model with a vision tower puts a prefix on its text model's tensors; two spellings are in use. */
static void strip_prefixes(struct model *model)
{
    static const struct {
        const char *prefix, *becomes;
    } prefixes[] = {{"model.language_model.", "model."}, {"language_model.", ""}};
    for (uint32_t i = 0; i < model->n_tensors; i++) {
        struct tensor *tensor = &model->files->tensors[i];
        for (size_t p = 0; p < sizeof(prefixes) / sizeof(prefixes[0]); p++) {
            size_t length = strlen(prefixes[p].prefix);
            if (strncmp(tensor->name, prefixes[p].prefix, length) == 0) {
                tensor->name = arena_printf(&model->files->arena, "%s%s", prefixes[p].becomes, tensor->name + length);
            }
        }
    }
}

enum status folder_load(struct model *model, struct error *err)
{
    struct model_files *files = model->files;
    const char *config_path = arena_printf(&files->arena, "%s/config.json", model->path);
    TRY(mapping_open(&files->config, config_path, err));
    TRY(config_from_json(model, err));
    TRY(map_weights(model, err));
    TRY(read_weights(model, err));
    strip_prefixes(model);
    /* Before loader_join_experts, to name a packed router instead of refusing its shape. */
    TRY(loader_check_excluded(model, err));
    TRY(loader_join_experts(model, err));
    const char *tokenizer = arena_printf(&files->arena, "%s/tokenizer.json", model->path);
    struct stat info;
    if (stat(tokenizer, &info) == 0 && S_ISREG(info.st_mode)) {
        model->tokenizer_json = tokenizer;
    }
    return config_finish(model, config_path, err);
}
