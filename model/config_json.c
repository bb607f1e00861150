/* config.json to struct config. The meaning of a key, and its value where it is absent, are those of transformers'
 * configuration classes (configuration_llama.py, configuration_gemma3.py, modeling_rope_utils.py), both of version 5
 * (rope_parameters) and of those before it (rope_theta, rope_scaling). What we cannot compute is refused by name. */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/loader.h"

#define MAX_LAYERS 4096
#define MAX_COUNT 0x7fffffff

/* A text model's config can be nested under text_config; a key is looked up there, then at the top. */
struct source {
    struct model *model;
    const char *file;
    json_t *root, *text;
    struct error *err;
};

/* A null is the same as an absent key: NULL. */
static json_t *member(const json_t *object, const char *key)
{
    json_t *value = json_object_get(object, key);
    return json_is_null(value) ? NULL : value;
}

static json_t *field(const struct source *in, const char *key)
{
    json_t *value = member(in->text, key);
    return value ? value : member(in->root, key);
}

/* The error of a key whose value is wrong, or that is missing (value NULL). */
static enum status refuse(const struct source *in, const char *key, const json_t *value, const char *expected)
{
    if (!value)
        return error_set(in->err, STATUS_BAD_INPUT, in->file, key, ERROR_NO_OFFSET, "missing, expected %s", expected);
    char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
    enum status status = error_set(in->err, STATUS_BAD_INPUT, in->file, key, ERROR_NO_OFFSET, "%.80s, expected %s",
                                   text ? text : "?", expected);
    free(text);
    return status;
}

static enum status read_count(const struct source *in, const char *key, json_int_t most, uint32_t *count)
{
    json_t *value = field(in, key);
    if (!json_is_integer(value) || json_integer_value(value) < 1 || json_integer_value(value) > most) {
        char expected[64];
        snprintf(expected, sizeof(expected), "an integer from 1 to %lld", (long long)most);
        return refuse(in, key, value, expected);
    }
    *count = (uint32_t)json_integer_value(value);
    return STATUS_OK;
}

static enum status read_count_or(const struct source *in, const char *key, uint32_t otherwise, uint32_t *count)
{
    *count = otherwise;
    return field(in, key) ? read_count(in, key, MAX_COUNT, count) : STATUS_OK;
}

/* A number > 0 that a float holds. name: the key as messages show it. */
static enum status read_positive(const struct source *in, const char *name, const json_t *value, float *number)
{
    float found = (float)json_number_value(value); /* 0 for what is no number */
    if (!(found > 0) || isinf(found))
        return refuse(in, name, value, "a finite number greater than 0");
    *number = found;
    return STATUS_OK;
}

static enum status read_bool_or(const struct source *in, const char *key, bool otherwise, bool *flag)
{
    json_t *value = field(in, key);
    if (value && !json_is_boolean(value))
        return refuse(in, key, value, "true or false");
    *flag = value ? json_is_true(value) : otherwise;
    return STATUS_OK;
}

static enum status read_sizes(const struct source *in)
{
    struct config *config = &in->model->config;
    const struct {
        const char *key;
        json_int_t most;
        uint32_t *count;
    } sizes[] = {
        {"num_hidden_layers", MAX_LAYERS, &config->n_layers},
        {"hidden_size", MAX_COUNT, &config->hidden},
        {"num_attention_heads", MAX_COUNT, &config->n_heads},
        {"intermediate_size", MAX_COUNT, &config->ffn},
        {"vocab_size", MAX_COUNT, &config->vocab},
    };
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        enum status status = read_count(in, sizes[i].key, sizes[i].most, sizes[i].count);
        if (status != STATUS_OK)
            return status;
    }
    enum status status = read_count_or(in, "num_key_value_heads", config->n_heads, &config->n_kv_heads);
    if (status == STATUS_OK)
        status = read_count_or(in, "head_dim", 0, &config->head_dim);
    if (status == STATUS_OK)
        status = read_count_or(in, "max_position_embeddings", 0, &config->max_positions);
    if (status != STATUS_OK || config->head_dim)
        return status;
    if (config->family->has_local_layers || config->hidden % config->n_heads != 0)
        return error_set(in->err, STATUS_BAD_INPUT, in->file, "head_dim", ERROR_NO_OFFSET,
                         "missing, and hidden_size %u over %u heads does not say it", config->hidden, config->n_heads);
    config->head_dim = config->hidden / config->n_heads;
    return STATUS_OK;
}

