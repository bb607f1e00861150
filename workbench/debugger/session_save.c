/* save: writes a session. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "workbench/debugger/saved_session.h"
#include "workbench/probes/probe_config.h"
#include "workbench/session/digest/file_digest.h"
#include "workbench/text/terminal.h"
#include "workbench/trace/json_file.h"
#include "workbench/trace/version.h"

/* Puts a text; where there is none, no key. */
static void put_text(json_t *object, const char *key, const char *text)
{
    if (text != NULL) {
        json_put(object, key, json_text(text));
    }
}

/* A path as it was given, and one that holds in every folder. */
static void put_path(json_t *object, const char *path)
{
    char whole[PATH_MAX];
    json_put(object, "path", json_text(path));
    json_put(object, "whole_path", json_text(realpath(path, whole) != NULL ? whole : path));
}

/* {"path", "sha256"} of a file that the session reads. */
static enum status put_file(json_t *object, const char *key, const char *path, struct error *err)
{
    char hex[65];
    TRY(file_sha256(path, hex, err));
    json_t *file = json_pack("{s:s}", "sha256", hex);
    put_path(file, path);
    json_put(object, key, file);
    return STATUS_OK;
}

static enum status put_model(const struct repl *repl, json_t *root, struct error *err)
{
    char weights[65], config[65];
    TRY(model_digests(&repl->session->model, weights, config, err));
    json_t *model = json_pack("{s:s, s:s}", "weights_sha256", weights, "config_sha256", config);
    put_path(model, repl->session->model.path);
    json_put(root, "model", model);
    return STATUS_OK;
}

/* Writes rows beside the session, in a trace file, and names it. */
static enum status put_rows(const struct trace *trace, const char *path, const char *name, json_t *object,
                            struct error *err)
{
    char file[PATH_MAX];
    snprintf(file, sizeof(file), "%s.%s.h5", path, name);
    TRY(trace_write(trace, file, err));
    return put_file(object, "rows", file, err);
}

/* A golden that was recorded at the prompt is in no file. */
static enum status put_golden(const struct repl *repl, const char *path, json_t *root, struct error *err)
{
    if (repl->golden == NULL) {
        return STATUS_OK;
    }
    if (repl->golden->from_file) {
        return put_file(root, "golden", repl->golden->path, err);
    }
    json_t *object = json_object();
    enum status status = put_rows(repl->golden, path, "golden", object, err);
    if (status == STATUS_OK) {
        json_put(root, "golden", json_incref(json_object_get(object, "rows")));
    }
    json_decref(object);
    return status;
}

static void put_options(const struct repl *repl, json_t *root)
{
    const struct repl_settings *settings = &repl->settings;
    const struct session *session = repl->session;
    json_t *faults = json_array(), *kernels = json_array(), *object = json_object();
    bool engine = session->on[SOURCE_ENGINE];
    for (uint32_t i = 0; i < settings->n_faults; i++) {
        json_push(faults, json_text(settings->faults[i]));
    }
    for (unsigned stage = 0; stage < STAGE_COUNT; stage++) {
        char text[128];
        if (settings->kernels.of_stage[stage] != KERNEL_AUTO) {
            snprintf(text, sizeof(text), "%s=%s", stage_name((enum stage)stage),
                     stage_kernel_name((enum stage_kernel)settings->kernels.of_stage[stage]));
            json_push(kernels, json_string(text));
        }
    }
    json_put(object, "engine", json_boolean(engine));
    json_put(object, "reference", json_boolean(session->on[SOURCE_REFERENCE]));
    json_put(object, "max_positions", json_integer(session->backend[repl_running_source(repl)].max_positions));
    put_text(object, "device", settings->device);
    put_text(object, "device_name", engine ? engine_device(&session->backend[SOURCE_ENGINE])->name : NULL);
    put_text(object, "weights", session->weights);
    json_put(object, "faults", faults);
    json_put(object, "kernels", kernels);
    put_text(object, "shaders", settings->shaders);
    put_text(object, "compiled", settings->compiled);
    json_put(object, "decode", json_integer(settings->decode));
    json_put(object, "width", json_integer(terminal_width_is_set() ? terminal_width() : 0));
    json_put(object, "errors_continue", json_boolean(settings->errors_continue));
    json_put(object, "fuse", json_boolean(!settings->no_fuse));
    json_put(root, "options", object);
}

static json_t *place_json(const struct step *step)
{
    return json_pack("{s:o, s:s}", "layer", json_layer(step->layer), "stage", stage_name(step->stage));
}

