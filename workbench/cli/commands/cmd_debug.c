/* lockstep debug: opens a session on both sides and gives it to the prompt. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "workbench/cli/commands/option_values.h"
#include "workbench/debugger/repl.h"
#include "workbench/debugger/run/capture.h"
#include "workbench/debugger/saved_session.h"
#include "workbench/probes/probe_lines.h"
#include "workbench/python/import.h"
#include "workbench/python/prompt_tokens.h"
#include "workbench/trace/version.h"

#define MIN_POSITIONS 1024 /* of the KV cache: `restart` must have room for longer prompts */

/* The files of --golden and --trace, and the trace categories that --trace may name instead; NULL: not given. */
struct files {
    struct trace *golden, *foreign;
    const char *path, *categories; /* of --trace; borrowed */
};

/* *trace is malloc'ed; NULL if the option is not given. */
static enum status read_file(const char *path, const char *model, struct trace **trace, struct error *err)
{
    const struct import_options import = {.model = model};
    *trace = NULL;
    if (path == NULL) {
        return STATUS_OK;
    }
    *trace = xcalloc(1, sizeof(**trace));
    enum status status = import_read(*trace, path, &import, err);
    if (status != STATUS_OK) {
        free(*trace);
        *trace = NULL;
    }
    return status;
}

static void free_file(struct trace *trace)
{
    if (trace != NULL) {
        trace_free(trace);
        free(trace);
    }
}

static void files_free(const struct files *files)
{
    free_file(files->golden);
    free_file(files->foreign);
}

/* Refuses what is neither a file nor categories, by the word that is none; a name with a point or a slash is meant as a
 * file, and is refused as one. */
static enum status check_trace(const char *text, struct error *err)
{
    struct probe_config unused = {0};
    bool word = strpbrk(text, "./") == NULL && access(text, F_OK) != 0;
    return word ? probe_config_set_categories(&unused, text, err) : STATUS_OK;
}

/* Tells --trace T.h5 from --trace attn,ffn: a file of this name goes first. */
static enum status choose_traces(const struct arguments *arguments, struct files *files, struct error *err)
{
    const char *const given[] = {arguments->trace, arguments->second_trace};
    for (int i = 0; i < 2; i++) {
        const char **field = given[i] != NULL && is_category_list(given[i]) ? &files->categories : &files->path;
        if (given[i] != NULL && *field != NULL) {
            return error_set(err, STATUS_USAGE, NULL, "--trace", ERROR_NO_OFFSET,
                             "%s and %s, expected at most one file and one list of categories", *field, given[i]);
        }
        *field = given[i] != NULL ? given[i] : *field;
        TRY(given[i] != NULL ? check_trace(given[i], err) : STATUS_OK);
    }
    return STATUS_OK;
}

static enum status files_read(const struct arguments *arguments, struct files *files, struct error *err)
{
    *files = (struct files){0};
    TRY(choose_traces(arguments, files, err));
    enum status status = read_file(arguments->golden, arguments->positional[0], &files->golden, err);
    if (status == STATUS_OK) {
        status = read_file(files->path, arguments->positional[0], &files->foreign, err);
    }
    if (status == STATUS_OK && files->golden != NULL && files->foreign != NULL) {
        status = trace_check_same_tokens(files->foreign, files->golden, err);
    }
    if (status != STATUS_OK) {
        files_free(files);
    }
    return status;
}

static enum status files_check(const struct files *files, const struct plan *plan, struct error *err)
{
    TRY(files->golden != NULL ? trace_check_plan(files->golden, plan, err) : STATUS_OK);
    return files->foreign != NULL ? trace_check_plan(files->foreign, plan, err) : STATUS_OK;
}

