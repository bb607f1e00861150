/* Brings the experts of safetensors into one form: [experts, out, in].
 *
 * MXFP4 is two tensors, NAME_blocks [experts, out, in/32, 16] and NAME_scales [experts, out, in/32]; they become one
 * tensor NAME whose bytes stay in place (tensor.h, scales). Unquantised experts are transposed, [experts, in, out];
 * their bytes are moved. Sources: transformers, integrations/mxfp4.py and models/gpt_oss. */
#include <stdio.h>
#include <string.h>

#include "model/files/loader.h"

#define BLOCK_ELEMS 32
#define DTYPE_TAKEN (DTYPE_U8 + 1) /* scales that became part of a joined tensor */

static struct tensor *find(struct model *model, const char *name)
{
    for (uint32_t i = 0; i < model->n_tensors; i++) {
        if (strcmp(model->tensors[i].name, name) == 0) {
            return &model->files->tensors[i];
        }
    }
    return NULL;
}

static const char *suffix_at(const char *name, const char *suffix)
{
    size_t length = strlen(name), n = strlen(suffix);
    return length > n && strcmp(name + length - n, suffix) == 0 ? name + length - n : NULL;
}

static enum status refuse(const struct tensor *tensor, const char *found, const char *expected, struct error *err)
{
    return error_set(err, STATUS_BAD_INPUT, tensor->file, tensor->stored_name, (int64_t)tensor->offset,
                     "%s, expected %s", found, expected);
}

/* Turns the tensor of blocks into the joined one. Nothing is copied: the experts of a 20B model are 13 GB. */
static enum status join(struct model *model, struct tensor *blocks, const struct tensor *scales, struct error *err)
{
    char text[96];
    bool fits = blocks->n_dims == 4 && scales->n_dims == 3 && blocks->shape[3] == BLOCK_ELEMS / 2;
    for (uint32_t i = 0; fits && i < 3; i++) {
        fits = blocks->shape[i] == scales->shape[i];
    }
    if (!fits) {
        return refuse(blocks, shape_text(blocks, text),
                      "[experts, out, in/32, 16], as the scales [experts, out, in/32]", err);
    }
    uint64_t n = blocks->n_bytes / 16;
    const char *end = suffix_at(blocks->name, "_blocks");
    blocks->name = arena_strndup(&model->files->arena, blocks->name, (size_t)(end - blocks->name));
    blocks->dtype = DTYPE_MXFP4;
    blocks->n_dims = 3;
    blocks->shape[2] *= BLOCK_ELEMS;
    blocks->scales = scales->bytes;
    blocks->n_bytes = n * dtype_info(DTYPE_MXFP4)->block_bytes;
    return STATUS_OK;
}

/* Transposes [experts, in, out] to [experts, out, in]. Elements are whole bytes. */
static void transpose(struct model *model, struct tensor *tensor)
{
    uint64_t size = dtype_info(tensor->dtype)->block_bytes, n_in = tensor->shape[1], n_out = tensor->shape[2];
    uint8_t *bytes = arena_alloc(&model->files->arena, tensor->n_bytes);
    for (uint64_t expert = 0; expert < tensor->shape[0]; expert++) {
        const uint8_t *from = tensor->bytes + expert * n_in * n_out * size;
        uint8_t *to = bytes + expert * n_in * n_out * size;
        for (uint64_t o = 0; o < n_out; o++) {
            for (uint64_t i = 0; i < n_in; i++) {
                memcpy(to + (o * n_in + i) * size, from + (i * n_out + o) * size, size);
            }
        }
    }
    tensor->shape[1] = n_out;
    tensor->shape[2] = n_in;
    tensor->bytes = bytes;
}

static bool is_unpacked(const struct tensor *tensor)
{
    return (suffix_at(tensor->name, ".experts.gate_up_proj") || suffix_at(tensor->name, ".experts.down_proj")) &&
           tensor->n_dims == 3 && dtype_info(tensor->dtype)->block_elems == 1;
}

enum status loader_join_experts(struct model *model, struct error *err)
{
    struct tensor *tensors = model->files->tensors;
    for (uint32_t i = 0; i < model->n_tensors; i++) {
        char name[300];
        const char *end = suffix_at(tensors[i].name, "_blocks");
        if (is_unpacked(&tensors[i])) {
            transpose(model, &tensors[i]);
        }
        if (tensors[i].dtype != DTYPE_U8 || !end) {
            continue;
        }
        snprintf(name, sizeof(name), "%.*s_scales", (int)(end - tensors[i].name), tensors[i].name);
        struct tensor *scales = find(model, name);
        if (!scales || scales->dtype != DTYPE_U8) {
            return refuse(&tensors[i], "blocks without their scales", "a tensor of U8 whose name ends in _scales", err);
        }
        TRY(join(model, &tensors[i], scales, err));
        scales->dtype = DTYPE_TAKEN;
    }
    uint32_t n = 0;
    for (uint32_t i = 0; i < model->n_tensors; i++) {
        if (tensors[i].dtype == DTYPE_U8) {
            return refuse(&tensors[i], "U8", "F32, F16 or BF16, or the blocks and scales of MXFP4", err);
        }
        if (tensors[i].dtype != DTYPE_TAKEN) {
            tensors[n++] = tensors[i];
        }
    }
    model->n_tensors = n;
    return STATUS_OK;
}
