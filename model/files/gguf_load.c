/* Turns a parsed GGUF into a model in transformers' terms: names, config values that the tensors show, and the order of
 * the rows of q and k. */
#include <stdlib.h>
#include <string.h>

#include "model/files/gguf.h"

static const struct tensor_alias outside[] = {
    {"token_embd.weight", "model.embed_tokens.weight"},
    {"output_norm.weight", "model.norm.weight"},
    {"output.weight", "lm_head.weight"},
    {NULL, NULL},
};

/* Names inside a layer that all families share; for the others see family->gguf_names. */
static const struct tensor_alias in_all[] = {
    {"attn_norm.weight", "input_layernorm.weight"}, {"attn_q.weight", "self_attn.q_proj.weight"},
    {"attn_q.bias", "self_attn.q_proj.bias"},       {"attn_k.weight", "self_attn.k_proj.weight"},
    {"attn_k.bias", "self_attn.k_proj.bias"},       {"attn_v.weight", "self_attn.v_proj.weight"},
    {"attn_v.bias", "self_attn.v_proj.bias"},       {"attn_output.weight", "self_attn.o_proj.weight"},
    {"attn_output.bias", "self_attn.o_proj.bias"},  {NULL, NULL},
};

static const char *alias(const struct tensor_alias *aliases, const char *name)
{
    while (aliases->gguf && strcmp(aliases->gguf, name) != 0) {
        aliases++;
    }
    return aliases->name;
}

/* Returns transformers' name, or the stored one if there is none. */
static const char *translate(struct model *model, const char *stored)
{
    const char *name = alias(outside, stored);
    if (name) {
        return name;
    }
    char *end;
    if (strncmp(stored, "blk.", 4) != 0 || stored[4] < '0' || stored[4] > '9') {
        return stored;
    }
    unsigned long layer = strtoul(stored + 4, &end, 10);
    name = *end == '.' ? alias(in_all, end + 1) : NULL;
    if (*end == '.' && !name) {
        name = alias(model->config.family->gguf_names, end + 1);
    }
    return name ? arena_printf(&model->files->arena, "model.layers.%lu.%s", layer, name) : stored;
}

static struct tensor *find(struct model *model, const char *name)
{
    for (uint32_t i = 0; i < model->n_tensors; i++) {
        if (strcmp(model->tensors[i].name, name) == 0) {
            return &model->files->tensors[i];
        }
    }
    return NULL;
}

/* Reads flags that a GGUF expresses by holding a tensor or not. */
static enum status read_flags(struct model *model, const struct gguf *gguf)
{
    struct config *config = &model->config;
    const struct tensor *embedding = find(model, "model.embed_tokens.weight");
    config->tied_embeddings = !find(model, "lm_head.weight");
    config->attention_bias = find(model, "model.layers.0.self_attn.q_proj.bias");
    config->mlp_bias =
        find(model, "model.layers.0.mlp.gate_proj.bias") || find(model, "model.layers.0.mlp.router.bias");
    if (config->vocab == 0 && model->tokenizer.n_tokens <= INT32_MAX) {
        config->vocab = (uint32_t)model->tokenizer.n_tokens;
    }
    if (config->vocab == 0 && embedding && tensor_rows(embedding) <= INT32_MAX) {
        config->vocab = (uint32_t)tensor_rows(embedding);
    }
    if (config->vocab == 0) {
        return gguf_refuse(gguf, "token_embd.weight", NULL, "it, or a vocab_size");
    }
    if (model->tokenizer.n_tokens > config->vocab) {
        return gguf_refuse(gguf, "tokenizer.ggml.tokens", gguf_find(gguf, "tokenizer.ggml.tokens"),
                           "at most as many as the vocabulary's size");
    }
    return STATUS_OK;
}

/* A GGUF holds each head's rows in the order of adjacent pairs, [dim/2, 2]; transformers has halves, [2, dim/2].
 * Source: llama.cpp, convert_hf_to_gguf.py, LlamaModel.permute; transformers, LlamaTensorProcessor. */
static void restore_rows(struct model *model, struct tensor *tensor)
{
    uint64_t dim = model->config.head_dim, row_bytes = tensor_row_bytes(tensor), n_rows = tensor_rows(tensor);
    if (tensor->n_dims == 1) { /* in a bias each element is a row */
        n_rows = tensor->shape[0];
        row_bytes = tensor->n_bytes / n_rows;
    }
    if (n_rows % dim != 0) { /* building the plan refuses the shape */
        return;
    }
    uint8_t *rows = arena_alloc(&model->files->arena, tensor->n_bytes);
    for (uint64_t row = 0; row < n_rows; row++) {
        uint64_t head = row / dim, half = row % dim / (dim / 2), pair = row % (dim / 2);
        uint64_t stored = head * dim + 2 * pair + half;
        memcpy(rows + row * row_bytes, tensor->bytes + stored * row_bytes, row_bytes);
    }
    tensor->bytes = rows;
}

static bool is_permuted(const char *name)
{
    const char *part = strstr(name, ".self_attn.");
    return part && (strncmp(part, ".self_attn.q_proj.", 18) == 0 || strncmp(part, ".self_attn.k_proj.", 18) == 0);
}

/* Moves the table of divisors of rope's frequencies from the tensors to the config. */
static enum status take_rope_factors(struct model *model, const struct gguf *gguf)
{
    struct tensor *table = find(model, "rope_freqs.weight");
    if (!table) {
        return STATUS_OK;
    }
    TRY(config_gguf_factors(gguf, table));
    *table = model->files->tensors[--model->n_tensors];
    return STATUS_OK;
}

enum status gguf_load(struct model *model, struct error *err)
{
    struct gguf gguf;
    TRY(gguf_parse(&gguf, model, &model->files->weights[0], err));
    TRY(config_from_gguf(&gguf));
    for (uint32_t i = 0; i < model->n_tensors; i++) {
        model->files->tensors[i].name = translate(model, model->tensors[i].stored_name);
    }
    TRY(read_flags(model, &gguf));
    TRY(take_rope_factors(model, &gguf));
    TRY(gguf_join_experts(model, err));
    TRY(config_finish(model, gguf.file->path, err));
    for (uint32_t i = 0; i < model->n_tensors && model->config.family->gguf_permutes_qk; i++) {
        if (is_permuted(model->tensors[i].name)) {
            restore_rows(model, &model->files->tensors[i]);
        }
    }
    return STATUS_OK;
}
