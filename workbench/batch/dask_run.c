/* Cases on a Dask scheduler. */
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "model/stop.h"
#include "workbench/batch/runners.h"
#include "workbench/python/python.h"
#include "workbench/trace/json_file.h"

/* A path as another process finds it. */
static json_t *absolute(const char *path)
{
    char folder[PATH_MAX];
    if (path[0] == '/' || getcwd(folder, sizeof(folder)) == NULL) {
        return json_text(path);
    }
    char *whole = xmalloc(strlen(folder) + strlen(path) + 2);
    strcpy(whole, folder);
    strcat(whole, "/");
    strcat(whole, path);
    json_t *text = json_text(whole);
    free(whole);
    return text;
}

static void put_text(json_t *object, const char *key, const char *text)
{
    if (text != NULL) {
        json_put(object, key, json_text(text));
    }
}

static void put_path(json_t *object, const char *key, const char *path)
{
    if (path != NULL) {
        json_put(object, key, absolute(path));
    }
}

/* A file of this one case, as `batch -` reads it; malloc'ed. */
static char *case_document(const struct batch_case *one)
{
    json_t *object = json_object(), *faults = json_array(), *list = json_array(), *document = json_object();
    put_text(object, "name", one->name);
    put_path(object, "model", one->model);
    put_path(object, "golden", one->golden);
    put_path(object, "trace", one->trace);
    put_path(object, "golden_model", one->golden_model);
    put_text(object, "on", one->on);
    put_text(object, "device", one->device);
    put_text(object, "weights", one->weights);
    put_text(object, "expect", outcome_name(one->expect));
    for (uint32_t i = 0; i < one->n_faults; i++) {
        json_push(faults, json_text(one->faults[i]));
    }
    json_put(object, "fault", faults);
    json_push(list, object);
    json_put(document, "case", list);
    char *text = json_dumps(document, JSON_COMPACT);
    ASSERT(text != NULL);
    json_decref(document);
    return text;
}

static bool take_result(void *context, uint32_t index, const char *text)
{
    const struct case_list *list = context;
    json_t *result = json_loads(text, 0, NULL);
    ASSERT(result != NULL);
    list->done(list->context, list->todo[index], result);
    return !stop_asked();
}

enum status dask_run(const struct case_list *list, struct error *err)
{
    char program[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", program, sizeof(program) - 1);
    if (length < 0) {
        return error_set(err, STATUS_IO, "/proc/self/exe", NULL, ERROR_NO_OFFSET, "cannot be read");
    }
    program[length] = '\0';
    char **documents = xcalloc(list->n_todo, sizeof(*documents));
    for (uint32_t i = 0; i < list->n_todo; i++) {
        documents[i] = case_document(&list->batch->cases[list->todo[i]]);
    }
    const struct dask_cases cases = {
        .address = list->options->dask, .program = program, .cases = (const char *const *)documents, .n = list->n_todo};
    enum status status = python_dask(&cases, take_result, (void *)(uintptr_t)list, err);
    for (uint32_t i = 0; i < list->n_todo; i++) {
        free(documents[i]);
    }
    free(documents);
    return status == STATUS_OK ? stop_check(err) : status;
}
