#include "workbench/batch/batch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "model/stop.h"
#include "workbench/batch/run_case.h"
#include "workbench/batch/runners.h"
#include "workbench/session/progress.h"
#include "workbench/trace/json_file.h"
#include "workbench/trace/safe_replace.h"

/* The file is written after a case, unless that would take more than a tenth of the time. */
#define WRITING_SHARE 10

/* A run under way. */
struct run {
    struct batch_cases *batch;
    const struct batch_options *options;
    json_t **keys; /* [n_cases]; NULL: no result is written, so none is gone on with */
    uint32_t n_todo, n_done;
    double start, written, writing; /* when it began; when the file was last written, and how long that took */
    struct error err;               /* of the first write that failed */
};

static bool as_expected(const struct batch_case *one)
{
    return json_is_true(json_object_get(one->result, "as_expected"));
}

static const char *status_of(const struct batch_case *one)
{
    const char *status = json_string_value(json_object_get(one->result, "status"));
    return status != NULL ? status : "";
}

static json_t *counts(const struct batch_cases *batch)
{
    json_t *object = json_object();
    for (enum outcome outcome = 0; outcome < OUTCOME_COUNT; outcome++) {
        uint32_t n = 0;
        for (uint32_t i = 0; i < batch->n_cases; i++) {
            n += strcmp(status_of(&batch->cases[i]), outcome_name(outcome)) == 0;
        }
        json_put(object, outcome_name(outcome), json_integer(n));
    }
    return object;
}

json_t *cases_json(const struct batch_cases *batch)
{
    json_t *document = json_object(), *cases = json_array(), *skipped = json_array();
    for (uint32_t i = 0; i < batch->n_cases; i++) {
        if (batch->cases[i].result != NULL) {
            json_push(cases, json_incref(batch->cases[i].result));
        }
    }
    for (uint32_t i = 0; i < batch->n_skipped; i++) {
        json_push(skipped, json_text(batch->skipped[i]));
    }
    json_put(document, "format", json_string("lockstep-batch"));
    json_put(document, "version", json_integer(1));
    json_put(document, "cases", cases);
    json_put(document, "counts", counts(batch));
    json_put(document, "skipped", skipped);
    return document;
}

/* Writes what is done so far. Standard output gets it once, from whoever ran the batch. */
static enum status write_results(struct run *run, struct error *err)
{
    const char *path = run->options->json;
    if (path == NULL || strcmp(path, "-") == 0) {
        return STATUS_OK;
    }
    double start = seconds_now();
    enum status status = json_write_file(cases_json(run->batch), path, err);
    run->written = seconds_now();
    run->writing = run->written - start;
    return status;
}

/* "case, about 40 s left": what the line of progress counts. */
static const char *progress_words(const struct run *run, char text[64])
{
    double left = (seconds_now() - run->start) / run->n_done * (run->n_todo - run->n_done);
    if (left < 100) {
        snprintf(text, 64, "about %.0f s left; case", left);
    } else {
        snprintf(text, 64, "about %.0f min left; case", left / 60);
    }
    return text;
}

/* Takes a result that has no name and key yet. */
static void take_result(void *context, uint32_t index, json_t *result)
{
    struct run *run = context;
    struct batch_case *one = &run->batch->cases[index];
    char text[64];
    json_put(result, "name", json_text(one->name));
    if (run->keys != NULL) {
        json_put(result, "key", json_incref(run->keys[index]));
    }
    json_decref(one->result);
    one->result = result;
    run->n_done++;
    progress_show((void *)(uintptr_t)progress_words(run, text), run->n_done, run->n_todo);
    if (run->err.status == STATUS_OK && seconds_now() - run->written >= WRITING_SHARE * run->writing) {
        (void)write_results(run, &run->err);
    }
}

/* Whether a result of before still holds. An error does where the input was bad; whatever else failed may go well now.
 */
static bool still_holds(const json_t *entry, const json_t *key)
{
    const json_t *status = json_object_get(entry, "exit_status");
    bool whole = json_is_string(json_object_get(entry, "status")) && json_is_real(json_object_get(entry, "seconds")) &&
                 (json_is_object(json_object_get(entry, "report")) || json_is_string(json_object_get(entry, "error")));
    return whole && json_equal(json_object_get(entry, "key"), key) &&
           (status == NULL || json_integer_value(status) == STATUS_BAD_INPUT);
}