static enum status open_session(const struct arguments *arguments, const struct files *files, struct session *session,
                                struct error *err)
{
    bool engine = files->foreign == NULL, reference = true;
    TRY(parse_on(arguments->on, &engine, &reference, err));
    if (engine && files->foreign != NULL) {
        return error_set(err, STATUS_USAGE, NULL, "--on", ERROR_NO_OFFSET,
                         "\"%s\" with --trace, whose file takes the engine's place", arguments->on);
    }
    if (arguments->faults.n > 0 && !engine) {
        return error_set(err, STATUS_USAGE, NULL, "--fault", ERROR_NO_OFFSET,
                         "is planted in the engine, which does not run");
    }
    const struct trace *tokens = files->golden != NULL ? files->golden : files->foreign;
    uint32_t n_golden = tokens != NULL ? tokens->n_positions : 0;
    struct session_options options = {
        .engine = engine,
        .reference = reference,
        .device = arguments->device,
        .max_positions = n_golden > MIN_POSITIONS ? n_golden : MIN_POSITIONS,
        .faults = arguments->faults.text,
        .n_faults = arguments->faults.n,
        .weights = arguments->weights,
    };
    TRY(parse_kernels(arguments, engine, &options.kernels, err));
    return session_open(session, arguments->positional[0], &options, err);
}

/* Starts a run on the tokens of --prompt or --ids. Without them the golden's tokens are the run, or there is none. */
static enum status set_tokens(const struct arguments *arguments, struct repl *repl, struct error *err)
{
    if (arguments->prompt == NULL && arguments->ids == NULL && arguments->chat == NULL) {
        return STATUS_OK;
    }
    int32_t *ids;
    uint32_t n_ids, n_decoded = arguments->n < 0 ? REPL_DECODE : (uint32_t)arguments->n;
    const struct prompt given = {arguments->prompt, arguments->ids, arguments->chat};
    TRY(prompt_tokens(&given, &repl->session->model, &ids, &n_ids, err));
    enum status status = repl_restart(repl, ids, n_ids, n_decoded, err);
    free(ids);
    return status;
}

/* What a person has to know before the first command. */
static void print_banner(const struct repl *repl)
{
    const struct model *model = &repl->session->model;
    const struct trace *file = repl->golden != NULL ? repl->golden : repl->foreign;
    printf("lockstep %s; help lists the commands, quit ends\n", version_number());
    printf("  model    %s: %s, %u layers, %s\n", model->path, model->config.model_type, model->config.n_layers,
           model->weights_dtype);
    if (repl->session->on[SOURCE_ENGINE]) {
        printf("  device   %s\n", engine_device(&repl->session->backend[SOURCE_ENGINE])->name);
    } else {
        printf("  device   none: %s\n",
               repl->foreign != NULL ? "the trace is in the engine's place" : "the reference alone runs");
    }
    if (repl->foreign != NULL) {
        printf("  trace    %s, by %s\n", repl->foreign->path, repl->foreign->producer);
    }
    if (repl->golden != NULL) {
        printf("  golden   %s, by %s\n", repl->golden->path, repl->golden->producer);
    } else {
        printf("  golden   none: nothing says what transformers computes; load golden FILE adds one\n");
    }
    for (uint32_t i = 0; i < repl->settings.n_faults; i++) {
        printf("  fault    %s is planted in the engine\n", repl->settings.faults[i]);
    }
    uint32_t n_decode = 0;
    for (uint32_t p = 0; p < repl->capacity; p++) {
        n_decode += repl->phase[p] == PHASE_DECODE;
    }
    if (repl->capacity == 0) {
        printf("  tokens   none; first: restart --prompt TEXT, or restart --ids 1,2,3\n");
    } else {
        printf("  tokens   %u of the prompt, %s%u to decode\n  first    until diverge\n", repl->capacity - n_decode,
               file == NULL ? "at most " : "", n_decode);
    }
}

/* Sets the prompt up as the options say. */
static enum status set_up(const struct arguments *arguments, const char *categories, struct repl *repl,
                          struct error *err)
{
    const struct probe_options probes = parse_probe_options(arguments, categories);
    repl_settings_free(&repl->settings);
    repl_settings_init(&repl->settings, arguments->device, arguments->faults.text, arguments->faults.n);
    TRY(parse_kernels(arguments, repl->session->on[SOURCE_ENGINE], &repl->settings.kernels, err));
    TRY(probe_config_read_options(repl->config, &probes, repl->plan, err));
    if (repl->config->given) {
        bool on = repl->session->on[SOURCE_ENGINE];
        probe_lines_print_config(repl->config, repl->plan,
                                 on ? engine_device(&repl->session->backend[SOURCE_ENGINE])->name : "reference");
        probe_lines_print_loader(repl->config, &repl->session->model, repl->session->load_ms);
    }
    TRY(repl_update_capture(repl, err));
    TRY(set_tokens(arguments, repl, err));
    return repl_check_kernels(repl, &repl->settings.kernels, "--kernel", err);
}

