/* A debug configuration, or probes alone, as JSON. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "workbench/probes/probe_config.h"

struct reading {
    const char *name; /* of the text, for messages */
    const struct plan *plan;
    struct error *err;
};

static enum status wrong(const struct reading *in, const char *field, const char *expected)
{
    return error_set(in->err, STATUS_BAD_INPUT, in->name, field, ERROR_NO_OFFSET, "%s", expected);
}

/* Every key of an object must be one of a NULL-terminated list. */
static enum status check_keys(const struct reading *in, json_t *object, const char *field, const char *const *known)
{
    const char *key;
    json_t *value;
    if (!json_is_object(object)) {
        return wrong(in, field, "expected an object");
    }
    json_object_foreach(object, key, value)
    {
        const char *const *at = known;
        while (*at != NULL && strcmp(*at, key) != 0) {
            at++;
        }
        if (*at == NULL) {
            return error_set(in->err, STATUS_BAD_INPUT, in->name, field, ERROR_NO_OFFSET,
                             "unknown key \"%s\", expected one of those that the documentation lists", key);
        }
    }
    return STATUS_OK;
}

/* An array of whole numbers in [low, high]; absent: none. */
static enum status read_numbers(const struct reading *in, json_t *array, const char *field, int64_t low, int64_t high,
                                int32_t **numbers, uint32_t *n)
{
    if (array == NULL) {
        return STATUS_OK;
    }
    if (!json_is_array(array)) {
        return wrong(in, field, "expected an array of numbers");
    }
    *numbers = xcalloc(json_array_size(array) + 1, sizeof(**numbers));
    for (size_t i = 0; i < json_array_size(array); i++) {
        json_t *item = json_array_get(array, i);
        json_int_t value = json_integer_value(item);
        if (!json_is_integer(item) || value < low || value > high) {
            return error_set(in->err, STATUS_BAD_INPUT, in->name, field, ERROR_NO_OFFSET,
                             "%lld, expected a number from %lld to %lld", (long long)value, (long long)low,
                             (long long)high);
        }
        (*numbers)[(*n)++] = (int32_t)value;
    }
    return STATUS_OK;
}

/* The first step that makes a stage, in any layer, or -1. */
static int32_t find_stage(const struct plan *plan, enum stage stage)
{
    for (uint32_t s = 0; s < plan->n_steps; s++) {
        if (plan->steps[s].stage == stage) {
            return (int32_t)s;
        }
    }
    return -1;
}

static enum status read_probe(const struct reading *in, json_t *object, struct debug_probe *probe)
{
    static const char *const keys[] = {"id", "stage", "layers", "tokens", "dims", NULL};
    enum status status = check_keys(in, object, "debug.probes", keys);
    if (status != STATUS_OK) {
        return status;
    }
    const char *name = json_string_value(json_object_get(object, "stage"));
    json_t *id = json_object_get(object, "id");
    if (name == NULL || (id != NULL && !json_is_string(id))) {
        return wrong(in, name == NULL ? "debug.probes.stage" : "debug.probes.id", "missing or no text, expected one");
    }
    probe->stage = stage_by_name(name);
    int32_t step = probe->stage == STAGE_COUNT ? -1 : find_stage(in->plan, probe->stage);
    if (step < 0) {
        return error_set(in->err, STATUS_BAD_INPUT, in->name, "debug.probes.stage", ERROR_NO_OFFSET,
                         "\"%s\", expected a stage of this model", name);
    }
    probe->id = xstrdup(id != NULL ? json_string_value(id) : name);
    json_t *layers = json_object_get(object, "layers");
    if (stage_in_layer(probe->stage)) {
        status = read_numbers(in, layers, "debug.probes.layers", 0, (int64_t)in->plan->n_layers - 1, &probe->layers,
                              &probe->n_layers);
    } else if (layers != NULL && json_array_size(layers) > 0) {
        status = wrong(in, "debug.probes.layers", "given for a stage outside the layers, expected none");
    }
    if (status == STATUS_OK) {
        status = read_numbers(in, json_object_get(object, "tokens"), "debug.probes.tokens", -INT32_MAX, INT32_MAX,
                              &probe->tokens, &probe->n_tokens);
    }
    if (status == STATUS_OK) {
        status = read_numbers(in, json_object_get(object, "dims"), "debug.probes.dims", 0,
                              (int64_t)in->plan->steps[step].width - 1, &probe->dims, &probe->n_dims);
    }
    return status;
}

static enum status read_probes(const struct reading *in, json_t *array, struct debug_config *config)
{
    if (array == NULL) {
        return STATUS_OK;
    }
    if (!json_is_array(array)) {
        return wrong(in, "debug.probes", "expected an array");
    }
    for (size_t i = 0; i < json_array_size(array); i++) {
        config->probes = xrealloc(config->probes, (config->n_probes + 1) * sizeof(*config->probes));
        struct debug_probe *probe = &config->probes[config->n_probes++];
        *probe = (struct debug_probe){0};
        enum status status = read_probe(in, json_array_get(array, i), probe);
        if (status != STATUS_OK) {
            return status; /* what was read of it is the configuration's to free */
        }
    }
    return STATUS_OK;
}

