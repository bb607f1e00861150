/* Reads config.json into struct config. The meaning of each key, and its value if it is absent, follow transformers'
 * configuration classes (configuration_llama.py, configuration_gemma3.py, modeling_rope_utils.py): version 5
 * (rope_parameters) and earlier ones (rope_theta, rope_scaling). What we cannot compute is refused by name. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/config/config_source.h"

#define MAX_LAYERS 4096
#define MAX_EXPERTS 4096

json_t *config_member(const json_t *object, const char *key)
{
    json_t *value = json_object_get(object, key);
    return json_is_null(value) ? NULL : value;
}

json_t *config_field(const struct config_source *in, const char *key)
{
    json_t *value = config_member(in->text, key);
    return value ? value : config_member(in->root, key);
}

enum status config_refuse(const struct config_source *in, const char *key, const json_t *value, const char *expected)
{
    if (!value) {
        return error_set(in->err, STATUS_BAD_INPUT, in->file, key, ERROR_NO_OFFSET, "missing, expected %s", expected);
    }
    char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
    enum status status = error_set(in->err, STATUS_BAD_INPUT, in->file, key, ERROR_NO_OFFSET, "%.80s, expected %s",
                                   text ? text : "?", expected);
    free(text);
    return status;
}

static enum status read_count(const struct config_source *in, const char *key, json_int_t most, uint32_t *count)
{
    json_t *value = config_field(in, key);
    if (!json_is_integer(value) || json_integer_value(value) < 1 || json_integer_value(value) > most) {
        char expected[64];
        snprintf(expected, sizeof(expected), "an integer from 1 to %lld", (long long)most);
        return config_refuse(in, key, value, expected);
    }
    *count = (uint32_t)json_integer_value(value);
    return STATUS_OK;
}

static enum status read_count_or(const struct config_source *in, const char *key, uint32_t otherwise, uint32_t *count)
{
    *count = otherwise;
    return config_field(in, key) ? read_count(in, key, CONFIG_MAX_COUNT, count) : STATUS_OK;
}

enum status config_positive(const struct config_source *in, const char *name, const json_t *value, float *number)
{
    float found = (float)json_number_value(value); /* 0 if it is no number */
    if (!(found > 0) || isinf(found)) {
        return config_refuse(in, name, value, "a finite number greater than 0");
    }
    *number = found;
    return STATUS_OK;
}

static enum status read_bool_or(const struct config_source *in, const char *key, bool otherwise, bool *flag)
{
    json_t *value = config_field(in, key);
    if (value && !json_is_boolean(value)) {
        return config_refuse(in, key, value, "true or false");
    }
    *flag = value ? json_is_true(value) : otherwise;
    return STATUS_OK;
}

static enum status read_sizes(const struct config_source *in)
{
    struct config *config = &in->model->config;
    const struct {
        const char *key;
        json_int_t most;
        uint32_t *count;
    } sizes[] = {
        {"num_hidden_layers", MAX_LAYERS, &config->n_layers},
        {"hidden_size", CONFIG_MAX_COUNT, &config->hidden},
        {"num_attention_heads", CONFIG_MAX_COUNT, &config->n_heads},
        {"intermediate_size", CONFIG_MAX_COUNT, &config->ffn},
        {"vocab_size", CONFIG_MAX_COUNT, &config->vocab},
    };
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        TRY(read_count(in, sizes[i].key, sizes[i].most, sizes[i].count));
    }
    TRY(read_count_or(in, "num_key_value_heads", config->n_heads, &config->n_kv_heads));
    TRY(read_count_or(in, "head_dim", 0, &config->head_dim));
    TRY(read_count_or(in, "max_position_embeddings", 0, &config->max_positions));
    if (config->head_dim) {
        return STATUS_OK;
    }
    if (config->family->has_local_layers || config->hidden % config->n_heads != 0) {
        return error_set(in->err, STATUS_BAD_INPUT, in->file, "head_dim", ERROR_NO_OFFSET,
                         "missing, and hidden_size %u over %u heads does not say it", config->hidden, config->n_heads);
    }
    config->head_dim = config->hidden / config->n_heads;
    return STATUS_OK;
}

/* A family with softcaps must give them: null means none, but for an absent key we would have to guess. */
static enum status read_softcap(const struct config_source *in, const char *key, float *cap)
{
    json_t *value = config_field(in, key);
    bool absent = !json_object_get(in->text, key) && !json_object_get(in->root, key);
    if (absent && in->model->config.family->has_softcaps) {
        return config_refuse(in, key, NULL, "a number, or null for none");
    }
    return value ? config_positive(in, key, value, cap) : STATUS_OK;
}