/* Runs the script of -x, and reads commands where it is wanted. */
static enum status read_commands(const struct arguments *arguments, struct repl *repl, struct error *err)
{
    if (arguments->script != NULL && !arguments->interactive) {
        return repl_run_script(repl, arguments->script, err);
    }
    if (arguments->script != NULL && repl_run_script(repl, arguments->script, err) != STATUS_OK) {
        fprintf(stderr, "lockstep: %s\n", err->text); /* the prompt is where to look why */
    }
    if (isatty(STDIN_FILENO)) {
        print_banner(repl);
    }
    err->text[0] = '\0'; /* the loop prints its own errors */
    return repl_loop(repl);
}

/* Opens model, files and prompt; the session in it is malloc'ed. */
static enum status open_prompt(const struct arguments *arguments, struct repl *repl, struct error *err)
{
    struct files files;
    TRY(files_read(arguments, &files, err));
    bool has_file = files.golden != NULL || files.foreign != NULL;
    if (has_file && (arguments->prompt != NULL || arguments->ids != NULL || arguments->chat != NULL)) {
        bool golden = files.golden != NULL;
        files_free(&files);
        return error_set(err, STATUS_USAGE, NULL, golden ? "--golden" : "--trace", ERROR_NO_OFFSET,
                         "given with --prompt, --chat or --ids, but a %s has its own tokens",
                         golden ? "golden" : "trace");
    }
    struct session *session = xcalloc(1, sizeof(*session));
    enum status status = open_session(arguments, &files, session, err);
    if (status != STATUS_OK) {
        files_free(&files);
        free(session);
        return status;
    }
    status = files_check(&files, &session->plan, err);
    if (status != STATUS_OK) {
        files_free(&files);
        session_close(session);
        free(session);
        return status;
    }
    repl_open(repl, session, files.golden, files.foreign); /* takes the files over */
    status = set_up(arguments, files.categories, repl, err);
    if (status != STATUS_OK) {
        repl_close(repl);
        session_close(session);
        free(session);
    }
    return status;
}

/* What a session holds cannot be given beside it. */
static enum status check_resume_alone(const struct arguments *arguments, struct error *err)
{
    const char *const given[] = {arguments->positional[0],
                                 arguments->golden,
                                 arguments->trace,
                                 arguments->prompt,
                                 arguments->ids,
                                 arguments->chat,
                                 arguments->on,
                                 arguments->preset,
                                 arguments->trace_layers,
                                 arguments->weights,
                                 arguments->device,
                                 arguments->configs.text[0],
                                 arguments->faults.text[0],
                                 arguments->kernel_choices.text[0]};
    for (size_t i = 0; i < sizeof(given) / sizeof(given[0]); i++) {
        if (given[i] != NULL || arguments->n >= 0) {
            return error_set(err, STATUS_USAGE, NULL, "--resume", ERROR_NO_OFFSET,
                             "given with %s, but a session has its own model and options",
                             given[i] != NULL ? given[i] : "-n");
        }
    }
    return STATUS_OK;
}

enum status command_debug(const struct arguments *arguments, struct error *err)
{
    struct repl repl;
    if (arguments->resume_file == NULL) {
        TRY(open_prompt(arguments, &repl, err));
    } else {
        TRY(check_resume_alone(arguments, err));
        TRY(saved_session_open(&repl, arguments->resume_file, err));
    }
    enum status status = read_commands(arguments, &repl, err);
    transcript_end();
    struct session *session = repl.session; /* `resume` puts another in its place */
    repl_close(&repl);
    session_close(session);
    free(session);
    return status;
}
