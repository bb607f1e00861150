/* Reads a GGUF's metadata into struct config. A GGUF does not hold values that its architecture implies (the
 * activation, which layers are local). Sources of these: llama.cpp, src/llama-model.cpp; ggml/docs/gguf.md. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "model/files/gguf.h"

#define MAX_LAYERS 4096
#define MAX_COUNT 0x7fffffff
#define MAX_EXPERTS 4096
#define GATING_SOFTMAX_OF_CHOSEN 3 /* gguf-py, ExpertGatingFuncType.SOFTMAX_WEIGHT */

/* Refuses a file that holds a part of a model; the other tensors are in files beside it. */
static enum status refuse_part(const struct gguf *gguf)
{
    const struct gguf_value *value = gguf_find(gguf, "split.count");
    bool whole = !value || (!value->is_array && gguf_is_integer(value) && gguf_integer_at(value, 0) <= 1);
    return whole ? STATUS_OK : gguf_refuse(gguf, "split.count", value, "1: parts joined by llama-gguf-split --merge");
}

static enum status read_family(const struct gguf *gguf)
{
    struct config *config = &gguf->model->config;
    const char *architecture = NULL;
    TRY(gguf_string(gguf, "general.architecture", true, &architecture));
    config->family = family_by_gguf(architecture);
    if (!config->family) {
        char known[256];
        family_list_architectures(known, sizeof(known));
        return gguf_refuse(gguf, "general.architecture", gguf_find(gguf, "general.architecture"), known);
    }
    config->model_type = config->family->model_types[0];
    config->norm_offset = config->family->gguf_folds_norm_offset ? 0 : config->family->norm_offset;
    if (!activation_by_name(config->family->activation, &config->activation)) {
        ASSERT(!"a family names an unknown activation");
    }
    return STATUS_OK;
}

static enum status read_sizes(const struct gguf *gguf)
{
    struct config *config = &gguf->model->config;
    const struct {
        const char *key;
        uint64_t most;
        uint32_t *count;
        bool required;
    } sizes[] = {
        {"block_count", MAX_LAYERS, &config->n_layers, true},
        {"embedding_length", MAX_COUNT, &config->hidden, true},
        {"feed_forward_length", MAX_COUNT, &config->ffn, !config->family->has_experts},
        {"attention.head_count", MAX_COUNT, &config->n_heads, true},
        {"attention.head_count_kv", MAX_COUNT, &config->n_kv_heads, false},
        {"attention.key_length", MAX_COUNT, &config->head_dim, false},
        {"context_length", MAX_COUNT, &config->max_positions, false},
        {"vocab_size", MAX_COUNT, &config->vocab, false},
    };
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        TRY(gguf_count(gguf, gguf_arch_key(gguf, sizes[i].key), sizes[i].required, sizes[i].most, sizes[i].count));
    }
    if (config->n_kv_heads == 0) {
        config->n_kv_heads = config->n_heads;
    }
    if (config->head_dim == 0) { /* gguf.md: n_embd / n_head if the key is missing */
        if (config->hidden % config->n_heads != 0) {
            return gguf_refuse(gguf, gguf_arch_key(gguf, "attention.key_length"), NULL,
                               "it, for the heads do not divide embedding_length");
        }
        config->head_dim = config->hidden / config->n_heads;
    }
    return STATUS_OK;
}

/* The architecture implies the experts' activation; no key holds it. Source: llama.cpp, models/openai-moe.cpp; ggml.h,
 * ggml_swiglu_oai. */
static enum status read_experts(const struct gguf *gguf)
{
    struct config *config = &gguf->model->config;
    if (!config->family->has_experts) {
        return STATUS_OK;
    }
    config->swiglu_limit = config->family->swiglu_limit;
    config->swiglu_alpha = config->family->swiglu_alpha;
    TRY(gguf_count(gguf, gguf_arch_key(gguf, "expert_count"), true, MAX_EXPERTS, &config->n_experts));
    TRY(gguf_count(gguf, gguf_arch_key(gguf, "expert_used_count"), true, config->n_experts, &config->top_k));
    return gguf_count(gguf, gguf_arch_key(gguf, "expert_feed_forward_length"), true, MAX_COUNT, &config->ffn);
}