static enum status read_numbers(const struct config_source *in)
{
    struct config *config = &in->model->config;
    TRY(config_positive(in, "rms_norm_eps", config_field(in, "rms_norm_eps"), &config->norm_eps));
    float scalar = (float)config->head_dim;
    if (config->family->reads_query_scalar) {
        TRY(config_positive(in, "query_pre_attn_scalar", config_field(in, "query_pre_attn_scalar"), &scalar));
    }
    config->query_scale = (float)(1 / sqrt((double)scalar));
    TRY(read_softcap(in, "attn_logit_softcapping", &config->attn_softcap));
    TRY(read_softcap(in, "final_logit_softcapping", &config->final_softcap));
    if (config->attn_softcap > 0 && !config->family->has_softcaps) {
        loader_note(in->model, "%s: attn_logit_softcapping is applied; transformers' %s ignores it", in->file,
                    config->family->name);
    }
    return STATUS_OK;
}

static enum status read_flags(const struct config_source *in)
{
    struct config *config = &in->model->config;
    bool bidirectional = false;
    TRY(read_bool_or(in, "attention_bias", false, &config->attention_bias));
    TRY(read_bool_or(in, "mlp_bias", config->family->has_experts, &config->mlp_bias));
    TRY(read_bool_or(in, "tie_word_embeddings", config->family->ties_by_default, &config->tied_embeddings));
    TRY(read_bool_or(in, "use_bidirectional_attention", false, &bidirectional));
    if (bidirectional) {
        return config_refuse(in, "use_bidirectional_attention", json_true(), "false: attention is causal here");
    }
    return STATUS_OK;
}

static enum status read_activation(const struct config_source *in)
{
    const char *key = in->model->config.family->activation_key;
    json_t *value = config_field(in, key);
    if (!value) {
        key = "hidden_act"; /* key of Gemma's first configs */
        value = config_field(in, key);
    }
    const char *name = json_string_value(value);
    if (!name || !activation_by_name(name, &in->model->config.activation)) {
        return config_refuse(in, value ? key : in->model->config.family->activation_key, value,
                             "silu or gelu_pytorch_tanh");
    }
    return STATUS_OK;
}

/* Local layers come from layer_types if it is present; otherwise every pattern-th layer is global. */
static enum status read_layers(const struct config_source *in)
{
    struct config *config = &in->model->config;
    bool *is_local = arena_alloc(&in->model->files->arena, config->n_layers);
    bool any_local = false;
    config->layer_is_local = is_local;
    json_t *types = config_field(in, "layer_types");
    if (types && json_array_size(types) != config->n_layers) {
        return config_refuse(in, "layer_types", types, "an array of num_hidden_layers names");
    }
    uint32_t pattern = 0;
    if (!types && config->family->has_local_layers) {
        const char *key =
            config_field(in, "sliding_window_pattern") ? "sliding_window_pattern" : "_sliding_window_pattern";
        if (!config_field(in, key)) {
            loader_note(in->model,
                        "%s: neither layer_types nor sliding_window_pattern is there; every %u. layer is "
                        "global, as transformers assumes",
                        in->file, config->family->global_every);
        }
        TRY(read_count_or(in, key, config->family->global_every, &pattern));
    }
    for (uint32_t i = 0; i < config->n_layers; i++) {
        const char *type = json_string_value(json_array_get(types, i));
        is_local[i] = types ? type && strcmp(type, "sliding_attention") == 0 : pattern && (i + 1) % pattern != 0;
        any_local = any_local || is_local[i];
        bool known = !types || (type && (is_local[i] || strcmp(type, "full_attention") == 0));
        if (!known || (is_local[i] && !config->family->has_local_layers)) {
            return config_refuse(in, "layer_types", json_array_get(types, i),
                                 config->family->has_local_layers ? "full_attention or sliding_attention"
                                                                  : "full_attention");
        }
    }
    return any_local ? read_count(in, "sliding_window", CONFIG_MAX_COUNT, &config->sliding_window) : STATUS_OK;
}

/* Reads a token id. Null, absent and negative mean none. */
static enum status read_token(const struct config_source *in, const char *key, const json_t *value, int32_t *id)
{
    *id = -1;
    if (!value) {
        return STATUS_OK;
    }
    if (!json_is_integer(value) || json_integer_value(value) > CONFIG_MAX_COUNT) {
        return config_refuse(in, key, value, "a token id");
    }
    if (json_integer_value(value) >= 0) {
        *id = (int32_t)json_integer_value(value);
    }
    return STATUS_OK;
}

