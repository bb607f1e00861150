/* Handles tensors that no step reads. Most are harmless and become a note. A norm, a bias or a sink inside a layer is
 * refused: ignoring it would compute another model (postmortem 2026-01-19 gemma3-postfeedforwardnorm). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/files/loader.h"
#include "model/plan.h"

static bool ends_with(const char *text, const char *suffix)
{
    size_t length = strlen(text), n = strlen(suffix);
    return length >= n && strcmp(text + length - n, suffix) == 0;
}

/* Whether the tensor belongs to a layer that runs. */
static bool in_running_layer(const struct model *model, const char *name)
{
    static const char *const prefixes[] = {"model.layers.", "blk."};
    for (int i = 0; i < 2; i++) {
        size_t n = strlen(prefixes[i]);
        if (strncmp(name, prefixes[i], n) == 0) {
            return strtoull(name + n, NULL, 10) < model->config.n_layers;
        }
    }
    return false;
}

static enum status refuse(const struct model *model, const struct tensor *tensor, struct error *err)
{
    const char *name = tensor->name;
    const char *flag = "model_type";
    char said[128];
    snprintf(said, sizeof(said), "%s", model->config.model_type);
    if (ends_with(name, ".bias")) {
        bool in_ffn = strstr(name, ".mlp.") || strstr(name, ".ffn_");
        bool wanted = in_ffn ? model->config.mlp_bias : model->config.attention_bias;
        flag = in_ffn ? "mlp_bias" : "attention_bias";
        snprintf(said, sizeof(said), "%s", wanted ? "true" : "false");
    }
    return error_set(err, STATUS_BAD_INPUT, tensor->file, tensor->stored_name, (int64_t)tensor->offset,
                     "a tensor that no step reads, for %s is %s; expected it absent or wanted", flag, said);
}

/* Writes one note for all of them: the first names, and the count. */
static void note(struct model *model, const bool *read, uint32_t n_unread)
{
    char names[256] = "";
    uint32_t shown = 0;
    for (uint32_t i = 0; i < model->n_tensors && shown < 3; i++) {
        size_t length = strlen(names);
        if (!read[i]) {
            snprintf(names + length, sizeof(names) - length, "%s%.70s", shown++ ? ", " : "",
                     model->tensors[i].stored_name);
        }
    }
    loader_note(model, "%u tensor%s that no step reads: %s%s", n_unread, n_unread == 1 ? "" : "s", names,
                n_unread > shown ? ", …" : "");
}

enum status loader_check_unread(struct model *model, const struct plan *plan, struct error *err)
{
    bool *read = xcalloc(model->n_tensors, sizeof(*read));
    for (uint32_t i = 0; i < plan->n_steps; i++) {
        for (int w = 0; w < OP_MAX_WEIGHTS; w++) {
            if (plan->steps[i].weight[w]) {
                read[plan->steps[i].weight[w] - model->tensors] = true;
            }
        }
    }
    uint32_t n_unread = 0;
    enum status status = STATUS_OK;
    for (uint32_t i = 0; i < model->n_tensors && status == STATUS_OK; i++) {
        const char *name = model->tensors[i].name;
        n_unread += !read[i];
        bool matters = ends_with(name, "norm.weight") || ends_with(name, ".bias") || ends_with(name, "_bias") ||
                       ends_with(name, "sinks");
        if (!read[i] && matters && in_running_layer(model, name)) {
            status = refuse(model, &model->tensors[i], err);
        }
    }
    if (status == STATUS_OK && n_unread) {
        note(model, read, n_unread);
    }
    free(read);
    return status;
}
