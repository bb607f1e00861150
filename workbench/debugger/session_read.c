/* Reads what a saved session holds beside its run: files, options, settings. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "workbench/debugger/run/run.h"
#include "workbench/debugger/session_reading.h"
#include "workbench/probes/probe_config.h"
#include "workbench/session/digest/file_digest.h"
#include "workbench/session/kernel_options.h"
#include "workbench/text/terminal.h"

enum status session_malformed(const struct session_reading *in, const char *what)
{
    return error_set(in->err, STATUS_BAD_INPUT, in->path, "session", ERROR_NO_OFFSET, "%s", what);
}

enum status session_check_digest(const struct session_reading *in, const char *what, const char *path, const char *was,
                                 const char *is)
{
    if (strcmp(was, is) == 0) {
        return STATUS_OK;
    }
    return error_set(in->err, STATUS_BAD_INPUT, path, what, ERROR_NO_OFFSET,
                     "changed since %s was saved: sha256 %.12s, expected %.12s", in->path, is, was);
}

enum status session_choose_path(const struct session_reading *in, json_t *object, const char **path)
{
    const char *given, *whole;
    char now[PATH_MAX];
    UNPACK(in, object, "{s:s, s:s}", "path", &given, "whole_path", &whole);
    *path = realpath(given, now) != NULL && strcmp(now, whole) == 0 ? given : whole;
    return STATUS_OK;
}

/* The path of {"path", "sha256"}, whose file must be as it was. object NULL: *file is NULL. */
static enum status check_file(const struct session_reading *in, const char *what, json_t *object, const char **file)
{
    const char *was;
    char is[65];
    *file = NULL;
    if (object == NULL || json_is_null(object)) {
        return STATUS_OK;
    }
    UNPACK(in, object, "{s:s}", "sha256", &was);
    TRY(session_choose_path(in, object, file));
    TRY(file_sha256(*file, is, in->err));
    return session_check_digest(in, what, *file, was, is);
}

enum status session_read_trace(const struct session_reading *in, const char *what, json_t *object, struct trace **trace)
{
    const char *file;
    *trace = NULL;
    TRY(check_file(in, what, object, &file));
    if (file == NULL) {
        return STATUS_OK;
    }
    struct trace *read = xcalloc(1, sizeof(*read));
    enum status status = trace_read(read, file, in->err);
    if (status != STATUS_OK) {
        free(read);
        return status;
    }
    *trace = read;
    return STATUS_OK;
}

void session_free_trace(struct trace *trace)
{
    if (trace != NULL) {
        trace_free(trace);
        free(trace);
    }
}

enum status session_read_options(const struct session_reading *in, struct saved_options *options)
{
    const char *kernels[STAGE_COUNT];
    uint32_t n_kernels = 0;
    size_t i;
    json_t *item;
    *options = (struct saved_options){0};
    UNPACK(in, json_object_get(in->root, "options"),
           "{s:b, s:b, s:b, s:b, s:i, s:i, s:i, s?s, s?s, s?s, s?s, s?s, s:o, s:o}", "engine", &options->engine,
           "reference", &options->reference, "errors_continue", &options->errors_continue, "fuse", &options->fuse,
           "decode", &options->decode, "width", &options->width, "max_positions", &options->max_positions, "device",
           &options->device, "device_name", &options->device_name, "weights", &options->weights, "shaders",
           &options->shaders, "compiled", &options->compiled, "faults", &options->faults, "kernels", &options->kernels);
    json_array_foreach(options->faults, i, item)
    {
        if (options->n_faults < REPL_MAX_FAULTS && json_is_string(item)) {
            options->fault_texts[options->n_faults++] = json_string_value(item);
        }
    }
    json_array_foreach(options->kernels, i, item)
    {
        if (n_kernels < STAGE_COUNT && json_is_string(item)) {
            kernels[n_kernels++] = json_string_value(item);
        }
    }
    bool sane = options->max_positions > 0 && options->decode >= 0 && options->width >= 0 &&
                (options->engine || options->reference);
    return sane ? kernel_options_parse(kernels, n_kernels, &options->choices, in->err)
                : session_malformed(in, "options: out of range");
}

static void take_settings(struct repl *repl, const struct saved_options *options)
{
    struct repl_settings *settings = &repl->settings;
    repl_settings_free(settings);
    repl_settings_init(settings, options->device, options->fault_texts, options->n_faults);
    settings->shaders = xstrdup(options->shaders);
    settings->compiled = xstrdup(options->compiled);
    settings->decode = (uint32_t)options->decode;
    terminal_set_width((unsigned)options->width);
    settings->errors_continue = options->errors_continue != 0;
    settings->no_fuse = options->fuse == 0;
    settings->kernels = options->choices;
}