static enum status read_numbers(const struct source *in)
{
    struct config *config = &in->model->config;
    enum status status = read_positive(in, "rms_norm_eps", field(in, "rms_norm_eps"), &config->norm_eps);
    if (status != STATUS_OK)
        return status;
    float scalar = (float)config->head_dim;
    if (config->family->reads_query_scalar)
        status = read_positive(in, "query_pre_attn_scalar", field(in, "query_pre_attn_scalar"), &scalar);
    config->query_scale = (float)(1 / sqrt((double)scalar));
    json_t *attn_cap = field(in, "attn_logit_softcapping"), *final_cap = field(in, "final_logit_softcapping");
    if (status == STATUS_OK && attn_cap)
        status = read_positive(in, "attn_logit_softcapping", attn_cap, &config->attn_softcap);
    if (status == STATUS_OK && final_cap)
        status = read_positive(in, "final_logit_softcapping", final_cap, &config->final_softcap);
    if (status == STATUS_OK && attn_cap)
        loader_note(in->model, "%s: attn_logit_softcapping is applied; transformers' %s ignores it", in->file,
                    config->family->name);
    return status;
}

static enum status read_flags(const struct source *in)
{
    struct config *config = &in->model->config;
    bool bidirectional = false;
    enum status status = read_bool_or(in, "attention_bias", false, &config->attention_bias);
    if (status == STATUS_OK)
        status = read_bool_or(in, "mlp_bias", false, &config->mlp_bias);
    if (status == STATUS_OK)
        status = read_bool_or(in, "tie_word_embeddings", config->family->ties_by_default, &config->tied_embeddings);
    if (status == STATUS_OK)
        status = read_bool_or(in, "use_bidirectional_attention", false, &bidirectional);
    if (status == STATUS_OK && bidirectional)
        status = refuse(in, "use_bidirectional_attention", json_true(), "false: attention is causal here");
    return status;
}

static enum status read_activation(const struct source *in)
{
    const char *key = in->model->config.family->activation_key;
    json_t *value = field(in, key);
    if (!value) {
        key = "hidden_act"; /* what Gemma's first configs called it */
        value = field(in, key);
    }
    const char *name = json_string_value(value);
    if (!name || !activation_by_name(name, &in->model->config.activation))
        return refuse(in, value ? key : in->model->config.family->activation_key, value, "silu or gelu_pytorch_tanh");
    return STATUS_OK;
}

/* One kind of layer's rope. object: rope_parameters, one of its members, or an older file's rope_scaling; may be NULL.
 * name: what object is called. theta_key: where the base stands if not in object. */
