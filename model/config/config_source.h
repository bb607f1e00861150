/* Shared by the readers of config.json: looking up keys and refusing values. */
#ifndef LOCKSTEP_MODEL_CONFIG_CONFIG_SOURCE_H
#define LOCKSTEP_MODEL_CONFIG_CONFIG_SOURCE_H

#include <jansson.h>

#include "model/files/loader.h"

#define CONFIG_MAX_COUNT 0x7fffffff

/* The JSON of a config. A text model's config can be nested under text_config: keys are looked up there, then at the
 * top. */
struct config_source {
    struct model *model;
    const char *file;
    json_t *root, *text;
    struct error *err;
};

/* Return a member of an object, or a field of the config. NULL: it is absent or null. */
json_t *config_member(const json_t *object, const char *key);
json_t *config_field(const struct config_source *in, const char *key);

/* Sets the error of a key whose value is wrong, or which is missing (value NULL). Returns STATUS_BAD_INPUT. */
enum status config_refuse(const struct config_source *in, const char *key, const json_t *value, const char *expected);

/* Reads a finite number greater than 0. name: of the key, for messages. */
enum status config_positive(const struct config_source *in, const char *name, const json_t *value, float *number);

/* Reads config->rope_global and rope_local (config_rope.c). */
enum status config_read_ropes(const struct config_source *in);

#endif
