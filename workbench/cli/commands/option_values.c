#include "workbench/cli/commands/option_values.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "workbench/python/prompt_tokens.h"
#include "workbench/session/kernel_options.h"

enum status parse_on_one(const char *on, enum source *source, struct error *err)
{
    bool engine = true, reference = false;
    TRY(parse_on(on, &engine, &reference, err));
    if (engine && reference) {
        return error_set(err, STATUS_USAGE, NULL, "--on", ERROR_NO_OFFSET, "\"%s\", expected engine or reference", on);
    }
    *source = engine ? SOURCE_ENGINE : SOURCE_REFERENCE;
    return STATUS_OK;
}

enum status parse_kernels(const struct arguments *arguments, bool engine, struct kernel_choices *kernels,
                          struct error *err)
{
    if (arguments->kernel_choices.n > 0 && !engine) {
        return error_set(err, STATUS_USAGE, NULL, "--kernel", ERROR_NO_OFFSET, "is of the engine, which does not run");
    }
    return kernel_options_parse(arguments->kernel_choices.text, arguments->kernel_choices.n, kernels, err);
}

enum status check_kernels(const struct session *session, uint32_t n_prompt, uint32_t n_decoded, struct error *err)
{
    const struct backend *engine = &session->backend[SOURCE_ENGINE];
    if (!session->on[SOURCE_ENGINE]) {
        return STATUS_OK;
    }
    struct batch_sizes sizes = batch_sizes_of(n_prompt, n_decoded, engine->max_rows);
    return kernel_options_check(engine, engine_chosen_kernels(engine), &sizes, "--kernel", err);
}

enum status check_kernels_for(const struct session *session, const struct trace *trace, struct error *err)
{
    uint32_t n_prompt = 0;
    while (n_prompt < trace->n_positions && trace->phase[n_prompt] == PHASE_PREFILL) {
        n_prompt++;
    }
    return check_kernels(session, n_prompt, trace->n_positions - n_prompt, err);
}

/* The prompt's tokens. They need the model's tokenizer and vocabulary, but neither backend. */
static enum status read_prompt(const struct arguments *arguments, struct token_list *prompt, struct error *err)
{
    struct model model;
    TRY(model_open(&model, arguments->positional[0], err));
    const struct prompt given = {arguments->prompt, arguments->ids, arguments->chat};
    enum status status = prompt_tokens(&given, &model, &prompt->ids, &prompt->n, err);
    model_close(&model);
    return status;
}

enum status open_with_tokens(const struct arguments *arguments, const struct session_wish *wish,
                             struct session *session, struct token_list *prompt, struct error *err)
{
    struct kernel_choices kernels;
    *prompt = (struct token_list){0};
    TRY(parse_kernels(arguments, wish->engine, &kernels, err));
    enum status status = read_prompt(arguments, prompt, err);
    if (status != STATUS_OK) {
        prompt->ids = NULL;
        return status;
    }
    /* The KV cache is made when a backend opens: its size must be known by then. */
    struct session_options options = {
        .engine = wish->engine,
        .reference = wish->reference,
        .device = arguments->device,
        .max_positions = prompt->n + wish->n_more,
        .faults = arguments->faults.text,
        .n_faults = arguments->faults.n,
        .no_capture = wish->no_capture,
        .weights = arguments->weights,
        .kernels = kernels,
    };
    status = session_open(session, arguments->positional[0], &options, err);
    if (status == STATUS_OK) {
        status = check_kernels(session, prompt->n, wish->n_more, err);
        if (status != STATUS_OK) {
            session_close(session);
        }
    }
    if (status != STATUS_OK) {
        free(prompt->ids);
        prompt->ids = NULL;
    }
    return status;
}

enum status parse_decoded(const struct arguments *arguments, struct token_list *decoded, struct error *err)
{
    decoded->ids = NULL;
    decoded->n = arguments->n < 0 ? 0 : (uint32_t)arguments->n;
    if (arguments->decode_ids == NULL) {
        return STATUS_OK;
    }
    if (arguments->n >= 0) {
        return error_set(err, STATUS_USAGE, NULL, "-n, --decode-ids", ERROR_NO_OFFSET,
                         "both given, expected at most one of them");
    }
    return token_ids_parse(arguments->decode_ids, &decoded->ids, &decoded->n, err);
}

enum status check_ids(const struct model *model, const struct token_list *tokens, struct error *err)
{
    for (uint32_t i = 0; i < tokens->n; i++) {
        if (tokens->ids[i] < 0 || (uint32_t)tokens->ids[i] >= model->config.vocab) {
            return error_set(err, STATUS_BAD_INPUT, model->path, "token ids", ERROR_NO_OFFSET,
                             "number %u is %d, expected ids under %u", i, tokens->ids[i], model->config.vocab);
        }
    }
    return STATUS_OK;
}

struct probe_options parse_probe_options(const struct arguments *arguments, const char *trace)
{
    return (struct probe_options){.preset = arguments->preset,
                                  .configs = arguments->configs.text,
                                  .n_configs = arguments->configs.n,
                                  .trace = trace,
                                  .trace_layers = arguments->trace_layers};
}

struct report_parts parse_parts(const struct arguments *arguments)
{
    return (struct report_parts){
        .table = arguments->table, .ledger = arguments->ledger, .growth = arguments->growth, .all = arguments->all};
}

/* The numbers that an option's value may be. */
struct range {
    float lowest, highest; /* both included */
};

/* Reads a number. text NULL: *value stays as it is. */
static enum status parse_number(const char *name, const char *text, struct range range, float *value, struct error *err)
{
    if (text == NULL) {
        return STATUS_OK;
    }
    char *end;
    float number = strtof(text, &end);
    if (end == text || *end != '\0' || !(number >= range.lowest && number <= range.highest)) {
        return error_set(err, STATUS_USAGE, NULL, name, ERROR_NO_OFFSET, "\"%s\", expected a number from %g to %g",
                         text, (double)range.lowest, (double)range.highest);
    }
    *value = number;
    return STATUS_OK;
}

/* Reads a whole number up to most. text NULL: *value stays as it is. */
static enum status parse_whole(const char *name, const char *text, uint64_t most, uint64_t *value, struct error *err)
{
    if (text == NULL) {
        return STATUS_OK;
    }
    char *end;
    errno = 0;
    unsigned long long number = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0 || number > most) {
        return error_set(err, STATUS_USAGE, NULL, name, ERROR_NO_OFFSET, "\"%s\", expected a whole number up to %llu",
                         text, (unsigned long long)most);
    }
    *value = number;
    return STATUS_OK;
}

enum status parse_sampling(const struct arguments *arguments, struct sampling *sampling, struct error *err)
{
    bool any = arguments->temperature != NULL || arguments->top_k != NULL || arguments->top_p != NULL ||
               arguments->seed != NULL;
    uint64_t top_k = 0;
    *sampling = (struct sampling){.temperature = any ? 1.0f : 0};
    TRY(parse_number("--temperature", arguments->temperature, (struct range){0, 1000}, &sampling->temperature, err));
    TRY(parse_number("--top-p", arguments->top_p, (struct range){0.001f, 1}, &sampling->top_p, err));
    TRY(parse_whole("--top-k", arguments->top_k, UINT32_MAX, &top_k, err));
    TRY(parse_whole("--seed", arguments->seed, UINT64_MAX, &sampling->seed, err));
    sampling->top_k = (uint32_t)top_k;
    return STATUS_OK;
}
