/* What the readers of config.json share: where a key is looked up, and how a wrong value is refused. */
#ifndef LOCKSTEP_MODEL_CONFIG_CONFIG_SOURCE_H
#define LOCKSTEP_MODEL_CONFIG_CONFIG_SOURCE_H

#include <jansson.h>

#include "model/files/loader.h"

#define CONFIG_MAX_COUNT 0x7fffffff

/* A text model's config can be nested under text_config; a key is looked up there, then at the top. */
struct config_source {
    struct model *model;
    const char *file;
    json_t *root, *text;
    struct error *err;
};

/* A member of an object, or a field of the config; NULL where it is absent or null. */
json_t *config_member(const json_t *object, const char *key);
json_t *config_field(const struct config_source *in, const char *key);

/* The error of a key whose value is wrong, or that is missing (value NULL). */
enum status config_refuse(const struct config_source *in, const char *key, const json_t *value, const char *expected);

/* A number > 0 that a float holds. name: the key as messages show it. */
enum status config_positive(const struct config_source *in, const char *name, const json_t *value, float *number);

/* config_rope.c: config->rope_global and rope_local. */
enum status config_read_ropes(const struct config_source *in);

#endif
