/* lockstep debug: opens a session on both sides and gives it to the prompt. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "workbench/cli/commands/option_values.h"
#include "workbench/debugger/capture.h"
#include "workbench/debugger/repl.h"
#include "workbench/probes/probe_lines.h"
#include "workbench/python/prompt_tokens.h"

#define MIN_POSITIONS 1024 /* of the KV cache: `restart` must have room for longer prompts */

/* Reads --golden. *golden is malloc'ed; NULL if the option is not given. */
static enum status read_golden(const char *path, struct trace **golden, struct error *err)
{
    *golden = NULL;
    if (path == NULL) {
        return STATUS_OK;
    }
    *golden = xcalloc(1, sizeof(**golden));
    enum status status = trace_read(*golden, path, err);
    if (status != STATUS_OK) {
        free(*golden);
        *golden = NULL;
    }
    return status;
}

static enum status open_session(const struct arguments *arguments, const struct trace *golden, struct session *session,
                                struct error *err)
{
    bool engine = true, reference = true;
    TRY(parse_on(arguments->on, &engine, &reference, err));
    uint32_t n_golden = golden != NULL ? golden->n_positions : 0;
    struct session_options options = {
        .engine = engine,
        .reference = reference,
        .device = arguments->device,
        .max_positions = n_golden > MIN_POSITIONS ? n_golden : MIN_POSITIONS,
        .faults = arguments->faults.text,
        .n_faults = arguments->faults.n,
        .weights = arguments->weights,
    };
    return session_open(session, arguments->positional[0], &options, err);
}

/* Starts a run on the tokens of --prompt or --ids. Without them the golden's tokens are the run, or there is none. */
static enum status set_tokens(const struct arguments *arguments, struct repl *repl, struct error *err)
{
    if (arguments->prompt == NULL && arguments->ids == NULL) {
        return STATUS_OK;
    }
    int32_t *ids;
    uint32_t n_ids, n_decoded = arguments->n < 0 ? REPL_DECODE : (uint32_t)arguments->n;
    const struct prompt given = {arguments->prompt, arguments->ids};
    TRY(prompt_tokens(&given, &repl->session->model, &ids, &n_ids, err));
    enum status status = repl_restart(repl, ids, n_ids, n_decoded, err);
    free(ids);
    return status;
}

/* Sets the prompt up as the options say, then reads its commands. */
static enum status debug(const struct arguments *arguments, struct repl *repl, struct error *err)
{
    repl_settings_free(&repl->settings);
    repl_settings_init(&repl->settings, arguments->device, arguments->faults.text, arguments->faults.n);
    TRY(probe_config_read_options(repl->config, arguments->preset, arguments->config, repl->plan, err));
    if (repl->config->given) {
        bool on = repl->session->on[SOURCE_ENGINE];
        probe_lines_print_config(repl->config, repl->plan,
                                 on ? engine_device(&repl->session->backend[SOURCE_ENGINE])->name : "reference");
    }
    TRY(repl_update_capture(repl, err));
    TRY(set_tokens(arguments, repl, err));
    if (arguments->script != NULL) {
        return repl_run_script(repl, arguments->script, err);
    }
    if (isatty(STDIN_FILENO)) {
        printf("lockstep: %s; help lists the commands\n", repl->session->model.path);
    }
    err->text[0] = '\0'; /* the loop prints its own errors */
    return repl_loop(repl);
}

static void free_golden(struct trace *golden)
{
    if (golden != NULL) {
        trace_free(golden);
        free(golden);
    }
}

enum status command_debug(const struct arguments *arguments, struct error *err)
{
    if (arguments->golden != NULL && (arguments->prompt != NULL || arguments->ids != NULL)) {
        return error_set(err, STATUS_USAGE, NULL, "--golden", ERROR_NO_OFFSET,
                         "given with --prompt or --ids, but a golden has its own tokens");
    }
    struct trace *golden;
    struct session session;
    TRY(read_golden(arguments->golden, &golden, err));
    enum status status = open_session(arguments, golden, &session, err);
    if (status != STATUS_OK) {
        free_golden(golden);
        return status;
    }
    status = golden != NULL ? trace_check_plan(golden, &session.plan, err) : STATUS_OK;
    if (status != STATUS_OK) {
        free_golden(golden);
        session_close(&session);
        return status;
    }
    struct repl repl;
    repl_open(&repl, &session, golden); /* takes the golden over */
    status = debug(arguments, &repl, err);
    repl_close(&repl);
    session_close(&session);
    return status;
}