static enum status read_rope(const struct source *in, const json_t *object, const char *name, const char *theta_key,
                             float theta_otherwise, struct rope *rope)
{
    char key[96];
    const json_t *theta = member(object, "rope_theta");
    snprintf(key, sizeof(key), "%s%srope_theta", theta ? name : "", theta ? "." : "");
    if (!theta)
        theta = field(in, theta_key);
    rope->theta = theta_otherwise;
    if (!theta)
        loader_note(in->model, "%s: %s is missing; %g, as transformers assumes", in->file, theta_key,
                    (double)theta_otherwise);
    else {
        enum status status = read_positive(in, member(object, "rope_theta") ? key : theta_key, theta, &rope->theta);
        if (status != STATUS_OK)
            return status;
    }
    const json_t *part = member(object, "partial_rotary_factor");
    if (part && json_number_value(part) != 1)
        return refuse(in, "partial_rotary_factor", part, "1: whole heads are rotated");

    const json_t *type = member(object, "rope_type");
    if (!type)
        type = member(object, "type");
    snprintf(key, sizeof(key), "%s.rope_type", name);
    rope->type = ROPE_TYPE_DEFAULT;
    rope->factor = 1;
    if (!type && object && member(object, "factor"))
        return refuse(in, key, NULL, "default or linear, for a factor is given");
    if (!type || (json_is_string(type) && strcmp(json_string_value(type), "default") == 0))
        return STATUS_OK;
    if (!json_is_string(type) || strcmp(json_string_value(type), "linear") != 0)
        return refuse(in, key, type, "default or linear");
    rope->type = ROPE_TYPE_LINEAR;
    snprintf(key, sizeof(key), "%s.factor", name);
    return read_positive(in, key, member(object, "factor"), &rope->factor);
}

static enum status read_ropes(const struct source *in)
{
    struct config *config = &in->model->config;
    const struct family *family = config->family;
    json_t *parameters = field(in, "rope_parameters"), *scaling = field(in, "rope_scaling");
    if (parameters && !json_is_object(parameters))
        return refuse(in, "rope_parameters", parameters, "an object");
    if (scaling && (parameters || !json_is_object(scaling)))
        return refuse(in, "rope_scaling", scaling, parameters ? "no such key beside rope_parameters" : "an object");
    json_t *part = field(in, "partial_rotary_factor");
    if (part && json_number_value(part) != 1)
        return refuse(in, "partial_rotary_factor", part, "1: whole heads are rotated");

    const json_t *global = parameters ? parameters : scaling, *local = NULL;
    const char *global_name = parameters ? "rope_parameters" : "rope_scaling";
    if (parameters && family->has_local_layers) {
        global = member(parameters, "full_attention");
        local = member(parameters, "sliding_attention");
        global_name = "rope_parameters.full_attention";
        if (!json_is_object(global))
            return refuse(in, global_name, global, "an object");
        if (!json_is_object(local))
            return refuse(in, "rope_parameters.sliding_attention", local, "an object");
    }
    enum status status = read_rope(in, global, global_name, "rope_theta", family->rope_theta, &config->rope_global);
    if (status != STATUS_OK)
        return status;
    config->rope_local = config->rope_global;
    if (!family->has_local_layers)
        return STATUS_OK;
    return read_rope(in, local, "rope_parameters.sliding_attention", "rope_local_base_freq", family->rope_theta_local,
                     &config->rope_local);
}

/* layer_types if it is there; else every pattern-th layer is global. */
static enum status read_layers(const struct source *in)
{
    struct config *config = &in->model->config;
    bool *is_local = arena_alloc(&in->model->files->arena, config->n_layers);
    bool any_local = false;
    config->layer_is_local = is_local;
    json_t *types = field(in, "layer_types");
    if (types && json_array_size(types) != config->n_layers)
        return refuse(in, "layer_types", types, "an array of num_hidden_layers names");
    uint32_t pattern = 0;
    if (!types && config->family->has_local_layers) {
        const char *key = field(in, "sliding_window_pattern") ? "sliding_window_pattern" : "_sliding_window_pattern";
        if (!field(in, key))
            loader_note(in->model,
                        "%s: neither layer_types nor sliding_window_pattern is there; every 6th layer is "
                        "global, as transformers assumes",
                        in->file);
        enum status status = read_count_or(in, key, 6, &pattern);
        if (status != STATUS_OK)
            return status;
    }
    for (uint32_t i = 0; i < config->n_layers; i++) {
        const char *type = json_string_value(json_array_get(types, i));
        is_local[i] = types ? type && strcmp(type, "sliding_attention") == 0 : pattern && (i + 1) % pattern != 0;
        any_local = any_local || is_local[i];
        bool known = !types || (type && (is_local[i] || strcmp(type, "full_attention") == 0));
        if (!known || (is_local[i] && !config->family->has_local_layers))
            return refuse(in, "layer_types", json_array_get(types, i),
                          config->family->has_local_layers ? "full_attention or sliding_attention" : "full_attention");
    }
    return any_local ? read_count(in, "sliding_window", MAX_COUNT, &config->sliding_window) : STATUS_OK;
}

