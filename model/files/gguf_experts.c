/* Brings the experts of a GGUF into transformers' form by moving bytes. Gate and up are two tensors, [experts, ffn, in]
 * with biases [experts, ffn]; they become one, whose even rows are gate's and odd rows up's. Blocks of MXFP4 stay as
 * they are: a GGUF has the order that experts.c gives to safetensors'. Source: llama.cpp, convert_hf_to_gguf.py,
 * GptOssModel. */
#include <stdio.h>
#include <string.h>

#include "model/files/gguf.h"

static struct tensor *find(struct model *model, const char *name)
{
    for (uint32_t i = 0; i < model->n_tensors; i++) {
        if (strcmp(model->tensors[i].name, name) == 0) {
            return &model->files->tensors[i];
        }
    }
    return NULL;
}

static bool same_form(const struct tensor *a, const struct tensor *b)
{
    bool same = a->dtype == b->dtype && a->n_dims == b->n_dims;
    for (uint32_t i = 0; same && i < a->n_dims; i++) {
        same = a->shape[i] == b->shape[i];
    }
    return same;
}

/* Turns gate into the joined tensor. */
static enum status join(struct model *model, struct tensor *gate, const struct tensor *up, bool bias, struct error *err)
{
    char found[96];
    if (gate->n_dims != (bias ? 2 : 3)) {
        return error_set(err, STATUS_BAD_INPUT, gate->file, gate->stored_name, (int64_t)gate->offset,
                         "shape %s, expected %s", shape_text(gate, found),
                         bias ? "[experts, ffn]" : "[experts, ffn, in]");
    }
    if (!same_form(gate, up)) {
        return error_set(err, STATUS_BAD_INPUT, up->file, up->stored_name, (int64_t)up->offset,
                         "%s of shape %s, expected the dtype and the shape of %s", dtype_info(up->dtype)->name,
                         shape_text(up, found), gate->stored_name);
    }
    uint64_t unit = bias ? dtype_info(gate->dtype)->block_bytes : tensor_row_bytes(gate);
    uint8_t *bytes = arena_alloc(&model->files->arena, 2 * gate->n_bytes);
    for (uint64_t at = 0; at < gate->n_bytes; at += unit) {
        memcpy(bytes + 2 * at, gate->bytes + at, unit);
        memcpy(bytes + 2 * at + unit, up->bytes + at, unit);
    }
    gate->bytes = bytes;
    gate->n_bytes *= 2;
    gate->shape[1] *= 2;
    return STATUS_OK;
}

/* Removes a tensor; the last one takes its place. */
static void take(struct model *model, struct tensor *tensor)
{
    *tensor = model->files->tensors[--model->n_tensors];
}

/* Wrong bits in a router send a token to other experts, so converters do not quantise it. A GGUF has no
 * modules_to_not_convert to say so. */
static void note_quantised_router(struct model *model)
{
    for (uint32_t i = 0; i < model->n_tensors; i++) {
        const struct tensor *tensor = &model->tensors[i];
        if (strstr(tensor->name, ".mlp.router.weight") && dtype_info(tensor->dtype)->block_elems > 1) {
            loader_note(model, "%s is %s: a quantised router, which is kept in plain floats as a rule",
                        tensor->stored_name, dtype_info(tensor->dtype)->name);
            return;
        }
    }
}

enum status gguf_join_experts(struct model *model, struct error *err)
{
    static const char *const ends[] = {"proj", "proj_bias"};
    char name[128];
    for (uint32_t layer = 0; model->config.family->has_experts && layer < model->config.n_layers; layer++) {
        for (int i = 0; i < 2; i++) {
            snprintf(name, sizeof(name), "model.layers.%u.mlp.experts.gate_%s", layer, ends[i]);
            struct tensor *gate = find(model, name);
            snprintf(name, sizeof(name), "model.layers.%u.mlp.experts.up_%s", layer, ends[i]);
            struct tensor *up = find(model, name);
            if (!gate || !up) {
                continue; /* building the plan reports the missing one */
            }
            TRY(join(model, gate, up, i == 1, err));
            gate->name = arena_printf(&model->files->arena, "model.layers.%u.mlp.experts.gate_up_%s", layer, ends[i]);
            take(model, up);
        }
    }
    note_quantised_router(model);
    return STATUS_OK;
}
