/* Reads a debug configuration, or probes alone, from JSON. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "workbench/probes/probe_config.h"
#include "workbench/python/python.h"
#include "workbench/trace/stage_list.h"

/* What every function here needs. */
struct reading {
    const char *name; /* of the text, for messages */
    const struct plan *plan;
    bool lenient; /* as probe_config_text.lenient */
    struct error *err;
};

static enum status wrong(const struct reading *in, const char *field, const char *expected)
{
    return error_set(in->err, STATUS_BAD_INPUT, in->name, field, ERROR_NO_OFFSET, "%s", expected);
}

/* "id, stage, layers" */
static const char *join_names(const char *const *names, char *text, size_t size)
{
    size_t n = 0;
    for (uint32_t i = 0; names[i] != NULL && n < size; i++) {
        n += (size_t)snprintf(text + n, size - n, "%s%s", i > 0 ? ", " : "", names[i]);
    }
    return text;
}

/* Refuses keys that are not in a NULL-terminated list. */
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
            struct suggestion suggestion = {.word = key};
            char names[128], text[SUGGEST_SIZE];
            suggest_offer_all(&suggestion, known, (size_t)(at - known));
            return error_set(in->err, STATUS_BAD_INPUT, in->name, field, ERROR_NO_OFFSET,
                             "unknown key \"%s\", expected one of: %s%s", key, join_names(known, names, sizeof(names)),
                             suggest_text(&suggestion, text));
        }
    }
    return STATUS_OK;
}

/* A list of whole numbers and the range that each must lie in. */
struct number_list {
    const char *field;
    int64_t low, high;
    int32_t **numbers; /* allocated here */
    uint32_t *n;
};