static enum status read_trace(const struct reading *in, json_t *object, struct debug_config *config)
{
    static const char *const keys[] = {"enabled", "categories", NULL};
    enum status status = check_keys(in, object, "debug.trace", keys);
    if (status != STATUS_OK) {
        return status;
    }
    json_t *enabled = json_object_get(object, "enabled"), *categories = json_object_get(object, "categories");
    if ((enabled != NULL && !json_is_boolean(enabled)) || (categories != NULL && !json_is_array(categories))) {
        return wrong(in, "debug.trace", "expected enabled: true or false, categories: an array");
    }
    config->trace = enabled != NULL ? json_is_true(enabled) : config->trace;
    if (categories != NULL) {
        memset(config->categories, 0, sizeof(config->categories));
    }
    for (size_t i = 0; i < json_array_size(categories); i++) {
        const char *word = json_string_value(json_array_get(categories, i));
        if (word == NULL) {
            return wrong(in, "debug.trace.categories", "expected names");
        }
        struct error inner;
        if (debug_config_category(config, word, &inner) != STATUS_OK) {
            return wrong(in, "debug.trace.categories", inner.text);
        }
    }
    return STATUS_OK;
}

static enum status read_level(const struct reading *in, json_t *object, struct debug_config *config)
{
    static const char *const keys[] = {"defaultLogLevel", NULL};
    enum status status = check_keys(in, object, "debug.logLevel", keys);
    json_t *level = status == STATUS_OK ? json_object_get(object, "defaultLogLevel") : NULL;
    struct error inner = {STATUS_OK, "expected a text"};
    if (level != NULL &&
        (!json_is_string(level) || debug_config_level(config, json_string_value(level), &inner) != STATUS_OK)) {
        status = wrong(in, "debug.logLevel.defaultLogLevel", inner.text);
    }
    return status;
}

static enum status read_debug(const struct reading *in, json_t *debug, bool only_probes, struct debug_config *config)
{
    static const char *const keys[] = {"logLevel", "trace", "layers", "probes", NULL};
    enum status status = check_keys(in, debug, "debug", keys);
    json_t *level = json_object_get(debug, "logLevel"), *trace = json_object_get(debug, "trace");
    json_t *layers = json_object_get(debug, "layers");
    if (status == STATUS_OK && level != NULL && !only_probes) {
        status = read_level(in, level, config);
    }
    if (status == STATUS_OK && trace != NULL && !only_probes) {
        status = read_trace(in, trace, config);
    }
    if (status == STATUS_OK && layers != NULL && !only_probes) {
        free(config->layers);
        config->layers = NULL;
        config->n_layers = 0;
        status = read_numbers(in, layers, "debug.layers", 0, (int64_t)in->plan->n_layers - 1, &config->layers,
                              &config->n_layers);
    }
    return status == STATUS_OK ? read_probes(in, json_object_get(debug, "probes"), config) : status;
}

/* Notes the keys beside the one that is read. */
static void note_others(const struct reading *in, json_t *object, const char *read)
{
    const char *key;
    json_t *value;
    json_object_foreach(object, key, value)
    {
        if (strcmp(key, read) != 0) {
            fprintf(stderr, "lockstep: note: %s: \"%s\" is not about debugging, and left aside\n", in->name, key);
        }
    }
}

/* A configuration, wrapped or not; a probe or an array of them alone, too. */
static enum status read_root(const struct reading *in, json_t *root, bool only_probes, struct debug_config *config)
{
    if (json_is_array(root)) {
        return read_probes(in, root, config);
    }
    if (json_object_get(root, "stage") != NULL) {
        json_t *one = json_pack("[O]", root);
        enum status status = read_probes(in, one, config);
        json_decref(one);
        return status;
    }
    static const char *const wrappers[] = {"runtime", "shared"};
    for (size_t i = 0; i < 2; i++) {
        json_t *inner = json_object_get(root, wrappers[i]);
        if (json_is_object(inner)) {
            note_others(in, root, wrappers[i]);
            root = inner;
        }
    }
    json_t *debug = json_object_get(root, "debug");
    if (debug == NULL) {
        return wrong(in, "debug", "not there, expected {\"debug\": {…}}, bare or in runtime or runtime.shared");
    }
    note_others(in, root, "debug");
    return read_debug(in, debug, only_probes, config);
}

enum status debug_config_read(struct debug_config *config, const char *text, const char *name, const struct plan *plan,
                              bool only_probes, struct error *err)
{
    json_error_t json_error;
    json_t *root = json_loads(text, JSON_REJECT_DUPLICATES, &json_error);
    if (root == NULL) {
        return error_set(err, STATUS_BAD_INPUT, name, "JSON", json_error.position, "%s", json_error.text);
    }
    struct debug_config copy = debug_config_copy(config); /* read into, so that an error leaves the other as it was */
    struct reading in = {name, plan, err};
    enum status status = read_root(&in, root, only_probes, &copy);
    json_decref(root);
    if (status != STATUS_OK) {
        debug_config_free(&copy);
        return status;
    }
    copy.odd = config->odd;
    config->odd = NULL;
    debug_config_free(config);
    *config = copy;
    return STATUS_OK;
}

#define MOST_BYTES (1u << 20)

enum status debug_config_read_file(struct debug_config *config, const char *path, const struct plan *plan,
                                   bool only_probes, struct error *err)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        return error_set(err, STATUS_BAD_INPUT, path, NULL, ERROR_NO_OFFSET, "cannot be read: %s", strerror(errno));
    }
    char *text = xcalloc(MOST_BYTES + 1, 1);
    size_t n = fread(text, 1, MOST_BYTES, file);
    bool failed = ferror(file) != 0 || n == MOST_BYTES || strlen(text) != n;
    fclose(file);
    enum status status = failed ? error_set(err, STATUS_BAD_INPUT, path, NULL, ERROR_NO_OFFSET,
                                            "cannot be read as text, or is larger than 1 MiB")
                                : debug_config_read(config, text, path, plan, only_probes, err);
    free(text);
    return status;
}
