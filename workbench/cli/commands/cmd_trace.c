/* lockstep trace: one side runs, and all stages, or those that are asked for, are written to a file. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "workbench/cli/commands/option_values.h"
#include "workbench/session/progress.h"
#include "workbench/trace/stage_list.h"

/* What is recorded, and of whom. */
struct recording {
    const struct arguments *arguments;
    struct session *session;
    enum source source;
    const bool *stages; /* [STAGE_COUNT]; NULL: all */
    struct token_list prompt, decoded;
};

/* Tokens and phases of all positions: the prompt, then what is decoded. */
struct positions {
    int32_t *tokens;
    uint8_t *phase;
    uint32_t n;
};

/* Fills in the prompt, then --decode-ids. Without those, a run of their own chooses as many tokens as -n asks for. */
static enum status choose_tokens(const struct recording *recording, struct positions *positions, struct error *err)
{
    uint32_t n_prompt = recording->prompt.n, n_decoded = recording->decoded.n;
    positions->n = n_prompt + n_decoded;
    positions->tokens = xcalloc(positions->n, sizeof(*positions->tokens));
    positions->phase = xcalloc(positions->n, sizeof(*positions->phase));
    int32_t *chosen = positions->tokens + n_prompt;
    memcpy(positions->tokens, recording->prompt.ids, n_prompt * sizeof(*positions->tokens));
    memset(positions->phase + n_prompt, PHASE_DECODE, n_decoded);
    if (recording->decoded.ids != NULL) {
        memcpy(chosen, recording->decoded.ids, n_decoded * sizeof(*chosen));
        return check_ids(&recording->session->model, &recording->decoded, err);
    }
    uint32_t n_chosen = 0;
    const struct generate_options options = {.prompt = positions->tokens, .n_prompt = n_prompt, .n = n_decoded};
    enum status status = session_generate(recording->session, recording->source, &options, chosen, &n_chosen, err);
    positions->n = n_prompt + n_chosen; /* fewer where the text ends */
    return status;
}

static enum status write_trace(const struct recording *recording, struct trace *trace, struct error *err)
{
    const char *path = recording->arguments->output, *source = source_name(recording->source);
    char producer[64];
    snprintf(producer, sizeof(producer), "lockstep %s", source);
    free(trace->producer);
    trace->producer = xstrdup(producer);
    TRY(model_digests(&recording->session->model, trace->weights_sha256, trace->config_sha256, err));
    TRY(trace_write(trace, path, err));
    printf("%s: %u stages of %u positions, by the %s\n", path, trace->n_stages, trace->n_positions, source);
    return STATUS_OK;
}

static enum status record(const struct recording *recording, struct error *err)
{
    struct positions positions;
    struct trace trace;
    enum status status = choose_tokens(recording, &positions, err);
    if (status == STATUS_OK) {
        const struct record_options options = {
            .n_positions = positions.n,
            .tokens = positions.tokens,
            .phase = positions.phase,
            .stages = recording->stages,
            .progress = progress_show,
            .progress_context = (void *)(uintptr_t) "trace: position",
        };
        status = session_record(recording->session, recording->source, &options, &trace, err);
    }
    if (status == STATUS_OK) {
        status = write_trace(recording, &trace, err);
        trace_free(&trace);
    }
    free(positions.phase);
    free(positions.tokens);
    return status;
}

/* Opens the session and records. */
static enum status open_and_record(struct recording *recording, const struct sampling *sampling, struct error *err)
{
    struct session session;
    const struct session_wish wish = {
        .engine = recording->source == SOURCE_ENGINE,
        .reference = recording->source == SOURCE_REFERENCE,
        .n_more = recording->decoded.n,
    };
    TRY(open_with_tokens(recording->arguments, &wish, &session, &recording->prompt, err));
    bool chooses = recording->decoded.ids == NULL && recording->decoded.n > 0;
    session.sampling = *sampling;
    session.samples = sampling->temperature > 0 || chooses;
    recording->session = &session;
    enum status status = record(recording, err);
    session_close(&session);
    free(recording->prompt.ids);
    return status;
}

enum status command_trace(const struct arguments *arguments, struct error *err)
{
    bool stages[STAGE_COUNT];
    struct sampling sampling;
    struct recording recording = {.arguments = arguments, .stages = arguments->stages != NULL ? stages : NULL};
    TRY(parse_on_one(arguments->on, &recording.source, err));
    if (arguments->output == NULL) {
        return error_set(err, STATUS_USAGE, NULL, "-o", ERROR_NO_OFFSET, "not given, expected the file to write");
    }
    if (arguments->stages != NULL) {
        TRY(stage_list_parse(arguments->stages, stages, err));
    }
    TRY(parse_sampling(arguments, &sampling, err));
    TRY(parse_decoded(arguments, &recording.decoded, err));
    enum status status = open_and_record(&recording, &sampling, err);
    free(recording.decoded.ids);
    return status;
}
