/* Reads rotary embedding from config.json: rope_parameters of transformers 5, or rope_theta and rope_scaling of earlier
 * versions. Source of every key and default: transformers, modeling_rope_utils.py. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "model/config/config_source.h"

/* Where the rope of one kind of layer is read from, and where it is stored. */
struct rope_source {
    const struct config_source *in;
    const json_t *object; /* rope_parameters, one of its members, or an older file's rope_scaling; NULL: neither */
    const char *name;     /* name of object, for messages */
    struct rope *rope;
};

static enum status refuse(const struct rope_source *s, const char *key, const char *expected)
{
    char name[96];
    snprintf(name, sizeof(name), "%s.%s", s->name, key);
    return config_refuse(s->in, name, config_member(s->object, key), expected);
}

/* Reads a number that is mandatory (otherwise = 0) or has a default (otherwise > 0). */
static enum status read_number(const struct rope_source *s, const char *key, float otherwise, float *number)
{
    char name[96];
    snprintf(name, sizeof(name), "%s.%s", s->name, key);
    const json_t *value = config_member(s->object, key);
    if (!value && otherwise > 0) {
        *number = otherwise;
        return STATUS_OK;
    }
    return config_positive(s->in, name, value, number);
}

static enum status read_linear(const struct rope_source *s)
{
    return read_number(s, "factor", 0, &s->rope->factor);
}

static enum status read_llama3(const struct rope_source *s)
{
    struct rope *rope = s->rope;
    TRY(read_number(s, "factor", 0, &rope->factor));
    TRY(read_number(s, "low_freq_factor", 0, &rope->low));
    TRY(read_number(s, "high_freq_factor", 0, &rope->high));
    TRY(read_number(s, "original_max_position_embeddings", 0, &rope->original));
    if (rope->low >= rope->high) {
        return refuse(s, "high_freq_factor", "more than low_freq_factor");
    }
    return STATUS_OK;
}

double rope_yarn_magnitude(double factor, double mscale)
{
    return factor <= 1 ? 1 : 0.1 * mscale * log(factor) + 1;
}

static enum status read_yarn(const struct rope_source *s)
{
    struct rope *rope = s->rope;
    float mscale = 0, all = 0;
    TRY(read_number(s, "factor", 0, &rope->factor));
    TRY(read_number(s, "original_max_position_embeddings", 0, &rope->original));
    TRY(read_number(s, "beta_slow", 1, &rope->low));
    TRY(read_number(s, "beta_fast", 32, &rope->high));
    if (rope->low >= rope->high) {
        return refuse(s, "beta_fast", "more than beta_slow");
    }
    const json_t *truncate = config_member(s->object, "truncate");
    rope->truncate = !truncate || json_is_true(truncate);
    if (truncate && !json_is_boolean(truncate)) {
        return refuse(s, "truncate", "true or false");
    }
    bool both = config_member(s->object, "mscale") && config_member(s->object, "mscale_all_dim");
    if (both) {
        TRY(read_number(s, "mscale", 0, &mscale));
    }
    if (both) {
        TRY(read_number(s, "mscale_all_dim", 0, &all));
    }
    float scale = (float)(both ? rope_yarn_magnitude(rope->factor, mscale) / rope_yarn_magnitude(rope->factor, all)
                               : rope_yarn_magnitude(rope->factor, 1));
    return read_number(s, "attention_factor", scale, &rope->scale);
}

static enum status read_default(const struct rope_source *s)
{
    (void)s; /* has no parameter besides theta */
    return STATUS_OK;
}

static enum status (*const readers[])(const struct rope_source *s) = {
    [ROPE_TYPE_DEFAULT] = read_default,
    [ROPE_TYPE_LINEAR] = read_linear,
    [ROPE_TYPE_LLAMA3] = read_llama3,
    [ROPE_TYPE_YARN] = read_yarn,
};

static enum status read_type(const struct rope_source *s)
{
    static const char expected[] = "default, linear, llama3 or yarn";
    const char *key = config_member(s->object, "rope_type") ? "rope_type" : "type";
    const json_t *type = config_member(s->object, key);
    if (!type && s->object && config_member(s->object, "factor")) {
        return refuse(s, "rope_type", "default, linear, llama3 or yarn, for a factor is given");
    }
    if (!type) {
        return STATUS_OK;
    }
    if (!json_is_string(type) || !rope_type_by_name(json_string_value(type), &s->rope->type)) {
        return refuse(s, key, expected);
    }
    return readers[s->rope->type](s);
}

/* theta_key: key of the base if the object does not have it. */
static enum status read_rope(const struct rope_source *s, const char *theta_key, float theta_otherwise)
{
    const struct config_source *in = s->in;
    const json_t *theta = config_member(s->object, "rope_theta");
    *s->rope = (struct rope){.type = ROPE_TYPE_DEFAULT, .theta = theta_otherwise, .factor = 1, .scale = 1};
    if (theta) {
        TRY(read_number(s, "rope_theta", 0, &s->rope->theta));
    } else if (config_field(in, theta_key)) {
        TRY(config_positive(in, theta_key, config_field(in, theta_key), &s->rope->theta));
    } else {
        loader_note(in->model, "%s: %s is missing; %g, as transformers assumes", in->file, theta_key,
                    (double)theta_otherwise);
    }
    const json_t *part = config_member(s->object, "partial_rotary_factor");
    if (part && json_number_value(part) != 1) {
        return config_refuse(in, "partial_rotary_factor", part, "1: whole heads are rotated");
    }
    return read_type(s);
}

/* Finds the members of rope_parameters, one for each type of layer. */
static enum status find_by_layer_type(const struct config_source *in, const json_t *parameters,
                                      struct rope_source *global, struct rope_source *local)
{
    *global = (struct rope_source){in, config_member(parameters, "full_attention"), "rope_parameters.full_attention",
                                   &in->model->config.rope_global};
    *local = (struct rope_source){in, config_member(parameters, "sliding_attention"),
                                  "rope_parameters.sliding_attention", &in->model->config.rope_local};
    if (!json_is_object(global->object)) {
        return config_refuse(in, global->name, global->object, "an object");
    }
    return json_is_object(local->object) ? STATUS_OK : config_refuse(in, local->name, local->object, "an object");
}

enum status config_read_ropes(const struct config_source *in)
{
    struct config *config = &in->model->config;
    const struct family *family = config->family;
    json_t *parameters = config_field(in, "rope_parameters"), *scaling = config_field(in, "rope_scaling");
    if (parameters && !json_is_object(parameters)) {
        return config_refuse(in, "rope_parameters", parameters, "an object");
    }
    if (scaling && (parameters || !json_is_object(scaling))) {
        return config_refuse(in, "rope_scaling", scaling,
                             parameters ? "no such key beside rope_parameters" : "an object");
    }
    json_t *part = config_field(in, "partial_rotary_factor");
    if (part && json_number_value(part) != 1) {
        return config_refuse(in, "partial_rotary_factor", part, "1: whole heads are rotated");
    }

    struct rope_source global = {in, parameters ? parameters : scaling, parameters ? "rope_parameters" : "rope_scaling",
                                 &config->rope_global};
    struct rope_source local = {in, NULL, "rope_parameters.sliding_attention", &config->rope_local};
    if (parameters && family->ropes_by_layer_type) {
        TRY(find_by_layer_type(in, parameters, &global, &local));
    }
    TRY(read_rope(&global, "rope_theta", family->rope_theta));
    config->rope_local = config->rope_global;
    if (family->ropes_by_layer_type) {
        TRY(read_rope(&local, "rope_local_base_freq", family->rope_theta_local));
    }
    return STATUS_OK;
}
