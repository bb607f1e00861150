/* Modules in quantization_config.modules_to_not_convert must not be quantised (fix: router quantised). Names are those
 * of transformers' modules, whole or their ends, with * for a layer's number. */
#include <fnmatch.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "model/files/loader.h"

/* Whether the tensor belongs to the module. Packed formats add _blocks and _scales to a weight's name. */
static bool in_module(const char *module, const char *tensor)
{
    static const char *const begins[] = {"", "*."}, *const ends[] = {"", ".*", "_blocks", "_scales"};
    char pattern[256];
    for (int i = 0; i < 2; i++) {
        for (int k = 0; k < 4; k++) {
            int n = snprintf(pattern, sizeof(pattern), "%s%s%s", begins[i], module, ends[k]);
            if (n < (int)sizeof(pattern) && fnmatch(pattern, tensor, 0) == 0) {
                return true;
            }
        }
    }
    return false;
}

static bool is_quantised(const struct tensor *tensor)
{
    const char *end = strrchr(tensor->stored_name, '_');
    return dtype_info(tensor->dtype)->block_elems > 1 ||
           (end && (strcmp(end, "_blocks") == 0 || strcmp(end, "_scales") == 0));
}

static enum status check_module(const struct model *model, const char *module, struct error *err)
{
    for (uint32_t i = 0; i < model->n_tensors; i++) {
        const struct tensor *tensor = &model->tensors[i];
        if (is_quantised(tensor) && in_module(module, tensor->name)) {
            return error_set(err, STATUS_BAD_INPUT, tensor->file, tensor->stored_name, (int64_t)tensor->offset,
                             "%s, expected plain floats, for quantization_config.modules_to_not_convert excludes %.80s",
                             dtype_info(tensor->dtype)->name, module);
        }
    }
    return STATUS_OK;
}

enum status loader_check_excluded(const struct model *model, struct error *err)
{
    const struct mapping *file = &model->files->config;
    json_t *root = file->size ? json_loadb((const char *)file->bytes, file->size, 0, NULL) : NULL;
    json_t *config = json_object_get(root, "quantization_config");
    if (!config) { /* RDRR: the source's config.json */
        config = json_object_get(json_object_get(root, "config"), "quantization_config");
    }
    enum status status = STATUS_OK;
    size_t i;
    json_t *module;
    json_array_foreach(json_object_get(config, "modules_to_not_convert"), i, module)
    {
        if (status == STATUS_OK && json_is_string(module)) {
            status = check_module(model, json_string_value(module), err);
        }
    }
    json_decref(root);
    return status;
}
