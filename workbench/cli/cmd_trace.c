/* lockstep trace: one side runs, and every stage (or those asked for) is written to a file. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "workbench/cli/options.h"
#include "workbench/session/progress.h"
#include "workbench/trace/stage_list.h"

/* What is asked for. */
struct request {
    int32_t *ids;        /* the prompt */
    int32_t *decode_ids; /* NULL: chosen as session.sampling says */
    uint32_t n_ids, n_decode;
};

/* All positions' tokens and phases: the prompt, then what is decoded. */
struct run {
    int32_t *tokens;
    uint8_t *phase;
    uint32_t n;
};

/* The prompt, then decode_ids, or as many tokens as are asked for, chosen by a run of their own. */
static enum status choose_tokens(struct session *session, enum source source, const struct request *request,
                                 struct run *run, struct error *err)
{
    uint32_t n_prompt = request->n_ids, n_decode = request->n_decode;
    run->n = n_prompt + n_decode;
    run->tokens = xcalloc(run->n, sizeof(*run->tokens));
    run->phase = xcalloc(run->n, sizeof(*run->phase));
    memcpy(run->tokens, request->ids, n_prompt * sizeof(*run->tokens));
    memset(run->phase + n_prompt, PHASE_DECODE, n_decode);
    if (request->decode_ids != NULL) {
        memcpy(run->tokens + n_prompt, request->decode_ids, n_decode * sizeof(*run->tokens));
        return check_ids(&session->model, request->decode_ids, n_decode, err);
    }
    uint32_t n_chosen = 0;
    const struct generate_options options = {.prompt = run->tokens, .n_prompt = n_prompt, .n = n_decode};
    enum status status = session_generate(session, source, &options, run->tokens + n_prompt, &n_chosen, err);
    run->n = n_prompt + n_chosen; /* fewer where the text ends */
    return status;
}

static enum status write_trace(const struct arguments *arguments, struct session *session, enum source source,
                               struct trace *trace, struct error *err)
{
    char producer[64];
    snprintf(producer, sizeof(producer), "lockstep %s", source_name(source));
    free(trace->producer);
    trace->producer = xstrdup(producer);
    enum status status = model_digests(&session->model, trace->weights_sha256, trace->config_sha256, err);
    if (status == STATUS_OK) {
        status = trace_write(trace, arguments->output, err);
    }
    if (status == STATUS_OK) {
        printf("%s: %u stages of %u positions, by the %s\n", arguments->output, trace->n_stages, trace->n_positions,
               source_name(source));
    }
    return status;
}

static enum status record(const struct arguments *arguments, struct session *session, enum source source,
                          const bool *stages, const struct request *request, struct error *err)
{
    struct run run;
    struct trace trace;
    enum status status = choose_tokens(session, source, request, &run, err);
    if (status == STATUS_OK) {
        const struct record_options options = {
            .n_positions = run.n,
            .tokens = run.tokens,
            .phase = run.phase,
            .stages = stages,
            .progress = progress_show,
            .progress_context = (void *)(uintptr_t) "trace: position",
        };
        status = session_record(session, source, &options, &trace, err);
    }
    if (status == STATUS_OK) {
        status = write_trace(arguments, session, source, &trace, err);
        trace_free(&trace);
    }
    free(run.phase);
    free(run.tokens);
    return status;
}

enum status command_trace(const struct arguments *arguments, struct error *err)
{
    enum source source;
    bool stages[STAGE_COUNT];
    struct request request = {0};
    enum status status = parse_on_one(arguments->on, &source, err);
    if (status == STATUS_OK && arguments->output == NULL) {
        status = error_set(err, STATUS_USAGE, NULL, "-o", ERROR_NO_OFFSET, "not given, expected the file to write");
    }
    if (status == STATUS_OK && arguments->stages != NULL) {
        status = stage_list_parse(arguments->stages, stages, err);
    }
    struct sampling sampling;
    if (status == STATUS_OK) {
        status = parse_sampling(arguments, &sampling, err);
    }
    if (status == STATUS_OK) {
        status = parse_decoded(arguments, &request.decode_ids, &request.n_decode, err);
    }
    if (status != STATUS_OK) {
        return status;
    }
    struct session session;
    status = open_with_tokens(arguments, source == SOURCE_ENGINE, source == SOURCE_REFERENCE, false, request.n_decode,
                              &session, &request.ids, &request.n_ids, err);
    if (status == STATUS_OK) {
        session.sampling = sampling;
        session.samples = sampling.temperature > 0 || (request.decode_ids == NULL && request.n_decode > 0);
        status = record(arguments, &session, source, arguments->stages != NULL ? stages : NULL, &request, err);
        session_close(&session);
    }
    free(request.ids);
    free(request.decode_ids);
    return status;
}