/* A token id: null, absent and negative mean none. */
static enum status read_token(const struct source *in, const char *key, const json_t *value, int32_t *id)
{
    *id = -1;
    if (!value)
        return STATUS_OK;
    if (!json_is_integer(value) || json_integer_value(value) > MAX_COUNT)
        return refuse(in, key, value, "a token id");
    if (json_integer_value(value) >= 0)
        *id = (int32_t)json_integer_value(value);
    return STATUS_OK;
}

static enum status read_tokens(const struct source *in)
{
    struct config *config = &in->model->config;
    json_t *eos = field(in, "eos_token_id");
    size_t n = json_is_array(eos) ? json_array_size(eos) : eos ? 1 : 0;
    int32_t *ids = arena_alloc(&in->model->files->arena, n * sizeof(*ids));
    config->eos_ids = ids;
    for (size_t i = 0; i < n; i++) {
        int32_t id;
        enum status status = read_token(in, "eos_token_id", json_is_array(eos) ? json_array_get(eos, i) : eos, &id);
        if (status != STATUS_OK)
            return status;
        if (id >= 0)
            ids[config->n_eos_ids++] = id;
    }
    enum status status = read_token(in, "bos_token_id", field(in, "bos_token_id"), &config->bos_id);
    if (status == STATUS_OK)
        status = read_token(in, "pad_token_id", field(in, "pad_token_id"), &config->pad_id);
    return status;
}

static enum status read_family(const struct source *in)
{
    struct config *config = &in->model->config;
    json_t *value = field(in, "model_type");
    const char *name = json_string_value(value);
    config->family = name ? family_by_model_type(name) : NULL;
    if (!config->family) {
        char known[512];
        family_list_types(known, sizeof(known));
        return refuse(in, "model_type", value, known);
    }
    config->model_type = arena_strndup(&in->model->files->arena, name, strlen(name));
    config->norm_offset = config->family->norm_offset;
    json_t *quantised = field(in, "quantization_config");
    return quantised ? refuse(in, "quantization_config", quantised, "none: weights as they were stored") : STATUS_OK;
}

enum status config_from_object(struct model *model, const char *file, json_t *root, struct error *err)
{
    struct source in = {model, file, root, member(root, "text_config"), err};
    if (!json_is_object(in.text))
        in.text = root;
    static enum status (*const parts[])(const struct source *) = {
        read_family, read_sizes, read_numbers, read_flags, read_activation, read_ropes, read_layers, read_tokens,
    };
    enum status status = STATUS_OK;
    if (!json_is_object(root))
        status = error_set(err, STATUS_BAD_INPUT, file, "JSON", 0, "not an object, expected one");
    for (size_t i = 0; status == STATUS_OK && i < sizeof(parts) / sizeof(parts[0]); i++)
        status = parts[i](&in);
    return status;
}

enum status config_from_json(struct model *model, struct error *err)
{
    const struct mapping *file = &model->files->config;
    json_error_t at;
    json_t *root = json_loadb((const char *)file->bytes, file->size, JSON_REJECT_DUPLICATES, &at);
    if (!root)
        return error_set(err, STATUS_BAD_INPUT, file->path, "JSON", at.position, "%s, expected a JSON object", at.text);
    enum status status = config_from_object(model, file->path, root, err);
    json_decref(root);
    return status;
}
