/* Imports other programs' dumps: golden/importers/ writes a trace into a file without a name, and trace_read reads it.
 */
#include "workbench/python/python_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "model/model.h"
#include "model/plan.h"
#include "workbench/python/import.h"
#include "workbench/trace/json_file.h"

#define MOST_NOTE 480 /* bytes */

/* Whether the ordinary reader shall have the file: it is HDF5, is called so, or is not there. */
static bool is_trace_file(const char *path)
{
    static const char magic[8] = "\x89HDF\r\n\x1a\n";
    char begin[sizeof(magic)] = "";
    struct stat info;
    size_t length = strlen(path);
    if (stat(path, &info) != 0 || (!S_ISREG(info.st_mode) && !S_ISDIR(info.st_mode)) ||
        (S_ISREG(info.st_mode) && length > 3 && strcmp(path + length - 3, ".h5") == 0)) {
        return true;
    }
    int fd = S_ISREG(info.st_mode) ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    ssize_t n = fd >= 0 ? read(fd, begin, sizeof(begin)) : 0;
    if (fd >= 0) {
        close(fd);
    }
    return n == (ssize_t)sizeof(begin) && memcmp(begin, magic, sizeof(magic)) == 0;
}

/* What importers need of MODEL, as JSON. malloc'ed. */
static char *describe_plan(const struct plan *plan)
{
    const struct config *config = &plan->model->config;
    json_t *model = json_object(), *widths = json_object();
    for (uint32_t i = 0; i < plan->n_steps; i++) {
        const struct step *step = &plan->steps[i];
        char name[96];
        if (step->layer == LAYER_NONE) {
            snprintf(name, sizeof(name), "stages/%s", stage_name(step->stage));
        } else {
            snprintf(name, sizeof(name), "layers/%d/%s", step->layer, stage_name(step->stage));
        }
        json_put(widths, name, json_integer(step->width));
    }
    json_put(model, "path", json_text(plan->model->path));
    json_put(model, "model_type", json_string(config->model_type));
    json_put(model, "n_layers", json_integer(config->n_layers));
    json_put(model, "n_heads", json_integer(config->n_heads));
    json_put(model, "n_kv_heads", json_integer(config->n_kv_heads));
    json_put(model, "head_dim", json_integer(config->head_dim));
    json_put(model, "has_softcap", json_boolean(config->final_softcap > 0));
    json_put(model, "vocab", json_integer(config->vocab));
    json_put(model, "bos", json_integer(config->bos_id));
    json_put(model, "widths", widths);
    char *text = json_dumps(model, JSON_COMPACT);
    json_decref(model);
    return text;
}

/* *json is malloc'ed; "" without a model. */
static enum status describe_model(const char *path, char **json, struct error *err)
{
    struct model model;
    struct plan plan;
    if (path == NULL) {
        *json = xstrdup("");
        return STATUS_OK;
    }
    TRY(model_open(&model, path, err));
    enum status status = plan_build(&plan, &model, err);
    if (status == STATUS_OK) {
        *json = describe_plan(&plan);
        plan_free(&plan);
    }
    model_close(&model);
    return status;
}

/* Opens a file that has no name any more, so that nothing has to be removed. */
static enum status open_nameless(int *fd, struct error *err)
{
    const char *folder = getenv("TMPDIR");
    char path[PATH_MAX];
    snprintf(path, sizeof(path), "%s/lockstep-XXXXXX", folder != NULL && *folder != '\0' ? folder : "/tmp");
    *fd = mkostemp(path, O_CLOEXEC);
    if (*fd < 0) {
        return error_set(err, STATUS_IO, path, NULL, ERROR_NO_OFFSET, "cannot be written: %s", strerror(errno));
    }
    unlink(path);
    return STATUS_OK;
}

