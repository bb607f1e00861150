#include "model/weights.h"

#include <stdio.h>
#include <string.h>

#include "model/files/loader.h"

bool weights_has_bias(const struct config *config, const char *name)
{
    return strncmp(name, "mlp.", 4) == 0 ? config->mlp_bias : config->attention_bias;
}

/* The config's flag that demands a tensor, or NULL. */
static const char *demanded_by(const char *name)
{
    if (strcmp(name, "lm_head.weight") == 0) {
        return " (tie_word_embeddings is false)";
    }
    if (!strstr(name, ".bias")) {
        return "";
    }
    return strncmp(name, "mlp.", 4) == 0 ? " (mlp_bias is true)" : " (attention_bias is true)";
}

static const struct tensor *find(const struct model *model, const struct weight_request *request, const char *expected,
                                 struct error *err)
{
    char full[256];
    snprintf(full, sizeof(full), "%s%s", request->prefix, request->name);
    const struct tensor *tensor = model_tensor(model, full);
    if (!tensor) {
        error_set(err, STATUS_BAD_INPUT, model->path, full, ERROR_NO_OFFSET,
                  "no such tensor, expected one of shape %s%s", expected, demanded_by(request->name));
    }
    return tensor;
}

static enum status refuse_shape(const struct tensor *tensor, const char *expected, struct error *err)
{
    char found[96];
    return error_set(err, STATUS_BAD_INPUT, tensor->file, tensor->stored_name, (int64_t)tensor->offset,
                     "shape %s, expected %s", shape_text(tensor, found), expected);
}

enum status weights_matrix(const struct model *model, const struct weight_request *request, const struct tensor **out,
                           struct error *err)
{
    char expected[192];
    snprintf(expected, sizeof(expected), "[%u, %u] (%s, %s)", request->rows.size, request->columns.size,
             request->rows.fields, request->columns.fields);
    const struct tensor *tensor = *out = find(model, request, expected, err);
    if (!tensor) {
        return STATUS_BAD_INPUT;
    }
    if (tensor->n_dims != 2 || tensor->shape[0] != request->rows.size || tensor->shape[1] != request->columns.size) {
        return refuse_shape(tensor, expected, err);
    }
    return STATUS_OK;
}

enum status weights_experts(const struct model *model, const struct weight_request *request, const struct tensor **out,
                            struct error *err)
{
    char expected[192];
    uint32_t n_experts = model->config.n_experts;
    snprintf(expected, sizeof(expected), "[%u, %u, %u] (num_local_experts, %s, %s)", n_experts, request->rows.size,
             request->columns.size, request->rows.fields, request->columns.fields);
    const struct tensor *tensor = *out = find(model, request, expected, err);
    if (!tensor) {
        return STATUS_BAD_INPUT;
    }
    bool fits = tensor->n_dims == 3 && tensor->shape[0] == n_experts && tensor->shape[1] == request->rows.size &&
                tensor->shape[2] == request->columns.size;
    return fits ? STATUS_OK : refuse_shape(tensor, expected, err);
}

enum status weights_plain(const struct tensor *tensor, struct error *err)
{
    if (dtype_info(tensor->dtype)->block_elems == 1) {
        return STATUS_OK;
    }
    return error_set(err, STATUS_BAD_INPUT, tensor->file, tensor->stored_name, (int64_t)tensor->offset,
                     "%s, expected F32, F16 or BF16 in a vector", dtype_info(tensor->dtype)->name);
}

enum status weights_vector(const struct model *model, const struct weight_request *request, const struct tensor **out,
                           struct error *err)
{
    char expected[192];
    snprintf(expected, sizeof(expected), "[%u] (%s)", request->rows.size, request->rows.fields);
    const struct tensor *tensor = *out = find(model, request, expected, err);
    if (!tensor) {
        return STATUS_BAD_INPUT;
    }
    if (tensor->n_dims != 1 || tensor->shape[0] != request->rows.size) {
        return refuse_shape(tensor, expected, err);
    }
    return weights_plain(tensor, err);
}