static json_t *breakpoints(const struct repl *repl)
{
    static const char *const conditions[] = {"always", "nan", "maxabs", "ratio"};
    json_t *array = json_array();
    for (uint32_t i = 0; i < repl->n_breakpoints; i++) {
        const struct repl_breakpoint *point = &repl->breakpoints[i];
        json_t *object = point->diverge ? json_object() : place_json(&repl->plan->steps[point->step]);
        json_put(object, "number", json_integer(point->number));
        json_put(object, "diverge", json_boolean(point->diverge));
        json_put(object, "condition", json_string(conditions[point->condition]));
        json_put(object, "limit", json_number_or_text(point->limit));
        json_push(array, object);
    }
    return array;
}

static enum status put_patches(const struct repl *repl, json_t *root, struct error *err)
{
    json_t *array = json_array();
    json_put(root, "patches", array);
    for (uint32_t i = 0; i < repl->n_patches; i++) {
        const struct repl_patch *patch = &repl->patches[i];
        json_t *object = place_json(&repl->plan->steps[patch->step]);
        json_push(array, object);
        if (patch->kind == PATCH_FILE) {
            TRY(put_file(object, "file", patch->file->path, err));
        } else if (patch->kind == PATCH_SCALE) {
            json_put(object, "scale", json_number_or_text(patch->scale));
        } else {
            json_put(object, "from", json_string(source_name(patch->source)));
        }
    }
    return STATUS_OK;
}

static json_t *numbers(const uint32_t *values, uint32_t n)
{
    json_t *array = json_array();
    for (uint32_t i = 0; i < n; i++) {
        json_push(array, json_integer(values[i]));
    }
    return array;
}

/* Which kernels made the steps of a batch: [shader, variant, dispatch, first step, steps, lanes, groups], or null. */
static json_t *kernels(const struct repl *repl, const struct repl_batch *batch)
{
    json_t *array = json_array();
    for (uint32_t s = 0; s < repl->plan->n_steps; s++) {
        const struct engine_kernel *kernel = &batch->kernels[s];
        if (kernel->shader == NULL) {
            json_push(array, json_null());
            continue;
        }
        json_push(array,
                  json_pack("[s, s?, i, i, i, i, i]", kernel->shader, kernel->variant, (int)kernel->dispatch,
                            (int)kernel->first_step, (int)kernel->n_steps, (int)kernel->lanes, (int)kernel->groups));
    }
    return array;
}

/* Whether a side would make all of its rows again. */
static bool is_uniform(const struct repl *repl, uint32_t i)
{
    bool uniform = true;
    for (uint32_t b = 0; b < repl->n_batches; b++) {
        const struct repl_batch *batch = &repl->batches[b];
        uniform = uniform && batch->version[i] == repl->sides[i].version && batch->from[i] == 0;
    }
    return uniform;
}

static json_t *batches(const struct repl *repl, bool with_kernels)
{
    json_t *array = json_array();
    for (uint32_t b = 0; b < repl->n_batches; b++) {
        const struct repl_batch *batch = &repl->batches[b];
        json_t *object =
            json_pack("{s:i, s:i, s:o, s:o}", "first", (int)batch->first, "rows", (int)batch->n_rows, "versions",
                      numbers(batch->version, repl->n_sides), "from", numbers(batch->from, repl->n_sides));
        if (with_kernels) {
            json_put(object, "kernels", kernels(repl, batch));
        }
        json_push(array, object);
    }
    return array;
}

/* A side's trace with the rows of the current batch that were made ahead of the position. Shares the rows; the caller
 * frees `stages` and their marks. */
static struct trace made_rows(const struct repl *repl, const struct repl_side *side, const char *producer)
{
    struct trace made = *side->trace;
    made.producer = (char *)(uintptr_t)producer;
    made.stages = xcalloc((uint64_t)made.n_stages + 1, sizeof(*made.stages));
    made.n_stages = 0;
    for (uint32_t i = 0; i < side->trace->n_stages; i++) {
        struct trace_stage stage = side->trace->stages[i];
        int32_t step = plan_find(repl->plan, stage.layer, stage.stage);
        stage.recorded = xcalloc(made.n_positions, 1);
        memcpy(stage.recorded, side->trace->stages[i].recorded, made.n_positions);
        bool ahead = step >= (int32_t)repl->next && step < (int32_t)side->made;
        for (uint32_t p = repl->first; ahead && p < made.n_positions; p++) {
            stage.n_recorded += !stage.recorded[p];
            stage.recorded[p] = 1;
        }
        if (stage.n_recorded > 0) {
            made.stages[made.n_stages++] = stage;
        } else {
            free(stage.recorded);
        }
    }
    return made;
}

