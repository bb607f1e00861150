#include <math.h>
#include <stdio.h>
#include <string.h>

#include "model/files/loader.h"

#define MAX_WIDTH 0x7fffffffu

static int32_t known_token(struct model *model, const char *file, const char *what, int32_t id)
{
    if (id < 0 || (uint32_t)id < model->config.vocab) {
        return id;
    }
    loader_note(model, "%s: the %s token %d is outside the vocabulary and is not used", file, what, id);
    return -1;
}

static void check_tokens(struct model *model, const char *file)
{
    struct config *config = &model->config;
    config->bos_id = known_token(model, file, "bos", config->bos_id);
    config->pad_id = known_token(model, file, "pad", config->pad_id);
    int32_t *ids = arena_alloc(&model->files->arena, config->n_eos_ids * sizeof(*ids));
    uint32_t n = 0;
    for (uint32_t i = 0; i < config->n_eos_ids; i++) {
        ids[n] = known_token(model, file, "eos", config->eos_ids[i]);
        n += ids[n] >= 0;
    }
    config->eos_ids = ids;
    config->n_eos_ids = n;
}

enum status config_finish(struct model *model, const char *file, struct error *err)
{
    struct config *config = &model->config;
    if (config->n_heads % config->n_kv_heads != 0) {
        return error_set(err, STATUS_BAD_INPUT, file, "num_key_value_heads", ERROR_NO_OFFSET,
                         "%u, expected a divisor of num_attention_heads (%u)", config->n_kv_heads, config->n_heads);
    }
    if (config->head_dim % 2 != 0) {
        return error_set(err, STATUS_BAD_INPUT, file, "head_dim", ERROR_NO_OFFSET,
                         "%u, expected an even number, for rope rotates pairs", config->head_dim);
    }
    if ((uint64_t)config->n_heads * config->head_dim > MAX_WIDTH) {
        return error_set(err, STATUS_BAD_INPUT, file, "num_attention_heads", ERROR_NO_OFFSET,
                         "%u heads of %u, expected a product of at most %u", config->n_heads, config->head_dim,
                         MAX_WIDTH);
    }
    uint64_t widest = config->ffn > config->hidden / 2 ? 2 * (uint64_t)config->ffn : config->hidden;
    if (config->top_k * widest > MAX_WIDTH) {
        return error_set(err, STATUS_BAD_INPUT, file, "num_experts_per_tok", ERROR_NO_OFFSET,
                         "%u experts of %llu values, expected a product of at most %u", config->top_k,
                         (unsigned long long)widest, MAX_WIDTH);
    }
    /* transformers casts the scale to the dtype of the weights in a run, whatever dtype the file has. A trace declares
     * that dtype, and the reference rounds the scale to it (Gemma3TextScaledWordEmbedding). */
    config->embed_scale = config->family->scales_embedding ? (float)sqrt((double)config->hidden) : 1;
    check_tokens(model, file);
    return STATUS_OK;
}