/* array: NULL leaves the list empty. */
static enum status read_numbers(const struct reading *in, json_t *array, const struct number_list *list)
{
    if (array == NULL) {
        return STATUS_OK;
    }
    if (!json_is_array(array)) {
        return wrong(in, list->field, "expected an array of numbers");
    }
    *list->numbers = xcalloc(json_array_size(array) + 1, sizeof(**list->numbers));
    for (size_t i = 0; i < json_array_size(array); i++) {
        json_t *item = json_array_get(array, i);
        json_int_t value = json_integer_value(item);
        if (!json_is_integer(item) || value < list->low || value > list->high) {
            return error_set(in->err, STATUS_BAD_INPUT, in->name, list->field, ERROR_NO_OFFSET,
                             "%lld, expected a number from %lld to %lld", (long long)value, (long long)list->low,
                             (long long)list->high);
        }
        (*list->numbers)[(*list->n)++] = (int32_t)value;
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

static enum status read_probe_layers(const struct reading *in, json_t *array, struct probe *probe)
{
    static const char field[] = "debug.probes.layers";
    if (!stage_in_layer(probe->stage)) {
        return json_array_size(array) == 0 ? STATUS_OK
                                           : wrong(in, field, "given for a stage outside the layers, expected none");
    }
    return read_numbers(
        in, array, &(struct number_list){field, 0, (int64_t)in->plan->n_layers - 1, &probe->layers, &probe->n_layers});
}

/* The dims that the stage has, of an array of numbers; the others are told. The caller releases it. */
static json_t *dims_there(const struct reading *in, const char *stage, uint32_t width, json_t *dims)
{
    json_t *there = json_array(), *dim;
    char absent[128] = "";
    size_t i;
    json_array_foreach(dims, i, dim)
    {
        size_t used = strlen(absent);
        if (json_integer_value(dim) < (json_int_t)width) {
            json_array_append(there, dim);
        } else if (used + 24 < sizeof(absent)) {
            snprintf(absent + used, sizeof(absent) - used, "%s%lld", used > 0 ? ", " : "",
                     (long long)json_integer_value(dim));
        }
    }
    if (absent[0] != '\0') {
        fprintf(stderr, "lockstep: note: %s: %s of this model has %u dims, without %s: %s\n", in->name, stage, width,
                absent, json_array_size(there) > 0 ? "the others are probed" : "no probe is left");
    }
    return there;
}

/* A probe of a preset, of the dims that the model has. Returns false if there are none. */
static bool fit_probe(const struct reading *in, json_t *object)
{
    const char *name = json_string_value(json_object_get(object, "stage"));
    int32_t step = name != NULL ? find_stage(in->plan, stage_by_name(name)) : -1;
    json_t *dims = json_object_get(object, "dims");
    if (step < 0 || dims == NULL) {
        return true;
    }
    json_t *there = dims_there(in, name, in->plan->steps[step].width, dims);
    bool any = json_array_size(there) > 0;
    json_object_set_new(object, "dims", there);
    return any;
}

/* Adds the token of each text to a probe of logits: [" blue", "Kaw"]. */
static enum status read_texts(const struct reading *in, json_t *array, struct probe *probe)
{
    static const char field[] = "debug.probes.texts";
    bool logits = probe->stage == STAGE_logits || probe->stage == STAGE_logits_final;
    if (array != NULL && (!json_is_array(array) || !logits)) {
        return wrong(in, field, "expected an array of texts, each one token, of logits or logits_final");
    }
    for (size_t i = 0; i < json_array_size(array); i++) {
        const char *text = json_string_value(json_array_get(array, i));
        int32_t *ids = NULL;
        uint32_t n = 0;
        if (text == NULL) {
            return wrong(in, field, "expected texts");
        }
        TRY(python_tokenize_plain(in->plan->model, text, &ids, &n, in->err));
        int32_t id = n == 1 ? ids[0] : -1;
        free(ids);
        if (id < 0) {
            return error_set(in->err, STATUS_BAD_INPUT, in->name, field, ERROR_NO_OFFSET,
                             "\"%.40s\" is %u tokens, expected one", text, n);
        }
        probe->dims = xrealloc(probe->dims, ((uint64_t)probe->n_dims + 1) * sizeof(*probe->dims));
        probe->dims[probe->n_dims++] = id;
    }
    return STATUS_OK;
}

static enum status read_probe(const struct reading *in, json_t *object, struct probe *probe)
{
    static const char *const keys[] = {"id", "stage", "layers", "tokens", "dims", "texts", NULL};
    TRY(check_keys(in, object, "debug.probes", keys));
    const char *name = json_string_value(json_object_get(object, "stage"));
    json_t *id = json_object_get(object, "id");
    if (name == NULL || (id != NULL && !json_is_string(id))) {
        return wrong(in, name == NULL ? "debug.probes.stage" : "debug.probes.id", "missing or not a string");
    }
    probe->stage = stage_by_name(name);
    int32_t step = probe->stage == STAGE_COUNT ? -1 : find_stage(in->plan, probe->stage);
    if (step < 0) {
        char suggestion[SUGGEST_SIZE];
        return error_set(in->err, STATUS_BAD_INPUT, in->name, "debug.probes.stage", ERROR_NO_OFFSET,
                         "\"%s\", expected a stage of this model%s", name, stage_suggest(name, suggestion));
    }
    probe->id = xstrdup(id != NULL ? json_string_value(id) : name);
    const struct number_list tokens = {"debug.probes.tokens", -INT32_MAX, INT32_MAX, &probe->tokens, &probe->n_tokens};
    const struct number_list dims = {"debug.probes.dims", 0, (int64_t)in->plan->steps[step].width - 1, &probe->dims,
                                     &probe->n_dims};
    TRY(read_probe_layers(in, json_object_get(object, "layers"), probe));
    TRY(read_numbers(in, json_object_get(object, "tokens"), &tokens));
    TRY(read_numbers(in, json_object_get(object, "dims"), &dims));
    return read_texts(in, json_object_get(object, "texts"), probe);
}

static enum status read_probes(const struct reading *in, json_t *array, struct probe_config *config)
{
    if (array == NULL) {
        return STATUS_OK;
    }
    if (!json_is_array(array)) {
        return wrong(in, "debug.probes", "expected an array");
    }
    for (size_t i = 0; i < json_array_size(array); i++) {
        if (in->lenient && !fit_probe(in, json_array_get(array, i))) {
            continue;
        }
        config->probes = xrealloc(config->probes, (config->n_probes + 1) * sizeof(*config->probes));
        struct probe *probe = &config->probes[config->n_probes++]; /* freed with the configuration, half-read or not */
        *probe = (struct probe){0};
        TRY(read_probe(in, json_array_get(array, i), probe));
    }
    return STATUS_OK;
}

static enum status read_trace(const struct reading *in, json_t *object, struct probe_config *config)
{
    static const char *const keys[] = {"enabled", "categories", NULL};
    if (object == NULL) {
        return STATUS_OK;
    }
    TRY(check_keys(in, object, "debug.trace", keys));
    json_t *enabled = json_object_get(object, "enabled"), *categories = json_object_get(object, "categories");
    if ((enabled != NULL && !json_is_boolean(enabled)) || (categories != NULL && !json_is_array(categories))) {
        return wrong(in, "debug.trace", "expected enabled: true or false, categories: an array");
    }
    config->trace_enabled = enabled != NULL ? json_is_true(enabled) : config->trace_enabled;
    if (categories != NULL) {
        memset(config->categories, 0, sizeof(config->categories));
    }
    for (size_t i = 0; i < json_array_size(categories); i++) {
        const char *word = json_string_value(json_array_get(categories, i));
        struct error inner;
        if (word == NULL) {
            return wrong(in, "debug.trace.categories", "expected strings");
        }
        if (probe_config_set_category(config, word, &inner) != STATUS_OK) {
            return wrong(in, "debug.trace.categories", inner.text);
        }
    }
    return STATUS_OK;
}

static enum status read_level(const struct reading *in, json_t *object, struct probe_config *config)
{
    static const char *const keys[] = {"defaultLogLevel", NULL};
    if (object == NULL) {
        return STATUS_OK;
    }
    TRY(check_keys(in, object, "debug.logLevel", keys));
    json_t *level = json_object_get(object, "defaultLogLevel");
    struct error inner = {STATUS_OK, "expected a string"};
    if (level != NULL &&
        (!json_is_string(level) || probe_config_set_level(config, json_string_value(level), &inner) != STATUS_OK)) {
        return wrong(in, "debug.logLevel.defaultLogLevel", inner.text);
    }
    return STATUS_OK;
}

static enum status read_layers(const struct reading *in, json_t *array, struct probe_config *config)
{
    if (array == NULL) {
        return STATUS_OK;
    }
    free(config->layers);
    config->layers = NULL;
    config->n_layers = 0;
    return read_numbers(
        in, array,
        &(struct number_list){"debug.layers", 0, (int64_t)in->plan->n_layers - 1, &config->layers, &config->n_layers});
}

/* The value of "debug": an object; or true, which is the preset of that name. */
static enum status read_debug(const struct reading *in, json_t *debug, bool only_probes, struct probe_config *config)
{
    static const char *const keys[] = {"logLevel", "trace", "layers", "debugLayers", "probes", NULL};
    if (json_is_boolean(debug)) {
        return json_is_true(debug) && !only_probes ? probe_config_read_preset(config, "debug", in->plan, in->err)
                                                   : STATUS_OK;
    }
    TRY(check_keys(in, debug, "debug", keys));
    if (!only_probes) {
        TRY(read_level(in, json_object_get(debug, "logLevel"), config));
        TRY(read_trace(in, json_object_get(debug, "trace"), config));
        TRY(read_layers(in, json_object_get(debug, "layers"), config));
        TRY(read_layers(in, json_object_get(debug, "debugLayers"), config));
    }
    return read_probes(in, json_object_get(debug, "probes"), config);
}

/* Prints a note for each key that is not read. read: NULL-terminated. */
static void note_other_keys(const struct reading *in, json_t *object, const char *const *read)
{
    const char *key;
    json_t *value;
    json_object_foreach(object, key, value)
    {
        const char *const *at = read;
        while (*at != NULL && strcmp(*at, key) != 0) {
            at++;
        }
        if (*at == NULL) {
            fprintf(stderr, "lockstep: note: %s: \"%s\" is not about debugging and is ignored\n", in->name, key);
        }
    }
}

/* What an object says of debugging: "debug"; "debugLayers"; "benchmark.run.debug", doppler's switch of the same. Sets
 * *found if it says anything. */
static enum status read_beside(const struct reading *in, json_t *object, bool only_probes, struct probe_config *config,
                               bool *found)
{
    json_t *debug = json_object_get(object, "debug"), *layers = json_object_get(object, "debugLayers");
    json_t *run = json_object_get(json_object_get(json_object_get(object, "benchmark"), "run"), "debug");
    *found = *found || debug != NULL || layers != NULL || json_is_boolean(run);
    if (json_is_boolean(run)) {
        TRY(read_debug(in, run, only_probes, config));
    }
    if (debug != NULL) {
        TRY(read_debug(in, debug, only_probes, config));
    }
    return only_probes ? STATUS_OK : read_layers(in, layers, config);
}

/* An object that may hold "debug", and the objects in it that may: runtime, shared. Inner ones are read last. */
static enum status read_wrapped(const struct reading *in, json_t *object, bool only_probes, struct probe_config *config,
                                bool *found)
{
    static const char *const read[] = {"debug", "debugLayers", "benchmark", "runtime", "shared", NULL};
    note_other_keys(in, object, read);
    TRY(read_beside(in, object, only_probes, config, found));
    for (size_t i = 3; read[i] != NULL; i++) {
        json_t *inner = json_object_get(object, read[i]);
        if (json_is_object(inner)) {
            TRY(read_wrapped(in, inner, only_probes, config, found));
        }
    }
    return STATUS_OK;
}

/* A configuration, wrapped or not; a single probe; or an array of probes. */
static enum status read_root(const struct reading *in, json_t *root, bool only_probes, struct probe_config *config)
{
    bool found = false;
    if (json_is_array(root)) {
        return read_probes(in, root, config);
    }
    bool wrapped = json_object_get(root, "debug") != NULL || json_object_get(root, "runtime") != NULL ||
                   json_object_get(root, "shared") != NULL;
    if (json_object_get(root, "stage") != NULL || (only_probes && json_is_object(root) && !wrapped)) { /* one probe */
        json_t *one = json_pack("[O]", root);
        enum status status = read_probes(in, one, config);
        json_decref(one);
        return status;
    }
    TRY(read_wrapped(in, root, only_probes, config, &found));
    return found ? STATUS_OK
                 : wrong(in, "debug", "missing, expected {\"debug\": {…}}, bare or inside runtime or runtime.shared");
}

enum status probe_config_read(struct probe_config *config, const struct probe_config_text *text,
                              const struct plan *plan, struct error *err)
{
    json_error_t json_error;
    json_t *root = json_loads(text->json, JSON_REJECT_DUPLICATES, &json_error);
    if (root == NULL) {
        return error_set(err, STATUS_BAD_INPUT, text->name, "JSON", json_error.position, "%s", json_error.text);
    }
    struct probe_config copy = probe_config_copy(config); /* replaces *config only if all of the text was read */
    struct reading in = {text->name, plan, text->lenient, err};
    enum status status = read_root(&in, root, text->only_probes, &copy);
    json_decref(root);
    if (status != STATUS_OK) {
        probe_config_free(&copy);
        return status;
    }
    copy.anomalous = config->anomalous;
    config->anomalous = NULL;
    probe_config_free(config);
    *config = copy;
    return STATUS_OK;
}
