#include "model/weights.h"

#include <stdio.h>
#include <string.h>

#include "model/loader.h"

bool weights_has_bias(const struct config *config, const char *name)
{
    return strncmp(name, "mlp.", 4) == 0 ? config->mlp_bias : config->attention_bias;
}

/* The flag that makes the plan ask for a tensor, if there is one. */
static const char *demanded_by(const struct config *config, const char *name)
{
    if (strcmp(name, "lm_head.weight") == 0)
        return " (tie_word_embeddings is false)";
    if (!strstr(name, ".bias"))
        return "";
    (void)config;
    return strncmp(name, "mlp.", 4) == 0 ? " (mlp_bias is true)" : " (attention_bias is true)";
}

static enum status find(const struct model *model, const char *prefix, const char *name, const char *expected,
                        const struct tensor **out, struct error *err)
{
    char full[256];
    snprintf(full, sizeof(full), "%s%s", prefix, name);
    *out = model_tensor(model, full);
    if (*out)
        return STATUS_OK;
    return error_set(err, STATUS_BAD_INPUT, model->path, full, ERROR_NO_OFFSET,
                     "no such tensor, expected one of shape %s%s", expected, demanded_by(&model->config, name));
}

static enum status refuse_shape(const struct tensor *tensor, const char *expected, struct error *err)
{
    char found[96];
    return error_set(err, STATUS_BAD_INPUT, tensor->file, tensor->stored_name, (int64_t)tensor->offset,
                     "shape %s, expected %s", shape_text(tensor, found), expected);
}

enum status weights_matrix(const struct model *model, const char *prefix, const char *name, struct extent rows,
                           struct extent columns, const struct tensor **out, struct error *err)
{
    char expected[192];
    snprintf(expected, sizeof(expected), "[%u, %u] (%s, %s)", rows.size, columns.size, rows.fields, columns.fields);
    enum status status = find(model, prefix, name, expected, out, err);
    if (status == STATUS_OK &&
        ((*out)->n_dims != 2 || (*out)->shape[0] != rows.size || (*out)->shape[1] != columns.size))
        status = refuse_shape(*out, expected, err);
    return status;
}

enum status weights_vector(const struct model *model, const char *prefix, const char *name, struct extent size,
                           const struct tensor **out, struct error *err)
{
    char expected[192];
    snprintf(expected, sizeof(expected), "[%u] (%s)", size.size, size.fields);
    enum status status = find(model, prefix, name, expected, out, err);
    if (status == STATUS_OK && ((*out)->n_dims != 1 || (*out)->shape[0] != size.size))
        return refuse_shape(*out, expected, err);
    if (status == STATUS_OK && dtype_info((*out)->dtype)->block_elems > 1)
        return error_set(err, STATUS_BAD_INPUT, (*out)->file, (*out)->stored_name, (int64_t)(*out)->offset,
                         "%s, expected F32, F16 or BF16 in a vector", dtype_info((*out)->dtype)->name);
    return status;
}