/* Takes over the results of an earlier run that still hold. A file that is not there yet is an empty one. */
static enum status take_earlier(struct run *run, struct error *err)
{
    const char *path = run->options->resume;
    json_error_t json;
    FILE *there = path != NULL ? fopen(path, "r") : NULL;
    if (there == NULL) {
        return STATUS_OK;
    }
    json_t *document = json_loadf(there, 0, &json), *entry;
    fclose(there);
    const char *format = json_string_value(json_object_get(document, "format"));
    if (format == NULL || strcmp(format, "lockstep-batch") != 0) {
        json_decref(document);
        return error_set(err, STATUS_BAD_INPUT, path, "format", ERROR_NO_OFFSET,
                         "is no result of a batch, which --resume goes on with");
    }
    size_t i;
    json_array_foreach(json_object_get(document, "cases"), i, entry)
    {
        const char *name = json_string_value(json_object_get(entry, "name"));
        for (uint32_t k = 0; name != NULL && k < run->batch->n_cases; k++) {
            struct batch_case *one = &run->batch->cases[k];
            if (strcmp(one->name, name) == 0 && one->result == NULL && still_holds(entry, run->keys[k])) {
                one->result = json_incref(entry);
                bool expected = strcmp(status_of(one), outcome_name(one->expect)) == 0;
                json_put(one->result, "as_expected", json_boolean(expected));
            }
        }
    }
    json_decref(document);
    return STATUS_OK;
}

static void make_keys(struct run *run)
{
    json_t *digests = json_object();
    run->keys = xcalloc(run->batch->n_cases, sizeof(*run->keys));
    for (uint32_t i = 0; i < run->batch->n_cases; i++) {
        run->keys[i] = case_key(&run->batch->cases[i], digests);
    }
    json_decref(digests);
}

static enum status run_todo(struct run *run, struct error *err)
{
    uint32_t *todo = xcalloc(run->batch->n_cases, sizeof(*todo));
    for (uint32_t i = 0; i < run->batch->n_cases; i++) {
        if (run->batch->cases[i].result == NULL) {
            todo[run->n_todo++] = i;
        }
    }
    const struct case_list list = {run->batch, run->options, todo, run->n_todo, take_result, run};
    enum status status = STATUS_OK;
    if (run->n_todo > 0) {
        status = run->options->dask != NULL ? dask_run(&list, err) : processes_run(&list, err);
    }
    progress_wipe();
    free(todo);
    return status;
}

/* Whether the file of results can be written, before work begins; what it holds stays. */
static enum status check_writable(const char *path, struct error *err)
{
    struct stat info;
    struct replacement replacement;
    bool special = path != NULL && stat(path, &info) == 0 && !S_ISREG(info.st_mode) && !S_ISDIR(info.st_mode);
    if (path == NULL || strcmp(path, "-") == 0 || special) {
        return STATUS_OK;
    }
    TRY(replacement_begin(&replacement, path, err));
    replacement_abort(&replacement);
    return STATUS_OK;
}

enum status cases_run(struct batch_cases *batch, const struct batch_options *options, struct error *err)
{
    struct run run = {.batch = batch, .options = options, .start = seconds_now()};
    TRY(check_writable(options->json, err));
    if (options->json != NULL) {
        make_keys(&run);
    }
    enum status status = stop_check(err);
    if (status == STATUS_OK) {
        status = take_earlier(&run, err);
    }
    if (status == STATUS_OK) {
        status = run_todo(&run, err);
        enum status written = write_results(&run, status == STATUS_OK ? err : NULL);
        status = status == STATUS_OK ? written : status;
    }
    for (uint32_t i = 0; run.keys != NULL && i < batch->n_cases; i++) {
        json_decref(run.keys[i]);
    }
    free(run.keys);
    return status;
}

enum status cases_status(const struct batch_cases *batch)
{
    bool diverged = false, undecided = false, error = false, all = true;
    for (uint32_t i = 0; i < batch->n_cases; i++) {
        const struct batch_case *one = &batch->cases[i];
        bool wrong = !as_expected(one);
        all &= !wrong;
        undecided |= wrong && strcmp(status_of(one), "undecided") == 0;
        error |= wrong && strcmp(status_of(one), "error") == 0;
        diverged |= wrong && (strcmp(status_of(one), "diverged") == 0 || strcmp(status_of(one), "parity") == 0);
    }
    return all         ? STATUS_OK
           : diverged  ? STATUS_DIVERGED
           : undecided ? STATUS_UNDECIDED
           : error     ? STATUS_BAD_INPUT
                       : STATUS_OK;
}
