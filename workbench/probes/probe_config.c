/* The debug configuration: defaults, presets, and the settings that the prompt changes one by one. */
#include "workbench/probes/probe_config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "workbench/text/suggest.h"

static const char *const level_names[] = {"silent", "info", "verbose"};
static const char *const category_names[] = {
#define X(name) #name,
    TRACE_CATEGORIES(X)
#undef X
};

void probe_config_init(struct probe_config *config)
{
    *config = (struct probe_config){.level = LOG_INFO};
}

void probe_config_free(struct probe_config *config)
{
    for (uint32_t i = 0; i < config->n_probes; i++) {
        free(config->probes[i].id);
        free(config->probes[i].layers);
        free(config->probes[i].tokens);
        free(config->probes[i].dims);
    }
    free(config->probes);
    free(config->layers);
    free(config->anomalous);
    *config = (struct probe_config){0};
}

static int32_t *copy_numbers(const int32_t *numbers, uint32_t n)
{
    int32_t *copy = xcalloc((uint64_t)n + 1, sizeof(*copy));
    if (n > 0) {
        memcpy(copy, numbers, n * sizeof(*copy));
    }
    return copy;
}

struct probe_config probe_config_copy(const struct probe_config *config)
{
    struct probe_config copy = *config;
    copy.anomalous = NULL;
    copy.layers = copy_numbers(config->layers, config->n_layers);
    copy.probes = xcalloc((uint64_t)config->n_probes + 1, sizeof(*copy.probes));
    for (uint32_t i = 0; i < config->n_probes; i++) {
        const struct probe *probe = &config->probes[i];
        copy.probes[i] = *probe;
        copy.probes[i].id = xstrdup(probe->id);
        copy.probes[i].layers = copy_numbers(probe->layers, probe->n_layers);
        copy.probes[i].tokens = copy_numbers(probe->tokens, probe->n_tokens);
        copy.probes[i].dims = copy_numbers(probe->dims, probe->n_dims);
    }
    return copy;
}

const char *trace_category_name(enum trace_category category)
{
    ASSERT((unsigned)category < TRACE_CATEGORY_COUNT);
    return category_names[category];
}

const char *log_level_name(enum log_level level)
{
    return level_names[level];
}

enum status probe_config_set_level(struct probe_config *config, const char *word, struct error *err)
{
    for (unsigned i = 0; i < sizeof(level_names) / sizeof(level_names[0]); i++) {
        if (strcmp(level_names[i], word) == 0) {
            config->level = i;
            return STATUS_OK;
        }
    }
    struct suggestion suggestion = {.word = word};
    char text[SUGGEST_SIZE];
    suggest_offer_all(&suggestion, level_names, sizeof(level_names) / sizeof(level_names[0]));
    return error_set(err, STATUS_BAD_INPUT, NULL, "log", ERROR_NO_OFFSET, "\"%s\", expected silent, info or verbose%s",
                     word, suggest_text(&suggestion, text));
}

enum status probe_config_set_category(struct probe_config *config, const char *word, struct error *err)
{
    bool on = word[0] != '-', all = strcmp(word + !on, "all") == 0, none = strcmp(word, "none") == 0, known = false;
    for (unsigned i = 0; i < TRACE_CATEGORY_COUNT; i++) {
        if (all || none || strcmp(category_names[i], word + !on) == 0) {
            config->categories[i] = on && !none;
            known = true;
        }
    }
    if (known) {
        return STATUS_OK;
    }
    struct suggestion suggestion = {.word = word + !on};
    char text[SUGGEST_SIZE];
    suggest_offer_all(&suggestion, category_names, TRACE_CATEGORY_COUNT);
    return error_set(err, STATUS_BAD_INPUT, NULL, "trace", ERROR_NO_OFFSET,
                     "\"%s\", expected attn, ffn, logits, kernels, kv, sample, loader, buffers, all or none, or -NAME "
                     "to take one out%s",
                     word, suggest_text(&suggestion, text));
}

static const struct {
    const char *name, *json;
} presets[] = {
    {"bench", "{\"debug\": {\"logLevel\": {\"defaultLogLevel\": \"info\"}, \"trace\": {\"enabled\": false}}}"},
    {"debug", "{\"debug\": {\"logLevel\": {\"defaultLogLevel\": \"verbose\"}, \"trace\": {\"enabled\": true, "
              "\"categories\": [\"all\"]}}}"},
    {"gemma2-debug", "{\"debug\": {\"trace\": {\"enabled\": true, \"categories\": [\"logits\"]}, \"probes\": "
                     "[{\"id\": \"topk\", \"stage\": \"logits_final\", \"tokens\": [-1], \"dims\": [476, 3868, "
                     "17022]}]}}"},
};
#define N_PRESETS (sizeof(presets) / sizeof(presets[0]))

const char *probe_preset_name(uint32_t i)
{
    return i < N_PRESETS ? presets[i].name : NULL;
}

enum status probe_config_read_preset(struct probe_config *config, const char *preset, const struct plan *plan,
                                     struct error *err)
{
    for (size_t i = 0; i < N_PRESETS; i++) {
        if (strcmp(presets[i].name, preset) == 0) {
            const struct probe_config_text text = {.json = presets[i].json, .name = preset, .lenient = true};
            return probe_config_read(config, &text, plan, err);
        }
    }
    struct suggestion suggestion = {.word = preset};
    char text[SUGGEST_SIZE];
    for (size_t i = 0; i < N_PRESETS; i++) {
        suggest_offer(&suggestion, presets[i].name);
    }
    return error_set(err, STATUS_USAGE, NULL, "--preset", ERROR_NO_OFFSET,
                     "\"%s\", expected bench, debug or gemma2-debug%s", preset, suggest_text(&suggestion, text));
}

enum status probe_config_set_layers(struct probe_config *config, const char *text, const struct plan *plan,
                                    struct error *err)
{
    char json[256];
    bool all = strcmp(text, "all") == 0, list = text[strspn(text, "0123456789,")] == '\0' && strlen(text) < 200;
    if (!all && !list) {
        return error_set(err, STATUS_USAGE, NULL, "layers", ERROR_NO_OFFSET,
                         "\"%.40s\", expected all, or a list like 3,17", text);
    }
    snprintf(json, sizeof(json), "{\"debug\": {\"layers\": [%s]}}", all ? "" : text);
    return probe_config_read(config, &(struct probe_config_text){.json = json, .name = "layers"}, plan, err);
}