static enum status put_made_rows(const struct repl *repl, const struct repl_side *side, const char *path,
                                 json_t *object, struct error *err)
{
    char producer[64];
    snprintf(producer, sizeof(producer), "lockstep %s", source_name(side->source));
    struct trace made = made_rows(repl, side, producer);
    enum status status = put_rows(&made, path, source_name(side->source), object, err);
    for (uint32_t i = 0; i < made.n_stages; i++) {
        free(made.stages[i].recorded);
    }
    free(made.stages);
    return status;
}

static enum status put_run(const struct repl *repl, const char *path, json_t *root, struct error *err)
{
    json_t *sides = json_array(), *tokens = json_array(), *run = json_object();
    bool any_rows = false;
    json_put(root, "run", run);
    json_put(run, "sides", sides);
    for (uint32_t i = 0; i < repl->n_sides; i++) {
        const struct repl_side *side = &repl->sides[i];
        char hex[65];
        trace_rows_sha256(side->trace, hex);
        json_t *object =
            json_pack("{s:s, s:i, s:i, s:s}", "source", source_name(side->source), "version", (int)side->version,
                      "made", (int)side->made, "rows_sha256", side->backend != NULL ? hex : "");
        json_push(sides, object);
        if (side->backend != NULL && !is_uniform(repl, i)) {
            any_rows = true;
            TRY(put_made_rows(repl, side, path, object, err));
        }
    }
    for (uint32_t p = 0; p < repl->n_known; p++) {
        json_push(tokens, json_integer(repl->tokens[p]));
    }
    json_put(run, "tokens", tokens);
    json_put(run, "n_prompt", json_integer(repl->n_prompt));
    json_put(run, "capacity", json_integer(repl->capacity));
    json_put(run, "next", json_integer(repl->next));
    json_put(run, "batches", batches(repl, any_rows));
    return STATUS_OK;
}

/* Adds everything to the document. */
static enum status fill(const struct repl *repl, const char *path, json_t *root, struct error *err)
{
    json_put(root, "format", json_string(SESSION_FORMAT));
    json_put(root, "version", json_integer(SESSION_VERSION));
    json_put(root, "lockstep", json_string(version_number()));
    json_put(root, "commit", json_string(version_commit()));
    TRY(put_model(repl, root, err));
    TRY(put_golden(repl, path, root, err));
    TRY(repl->foreign != NULL ? put_file(root, "trace", repl->foreign->path, err) : STATUS_OK);
    put_options(repl, root);
    json_put(root, "config", probe_config_write(repl->config));
    json_put(root, "config_given", json_boolean(repl->config->given));
    json_put(root, "breakpoints", breakpoints(repl));
    json_put(root, "last_breakpoint", json_integer(repl->last_breakpoint));
    TRY(put_patches(repl, root, err));
    put_text(root, "last_run", repl->last_run);
    json_put(root, "last_from", json_integer((json_int_t)repl->last_from));
    json_put(root, "last_to", json_integer((json_int_t)repl->last_to));
    return put_run(repl, path, root, err);
}

/* A session may replace a session, and no other file. */
static enum status check_target(const char *path, struct error *err)
{
    FILE *file = fopen(path, "rb");
    char head[256] = "";
    if (file == NULL) {
        return STATUS_OK; /* not there, or writing it says why not */
    }
    size_t n = fread(head, 1, sizeof(head) - 1, file);
    fclose(file);
    head[n] = '\0';
    return n == 0 || strstr(head, SESSION_FORMAT) != NULL
               ? STATUS_OK
               : error_set(err, STATUS_USAGE, path, NULL, ERROR_NO_OFFSET, "is no session, expected another file");
}

enum status saved_session_write(struct repl *repl, const char *path, struct error *err)
{
    TRY(check_target(path, err));
    for (uint32_t i = 0; i < repl->n_sides; i++) {
        if (repl->sides[i].lost) {
            return error_set(err, STATUS_USAGE, NULL, "save", ERROR_NO_OFFSET, "the %s is lost, expected set device",
                             source_name(repl->sides[i].source));
        }
    }
    json_t *root = json_object();
    enum status status = fill(repl, path, root, err);
    if (status != STATUS_OK) {
        json_decref(root);
        return status;
    }
    return json_write_file(root, path, err);
}