static enum status read_tokens(const struct config_source *in)
{
    struct config *config = &in->model->config;
    json_t *eos = config_field(in, "eos_token_id");
    size_t n = json_is_array(eos) ? json_array_size(eos) : eos ? 1 : 0;
    int32_t *ids = arena_alloc(&in->model->files->arena, n * sizeof(*ids));
    config->eos_ids = ids;
    for (size_t i = 0; i < n; i++) {
        int32_t id;
        TRY(read_token(in, "eos_token_id", json_is_array(eos) ? json_array_get(eos, i) : eos, &id));
        if (id >= 0) {
            ids[config->n_eos_ids++] = id;
        }
    }
    TRY(read_token(in, "bos_token_id", config_field(in, "bos_token_id"), &config->bos_id));
    return read_token(in, "pad_token_id", config_field(in, "pad_token_id"), &config->pad_id);
}

/* Accepts experts packed as MXFP4 and refuses every other quantisation of a folder's weights. */
static enum status read_quantisation(const struct config_source *in)
{
    json_t *quantised = config_field(in, "quantization_config");
    if (!quantised) {
        return STATUS_OK;
    }
    if (!in->model->config.family->has_experts) {
        return config_refuse(in, "quantization_config", quantised, "none: weights as they were stored");
    }
    json_t *method = config_member(quantised, "quant_method");
    const char *name = json_string_value(method);
    return name && strcmp(name, "mxfp4") == 0 ? STATUS_OK
                                              : config_refuse(in, "quantization_config.quant_method", method, "mxfp4");
}

static enum status read_experts(const struct config_source *in)
{
    struct config *config = &in->model->config;
    if (!config->family->has_experts) {
        return STATUS_OK;
    }
    const char *n_key = config_field(in, "num_local_experts") ? "num_local_experts" : "num_experts";
    const char *k_key = config_field(in, "num_experts_per_tok") ? "num_experts_per_tok" : "experts_per_token";
    TRY(read_count(in, n_key, MAX_EXPERTS, &config->n_experts));
    TRY(read_count(in, k_key, config->n_experts, &config->top_k));
    json_t *limit = config_field(in, "swiglu_limit"), *alpha = config_field(in, "swiglu_alpha");
    TRY(config_positive(in, "swiglu_limit", limit, &config->swiglu_limit));
    config->swiglu_alpha = config->family->swiglu_alpha; /* a constant in earlier versions of transformers */
    if (alpha) {
        TRY(config_positive(in, "swiglu_alpha", alpha, &config->swiglu_alpha));
    }
    if (config->activation != ACTIVATION_SILU) {
        return config_refuse(in, "hidden_act", config_field(in, "hidden_act"), "silu: the experts' own activation");
    }
    return STATUS_OK;
}

static enum status read_family(const struct config_source *in)
{
    struct config *config = &in->model->config;
    json_t *value = config_field(in, "model_type");
    const char *name = json_string_value(value);
    config->family = name ? family_by_model_type(name) : NULL;
    if (!config->family) {
        char known[512];
        family_list_types(known, sizeof(known));
        return config_refuse(in, "model_type", value, known);
    }
    config->model_type = arena_strndup(&in->model->files->arena, name, strlen(name));
    config->norm_offset = config->family->norm_offset;
    return read_quantisation(in);
}

enum status config_from_object(struct model *model, const char *file, json_t *root, struct error *err)
{
    struct config_source in = {model, file, root, config_member(root, "text_config"), err};
    if (!json_is_object(in.text)) {
        in.text = root;
    }
    static enum status (*const parts[])(const struct config_source *) = {
        read_family,  read_sizes,        read_numbers, read_flags,  read_activation,
        read_experts, config_read_ropes, read_layers,  read_tokens,
    };
    if (!json_is_object(root)) {
        return error_set(err, STATUS_BAD_INPUT, file, "JSON", 0, "not an object, expected one");
    }
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        TRY(parts[i](&in));
    }
    return STATUS_OK;
}

enum status config_from_json(struct model *model, struct error *err)
{
    const struct mapping *file = &model->files->config;
    json_error_t at;
    json_t *root = json_loadb((const char *)file->bytes, file->size, JSON_REJECT_DUPLICATES, &at);
    if (!root) {
        return error_set(err, STATUS_BAD_INPUT, file->path, "JSON", at.position, "%s, expected a JSON object", at.text);
    }
    enum status status = config_from_object(model, file->path, root, err);
    json_decref(root);
    return status;
}
