/* The debug configuration as a command line gives it: --preset, --config, --trace, --trace-layers. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <jansson.h>

#include "workbench/probes/probe_config.h"

bool probe_options_given(const struct probe_options *options)
{
    return options->preset != NULL || options->n_configs > 0 || options->trace != NULL || options->trace_layers != NULL;
}

static bool is_file(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && !S_ISDIR(info.st_mode);
}

static bool is_preset(const char *name)
{
    uint32_t i = 0;
    while (probe_preset_name(i) != NULL && strcmp(probe_preset_name(i), name) != 0) {
        i++;
    }
    return probe_preset_name(i) != NULL;
}

/* Calls the function for each word of a list with commas, until it fails. */
static enum status for_each_word(const char *list, struct probe_config *config, struct error *err)
{
    char word[32];
    for (const char *at = list; *at != '\0'; at += at[0] == ',') {
        size_t length = strcspn(at, ",");
        snprintf(word, sizeof(word), "%.*s", (int)length, at);
        TRY(probe_config_set_category(config, word, err));
        at += length;
    }
    return list[0] != '\0' ? STATUS_OK : probe_config_set_category(config, list, err);
}

bool is_category_list(const char *text)
{
    struct probe_config unused = {0};
    struct error err;
    return !is_file(text) && for_each_word(text, &unused, &err) == STATUS_OK;
}

enum status probe_config_set_categories(struct probe_config *config, const char *list, struct error *err)
{
    struct probe_config changed = *config; /* shares what it owns, which stays unchanged */
    memset(changed.categories, 0, sizeof(changed.categories));
    TRY(for_each_word(list, &changed, err));
    changed.trace_enabled = false;
    for (unsigned c = 0; c < TRACE_CATEGORY_COUNT; c++) {
        changed.trace_enabled = changed.trace_enabled || changed.categories[c];
    }
    *config = changed;
    return STATUS_OK;
}

#define MAX_FILE_BYTES (1u << 20)

enum status probe_config_read_file(struct probe_config *config, const char *path, bool only_probes,
                                   const struct plan *plan, struct error *err)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        return error_set(err, STATUS_BAD_INPUT, path, NULL, ERROR_NO_OFFSET, "cannot be read: %s", strerror(errno));
    }
    char *json = xcalloc(MAX_FILE_BYTES + 1, 1);
    size_t n = fread(json, 1, MAX_FILE_BYTES, file);
    bool failed = ferror(file) != 0 || n == MAX_FILE_BYTES || strlen(json) != n;
    fclose(file);
    struct probe_config_text text = {.json = json, .name = path, .only_probes = only_probes};
    enum status status = failed ? error_set(err, STATUS_BAD_INPUT, path, NULL, ERROR_NO_OFFSET,
                                            "cannot be read as text, or is larger than 1 MiB")
                                : probe_config_read(config, &text, plan, err);
    free(json);
    return status;
}

/* A value of KEY.KEY=VALUE: JSON, or else a word as it stands. */
static json_t *parse_value(const char *text)
{
    json_t *value = json_loads(text, JSON_DECODE_ANY, NULL);
    return value != NULL ? value : json_string(text);
}

/* {"a": {"b": VALUE}} of "a.b=VALUE". */
static json_t *nest_keys(const char *text)
{
    const char *end = strchr(text, '=');
    json_t *value = parse_value(end + 1);
    while (end > text && value != NULL) {
        const char *begin = end;
        while (begin > text && begin[-1] != '.') {
            begin--;
        }
        char key[64];
        snprintf(key, sizeof(key), "%.*s", (int)(end - begin), begin);
        value = json_pack("{s:o}", key, value);
        end = begin > text ? begin - 1 : begin;
    }
    return value;
}

/* "runtime.shared.debug.trace.enabled=true" */
static enum status read_keys(struct probe_config *config, const char *text, const struct plan *plan, struct error *err)
{
    json_t *document = nest_keys(text);
    char *json = document != NULL ? json_dumps(document, 0) : NULL;
    json_decref(document);
    if (json == NULL) {
        return error_set(err, STATUS_BAD_INPUT, text, NULL, ERROR_NO_OFFSET,
                         "expected KEY.KEY=VALUE in UTF-8, VALUE as in JSON");
    }
    enum status status =
        probe_config_read(config, &(struct probe_config_text){.json = json, .name = "--config"}, plan, err);
    free(json);
    return status;
}

/* Whether a text is KEY.KEY=VALUE, and no path. */
static bool is_assignment(const char *text)
{
    size_t length = strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.");
    return length > 0 && text[length] == '=';
}

/* One --config. A file goes before a preset or keys of the same name. */
static enum status read_one(struct probe_config *config, const char *text, const struct plan *plan, struct error *err)
{
    const char *first = text + strspn(text, " \t\r\n");
    if (*first == '{' || *first == '[') {
        return probe_config_read(config, &(struct probe_config_text){.json = text, .name = "--config"}, plan, err);
    }
    if (!is_file(text) && is_preset(text)) {
        return probe_config_read_preset(config, text, plan, err);
    }
    if (!is_file(text) && is_assignment(text)) {
        return read_keys(config, text, plan, err);
    }
    return probe_config_read_file(config, text, false, plan, err);
}

enum status probe_config_read_options(struct probe_config *config, const struct probe_options *options,
                                      const struct plan *plan, struct error *err)
{
    if (options->preset != NULL) {
        TRY(probe_config_read_preset(config, options->preset, plan, err));
    }
    for (uint32_t i = 0; i < options->n_configs; i++) {
        TRY(read_one(config, options->configs[i], plan, err));
    }
    if (options->trace != NULL) {
        TRY(probe_config_set_categories(config, options->trace, err));
    }
    if (options->trace_layers != NULL) {
        TRY(probe_config_set_layers(config, options->trace_layers, plan, err));
    }
    config->given = probe_options_given(options);
    return STATUS_OK;
}
