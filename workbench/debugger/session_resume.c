/* resume: opens a session as it was saved. */
#include <stdlib.h>
#include <string.h>

#include "workbench/debugger/run/capture.h"
#include "workbench/debugger/saved_session.h"
#include "workbench/debugger/session_reading.h"

/* Checks the model's digests and opens its sides. */
static enum status open_model(const struct session_reading *in, const struct saved_options *options,
                              struct session *session)
{
    const char *path, *weights_was, *config_was;
    char weights[65], config[65];
    json_t *model = json_object_get(in->root, "model");
    UNPACK(in, model, "{s:s, s:s}", "weights_sha256", &weights_was, "config_sha256", &config_was);
    TRY(session_choose_path(in, model, &path));
    const struct session_options wish = {
        .engine = options->engine != 0,
        .reference = options->reference != 0,
        .device = options->device,
        .max_positions = (uint32_t)options->max_positions,
        .faults = options->fault_texts,
        .n_faults = options->n_faults,
        .shader_dir = options->compiled,
        /* it outlives the document that the text is borrowed from */
        .weights = options->weights == NULL               ? NULL
                   : strcmp(options->weights, "f16") == 0 ? "f16"
                                                          : "f32",
        .kernels = options->choices,
    };
    TRY(session_open(session, path, &wish, in->err));
    enum status status = model_digests(&session->model, weights, config, in->err);
    status = status == STATUS_OK ? session_check_digest(in, "weights", path, weights_was, weights) : status;
    status = status == STATUS_OK ? session_check_digest(in, "config", path, config_was, config) : status;
    if (status != STATUS_OK) {
        session_close(session);
    }
    return status;
}

/* The prompt's state, on an open session. */
static enum status fill(const struct session_reading *in, const struct saved_options *options, struct repl *repl)
{
    json_t *last_run = json_object_get(in->root, "last_run");
    TRY(session_read_settings(in, options, repl));
    TRY(repl_update_capture(repl, in->err));
    TRY(session_read_run(in, repl));
    if (json_is_string(last_run)) {
        repl->last_run = xstrdup(json_string_value(last_run));
        repl->last_from = (uint64_t)json_integer_value(json_object_get(in->root, "last_from"));
        repl->last_to = (uint64_t)json_integer_value(json_object_get(in->root, "last_to"));
    }
    return STATUS_OK;
}

/* Opens model and prompt. golden and foreign become the prompt's, on failure too. */
static enum status open_all(const struct session_reading *in, struct repl *repl, struct trace *golden,
                            struct trace *foreign)
{
    struct saved_options options;
    struct session *session = xcalloc(1, sizeof(*session));
    enum status status = session_read_options(in, &options);
    status = status == STATUS_OK ? open_model(in, &options, session) : status;
    if (status != STATUS_OK) {
        session_free_trace(golden);
        session_free_trace(foreign);
        free(session);
        return status;
    }
    status = golden != NULL ? trace_check_plan(golden, &session->plan, in->err) : STATUS_OK;
    status = status == STATUS_OK && foreign != NULL ? trace_check_plan(foreign, &session->plan, in->err) : status;
    if (status != STATUS_OK) {
        session_free_trace(golden);
        session_free_trace(foreign);
        session_close(session);
        free(session);
        return status;
    }
    repl_open(repl, session, golden, foreign);
    status = fill(in, &options, repl);
    if (status != STATUS_OK) {
        repl_close(repl);
        session_close(session);
        free(session);
    }
    return status;
}

static enum status open_document(const struct session_reading *in, struct repl *repl)
{
    const char *format = json_string_value(json_object_get(in->root, "format"));
    struct trace *golden, *foreign;
    int version = (int)json_integer_value(json_object_get(in->root, "version"));
    if (format == NULL || strcmp(format, SESSION_FORMAT) != 0 || version != SESSION_VERSION) {
        return session_malformed(in, "is no session of this version, expected a file that save wrote");
    }
    TRY(session_read_trace(in, "golden", json_object_get(in->root, "golden"), &golden));
    enum status status = session_read_trace(in, "trace", json_object_get(in->root, "trace"), &foreign);
    if (status != STATUS_OK) {
        session_free_trace(golden);
        return status;
    }
    return open_all(in, repl, golden, foreign);
}

enum status saved_session_open(struct repl *repl, const char *path, struct error *err)
{
    json_error_t json_error;
    json_t *root = json_load_file(path, JSON_REJECT_DUPLICATES, &json_error);
    if (root == NULL) {
        return error_set(err, STATUS_BAD_INPUT, path, "session", ERROR_NO_OFFSET, "%s", json_error.text);
    }
    const struct session_reading in = {path, root, err};
    enum status status = open_document(&in, repl);
    json_decref(root);
    return status;
}