static enum status read_config(const struct session_reading *in, struct repl *repl)
{
    int given;
    char *json = json_dumps(json_object_get(in->root, "config"), 0);
    enum status status =
        json == NULL ? session_malformed(in, "config: missing")
                     : probe_config_read(repl->config, &(struct probe_config_text){.json = json, .name = in->path},
                                         repl->plan, in->err);
    free(json);
    TRY(status);
    UNPACK(in, in->root, "{s:b}", "config_given", &given);
    repl->config->given = given != 0;
    return STATUS_OK;
}

/* The step of {"layer", "stage"}. */
static enum status read_place(const struct session_reading *in, const struct repl *repl, json_t *object, uint32_t *step)
{
    json_t *layer = json_object_get(object, "layer");
    const char *stage = json_string_value(json_object_get(object, "stage"));
    int32_t at = json_is_integer(layer) ? (int32_t)json_integer_value(layer) : LAYER_NONE;
    int32_t found =
        stage != NULL && stage_by_name(stage) != STAGE_COUNT ? plan_find(repl->plan, at, stage_by_name(stage)) : -1;
    *step = (uint32_t)found;
    return found >= 0 ? STATUS_OK : session_malformed(in, "a layer and stage that the model does not have");
}

/* A number, or the text of a nonfinite one. */
static double number_of(json_t *value)
{
    const char *text = json_string_value(value);
    return text == NULL ? json_number_value(value) : strtod(text, NULL);
}

static enum status read_breakpoints(const struct session_reading *in, struct repl *repl)
{
    static const char *const conditions[] = {"always", "nan", "maxabs", "ratio"};
    json_t *array = json_object_get(in->root, "breakpoints"), *object;
    int last;
    size_t i;
    UNPACK(in, in->root, "{s:i}", "last_breakpoint", &last);
    repl->last_breakpoint = (uint32_t)last;
    json_array_foreach(array, i, object)
    {
        struct repl_breakpoint point = {0};
        int number, diverge;
        const char *condition;
        UNPACK(in, object, "{s:i, s:b, s:s}", "number", &number, "diverge", &diverge, "condition", &condition);
        point.number = (uint32_t)number;
        point.diverge = diverge != 0;
        point.limit = number_of(json_object_get(object, "limit"));
        for (unsigned c = 0; c < sizeof(conditions) / sizeof(conditions[0]); c++) {
            point.condition = strcmp(conditions[c], condition) == 0 ? c : point.condition;
        }
        if (!point.diverge) {
            TRY(read_place(in, repl, object, &point.step));
        }
        repl->breakpoints = xrealloc(repl->breakpoints, (repl->n_breakpoints + 1) * sizeof(*repl->breakpoints));
        repl->breakpoints[repl->n_breakpoints++] = point;
    }
    return STATUS_OK;
}

/* Refuses what `patch` would refuse. */
static enum status check_patch(const struct session_reading *in, const struct repl *repl,
                               const struct repl_patch *patch)
{
    const struct step *step = &repl->plan->steps[patch->step];
    if (patch->file != NULL) {
        TRY(trace_check_plan(patch->file, repl->plan, in->err));
        TRY(repl_check_experts(step, patch->file, in->path, in->err));
    }
    if (patch->kind == PATCH_SIDE && patch->source == SOURCE_GOLDEN && repl->golden != NULL) {
        TRY(repl_check_experts(step, repl->golden, in->path, in->err));
    }
    return step->op == OP_topk && patch->kind == PATCH_SCALE ? session_malformed(in, "a scale of numbers of experts")
                                                             : STATUS_OK;
}

static enum status read_patches(const struct session_reading *in, struct repl *repl)
{
    json_t *array = json_object_get(in->root, "patches"), *object;
    size_t i;
    json_array_foreach(array, i, object)
    {
        struct repl_patch patch = {.kind = PATCH_SCALE};
        const char *from = json_string_value(json_object_get(object, "from"));
        patch.scale = number_of(json_object_get(object, "scale"));
        TRY(read_place(in, repl, object, &patch.step));
        TRY(session_read_trace(in, "patch", json_object_get(object, "file"), &patch.file));
        patch.kind = patch.file != NULL ? PATCH_FILE : from != NULL ? PATCH_SIDE : PATCH_SCALE;
        patch.source =
            from != NULL && strcmp(from, source_name(SOURCE_REFERENCE)) == 0 ? SOURCE_REFERENCE : SOURCE_GOLDEN;
        repl->patches = xrealloc(repl->patches, (repl->n_patches + 1) * sizeof(*repl->patches));
        repl->patches[repl->n_patches++] = patch; /* freed with the prompt, whatever follows */
        TRY(check_patch(in, repl, &patch));
    }
    return STATUS_OK;
}

enum status session_read_settings(const struct session_reading *in, const struct saved_options *options,
                                  struct repl *repl)
{
    take_settings(repl, options);
    TRY(read_config(in, repl));
    TRY(read_breakpoints(in, repl));
    return read_patches(in, repl);
}