/* Refuses keys that change the result, unless they have the value that we compute with. */
static enum status refuse_unknown(const struct gguf *gguf)
{
    const struct config *config = &gguf->model->config;
    const struct {
        const char *key;
        uint32_t expected;
    } fixed[] = {
        {"attention.value_length", config->head_dim},
        {"rope.dimension_count", config->head_dim},
        {"expert_count", config->n_experts},
        {"expert_gating_func", GATING_SOFTMAX_OF_CHOSEN},
        {"expert_shared_count", 0},
        {"expert_group_count", 0},
        {"leading_dense_block_count", 0},
    };
    for (size_t i = 0; i < sizeof(fixed) / sizeof(fixed[0]); i++) {
        const char *key = gguf_arch_key(gguf, fixed[i].key);
        const struct gguf_value *value = gguf_find(gguf, key);
        bool equal = value && !value->is_array && gguf_is_integer(value) &&
                     gguf_integer_at(value, 0) == (int64_t)fixed[i].expected;
        char expected[64];
        snprintf(expected, sizeof(expected), "%u", fixed[i].expected);
        if (value && !equal) {
            return gguf_refuse(gguf, key, value, expected);
        }
    }
    return STATUS_OK;
}

/* Local layers: a number means that every pattern-th layer is global; an array holds a flag for each layer. */
static enum status read_layers(const struct gguf *gguf)
{
    struct config *config = &gguf->model->config;
    bool *is_local = arena_alloc(&gguf->model->files->arena, config->n_layers);
    config->layer_is_local = is_local;
    const char *window = gguf_arch_key(gguf, "attention.sliding_window");
    if (!config->family->has_local_layers) {
        const struct gguf_value *value = gguf_find(gguf, window);
        return value ? gguf_refuse(gguf, window, value, "no sliding window in this architecture") : STATUS_OK;
    }
    const char *key = gguf_arch_key(gguf, "attention.sliding_window_pattern");
    const struct gguf_value *pattern = gguf_find(gguf, key);
    if (pattern && pattern->is_array && (pattern->n != config->n_layers || pattern->type != GGUF_BOOL)) {
        return gguf_refuse(gguf, key, pattern, "block_count bools, or a number of layers");
    }
    uint32_t period = config->family->global_every;
    if (pattern && !pattern->is_array) {
        TRY(gguf_count(gguf, key, true, MAX_COUNT, &period));
    }
    for (uint32_t i = 0; i < config->n_layers; i++) {
        is_local[i] = pattern && pattern->is_array ? gguf_integer_at(pattern, i) != 0 : (i + 1) % period != 0;
    }
    return gguf_count(gguf, window, true, MAX_COUNT, &config->sliding_window);
}

static enum status read_numbers(const struct gguf *gguf)
{
    struct config *config = &gguf->model->config;
    TRY(gguf_float(gguf, gguf_arch_key(gguf, "attention.layer_norm_rms_epsilon"), true, &config->norm_eps));
    TRY(gguf_float(gguf, gguf_arch_key(gguf, "attn_logit_softcapping"), config->family->has_softcaps,
                   &config->attn_softcap));
    TRY(gguf_float(gguf, gguf_arch_key(gguf, "final_logit_softcapping"), config->family->has_softcaps,
                   &config->final_softcap));
    /* A GGUF does not hold query_pre_attn_scalar. llama.cpp uses head_dim, and hidden / heads for the 27B models. */
    uint32_t scalar = config->head_dim;
    if (config->family->reads_query_scalar && config->n_layers == config->family->gguf_odd_layers) {
        scalar = config->hidden / config->n_heads;
    }
    config->query_scale = (float)(1 / sqrt((double)scalar));
    return STATUS_OK;
}

/* Reads a number for each token. The numbers are copied, because the file need not align them. *out stays NULL if the
 * key is missing. */
static enum status token_numbers(const struct gguf *gguf, const char *key, enum gguf_type type, const void **out)
{
    const struct gguf_tokenizer *tokenizer = &gguf->model->tokenizer;
    const struct gguf_value *values = gguf_find(gguf, key);
    if (!values) {
        return STATUS_OK;
    }
    if (!values->is_array || values->type != type || values->n != tokenizer->n_tokens) {
        return gguf_refuse(gguf, key, values,
                           type == GGUF_F32 ? "an f32 for each of tokenizer.ggml.tokens"
                                            : "an i32 for each of tokenizer.ggml.tokens");
    }
    void *copy = arena_alloc(&gguf->model->files->arena, values->n * 4);
    if (values->n) {
        memcpy(copy, values->bytes, values->n * 4);
    }
    *out = copy;
    return STATUS_OK;
}