/* Calls importers.convert(). *result: its JSON. */
static enum status convert(const char *source, const char *target, const char *model,
                           const struct import_options *options, json_t **result, struct error *err)
{
    PyObject *function = python_function("importers", "convert", err);
    if (function == NULL) {
        return err->status;
    }
    struct python_interrupt interrupt;
    python_interrupt_begin(&interrupt);
    PyObject *source_path = PyUnicode_DecodeFSDefault(source);
    PyObject *map_path = options->map != NULL ? PyUnicode_DecodeFSDefault(options->map) : Py_NewRef(Py_None);
    PyObject *text = source_path != NULL && map_path != NULL
                         ? PyObject_CallFunction(function, "OssOO", source_path, target, model, map_path,
                                                 options->list_all ? Py_True : Py_False)
                         : NULL;
    const char *utf8 = text != NULL ? PyUnicode_AsUTF8(text) : NULL;
    *result = utf8 != NULL ? json_loads(utf8, 0, NULL) : NULL;
    enum status status = STATUS_OK;
    if (utf8 == NULL) {
        status = python_failed(source, err);
    }
    python_interrupt_end(&interrupt);
    Py_XDECREF(text);
    Py_XDECREF(map_path);
    Py_XDECREF(source_path);
    Py_DECREF(function);
    ASSERT(status != STATUS_OK || *result != NULL);
    return status;
}

/* The error that importers.convert() returned; STATUS_OK: it returned none. */
static enum status check_result(const char *source, const json_t *result, struct error *err)
{
    const char *text = json_string_value(json_object_get(result, "error"));
    const char *how = json_string_value(json_object_get(result, "status"));
    if (text == NULL) {
        return STATUS_OK;
    }
    enum status status = how != NULL && strcmp(how, "absent") == 0 ? STATUS_ABSENT
                         : how != NULL && strcmp(how, "io") == 0   ? STATUS_IO
                                                                   : STATUS_BAD_INPUT;
    return error_set(err, status, source, json_string_value(json_object_get(result, "field")), ERROR_NO_OFFSET, "%s",
                     text);
}

/* Reads the file that the importer wrote, and speaks of it as SOURCE. */
static enum status read_imported(struct trace *trace, const char *source, const char *target, const json_t *result,
                                 struct error *err)
{
    struct error said = {STATUS_OK, ""};
    enum status status = trace_read(trace, target, &said);
    if (status != STATUS_OK) {
        size_t length = strlen(target);
        const char *text = strncmp(said.text, target, length) == 0 ? said.text + length : said.text;
        return error_set(err, status, source, NULL, ERROR_NO_OFFSET, "%s", text + strspn(text, ": "));
    }
    free(trace->path);
    trace->path = xstrdup(source);
    const json_t *notes = json_object_get(result, "notes");
    trace->n_without_place = (uint32_t)json_array_size(json_object_get(result, "unmatched"));
    trace->notes = xcalloc(json_array_size(notes) + 1, sizeof(*trace->notes));
    for (size_t i = 0; i < json_array_size(notes); i++) {
        char text[MOST_NOTE];
        snprintf(text, sizeof(text), "%s", json_string_value(json_array_get(notes, i)));
        trace->notes[trace->n_notes++] = xstrdup(text);
    }
    return STATUS_OK;
}

enum status import_read(struct trace *trace, const char *source, const struct import_options *options,
                        struct error *err)
{
    struct error unused;
    char *model = NULL, target[64];
    json_t *result = NULL;
    int fd = -1;
    err = err != NULL ? err : &unused;
    *trace = (struct trace){0};
    if (is_trace_file(source)) {
        return trace_read(trace, source, err);
    }
    TRY(describe_model(options->model, &model, err));
    enum status status = open_nameless(&fd, err);
    if (status == STATUS_OK) {
        snprintf(target, sizeof(target), "/proc/self/fd/%d", fd);
        status = convert(source, target, model, options, &result, err);
    }
    if (status == STATUS_OK) {
        status = check_result(source, result, err);
    }
    if (status == STATUS_OK) {
        status = read_imported(trace, source, target, result, err);
    }
    json_decref(result);
    free(model);
    if (fd >= 0) {
        close(fd);
    }
    return status;
}