static enum status read_tokenizer(const struct gguf *gguf)
{
    struct gguf_tokenizer *tokenizer = &gguf->model->tokenizer;
    const void *types = NULL, *scores = NULL;
    TRY(gguf_string(gguf, "tokenizer.ggml.model", false, &tokenizer->model));
    if (tokenizer->model && (strcmp(tokenizer->model, "none") == 0 || strcmp(tokenizer->model, "no_vocab") == 0)) {
        tokenizer->model = NULL; /* llama.cpp's word for no tokenizer */
    }
    /* SentencePiece's defaults; llama.cpp, llama-vocab.cpp, LLAMA_VOCAB_TYPE_SPM. */
    tokenizer->add_bos = tokenizer->add_space_prefix = tokenizer->model && strcmp(tokenizer->model, "llama") == 0;
    TRY(gguf_string(gguf, "tokenizer.ggml.pre", false, &tokenizer->pre));
    TRY(gguf_string(gguf, "tokenizer.chat_template", false, &tokenizer->chat_template));
    TRY(gguf_strings(gguf, "tokenizer.ggml.tokens", &tokenizer->tokens, &tokenizer->n_tokens));
    TRY(gguf_strings(gguf, "tokenizer.ggml.merges", &tokenizer->merges, &tokenizer->n_merges));
    TRY(gguf_bool(gguf, "tokenizer.ggml.add_bos_token", &tokenizer->add_bos));
    TRY(gguf_bool(gguf, "tokenizer.ggml.add_space_prefix", &tokenizer->add_space_prefix));
    TRY(token_numbers(gguf, "tokenizer.ggml.token_type", GGUF_I32, &types));
    TRY(token_numbers(gguf, "tokenizer.ggml.scores", GGUF_F32, &scores));
    tokenizer->token_types = types;
    tokenizer->scores = scores;
    return STATUS_OK;
}

static enum status read_tokens(const struct gguf *gguf)
{
    struct config *config = &gguf->model->config;
    struct arena *arena = &gguf->model->files->arena;
    int32_t eos[3] = {-1, -1, -1};
    static const char *const eos_keys[] = {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id",
                                           "tokenizer.ggml.eom_token_id"};
    config->bos_id = config->pad_id = -1;
    TRY(gguf_token(gguf, "tokenizer.ggml.bos_token_id", &config->bos_id));
    TRY(gguf_token(gguf, "tokenizer.ggml.padding_token_id", &config->pad_id));
    int32_t *ids = arena_alloc(arena, sizeof(eos));
    config->eos_ids = ids;
    for (size_t i = 0; i < 3; i++) {
        TRY(gguf_token(gguf, eos_keys[i], &eos[i]));
        if (eos[i] >= 0) {
            ids[config->n_eos_ids++] = eos[i];
        }
    }
    return STATUS_OK;
}

/* Notes keys of the architecture that nothing reads: they may mean something that we do not compute. */
static void note_unused(const struct gguf *gguf)
{
    const char *architecture = gguf->model->config.family->gguf_architecture;
    size_t length = strlen(architecture);
    for (uint64_t i = 0; i < gguf->n_values; i++) {
        const struct gguf_value *value = &gguf->values[i];
        if (!value->used && strncmp(value->key, architecture, length) == 0 && value->key[length] == '.') {
            loader_note(gguf->model, "%s: %s is not known here and has no effect", gguf->file->path, value->key);
        }
    }
}

enum status config_from_gguf(const struct gguf *gguf)
{
    static enum status (*const parts[])(const struct gguf *) = {
        refuse_part,       read_family, read_sizes,   read_experts,   refuse_unknown,
        config_gguf_ropes, read_layers, read_numbers, read_tokenizer, read_tokens,
    };
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        TRY(parts[i](gguf));
    }
    note_unused(gguf);
    return STATUS_OK;
}
