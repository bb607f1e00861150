/* lockstep tokens: what the model is given before its first layer: the ids with their texts, BOS, the chat template,
 * and what transformers makes of the same input. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "workbench/cli/command.h"
#include "workbench/python/import.h"
#include "workbench/python/prompt_tokens.h"
#include "workbench/python/python.h"
#include "workbench/trace/json_file.h"

#define HEAD 48 /* tokens that are shown, of a long text, from its beginning */
#define TAIL 8  /* and from its end */

/* What is asked, and the tokens. */
struct tokens {
    const struct arguments *arguments;
    const struct model *model;
    int32_t *ids;
    uint32_t n_ids;
    const json_t *told; /* the JSON of golden/lockstep_tokens.py */
    enum status trace;  /* STATUS_OK: the trace has the same tokens, or none is given */
    struct error why;   /* where trace is not STATUS_OK */
};

static const char *text_at(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text != NULL ? text : "";
}

/* A token's text as a JSON string, so that spaces, newlines and control characters are seen. */
static void print_quoted(const char *text)
{
    json_t *string = json_text(text);
    char *quoted = json_dumps(string, JSON_ENCODE_ANY);
    printf("%s", quoted != NULL ? quoted : "\"\"");
    free(quoted);
    json_decref(string);
}

static void print_token(const json_t *token)
{
    printf("  %5lld %8lld  ", (long long)json_integer_value(json_object_get(token, "position")),
           (long long)json_integer_value(json_object_get(token, "id")));
    print_quoted(text_at(token, "text"));
    printf("%s\n", json_is_true(json_object_get(token, "special")) ? "  special" : "");
}

/* What transformers makes of it: one line. */
static void print_transformers(const struct tokens *tokens)
{
    const json_t *beside = json_object_get(tokens->told, "transformers");
    if (beside == NULL) {
        printf("  transformers: not asked, or not installed (requirements-golden.txt)\n");
    } else if (json_object_get(beside, "error") != NULL) {
        printf("  transformers: cannot read this tokenizer: %s\n", text_at(beside, "error"));
    } else if (json_is_true(json_object_get(beside, "same"))) {
        printf("  transformers %s: the same ids\n", text_at(beside, "version"));
    } else {
        size_t at = (size_t)json_integer_value(json_object_get(beside, "first_difference"));
        const json_t *ids = json_object_get(beside, "ids");
        printf("  transformers %s: other ids from position %zu on: ", text_at(beside, "version"), at);
        if (at < json_array_size(ids)) {
            printf("%lld there, ", (long long)json_integer_value(json_array_get(ids, at)));
        } else {
            printf("it ends there, ");
        }
        printf(at < tokens->n_ids ? "%d here\n" : "and here it ends\n", at < tokens->n_ids ? tokens->ids[at] : 0);
    }
}

static void print_tokens(const struct tokens *tokens)
{
    const json_t *list = json_object_get(tokens->told, "tokens"), *notes = json_object_get(tokens->told, "notes");
    const char *bos = tokens->model->config.bos_id < 0                                 ? "the model has no BOS"
                      : json_is_true(json_object_get(tokens->told, "begins_with_bos")) ? "BOS first"
                                                                                       : "without BOS";
    printf("%u tokens, %s\n", tokens->n_ids, bos);
    if (tokens->arguments->trace != NULL && tokens->trace == STATUS_OK) {
        printf("  %s: the same tokens\n", tokens->arguments->trace);
    } else if (tokens->arguments->trace != NULL) {
        printf("  %s\n", tokens->why.text);
    }
    for (size_t i = 0; i < json_array_size(notes); i++) {
        printf("  note: %s\n", json_string_value(json_array_get(notes, i)));
    }
    print_transformers(tokens);
    if (json_object_get(tokens->told, "text") != NULL) {
        printf("  text: ");
        print_quoted(text_at(tokens->told, "text"));
        printf("\n");
    }
    size_t n = json_array_size(list), tail = n > HEAD + TAIL && !tokens->arguments->all ? n - TAIL : 0;
    for (size_t i = 0; i < n; i++) {
        if (i == HEAD && tail > 0) {
            printf("  … %zu more: --all\n", tail - HEAD);
            i = tail;
        }
        print_token(json_array_get(list, i));
    }
}

/* Compares a trace's prompt with the tokens. */
static enum status compare_trace(struct tokens *tokens, struct error *err)
{
    struct trace trace;
    const struct import_options import = {.model = tokens->arguments->positional[0]};
    TRY(import_read(&trace, tokens->arguments->trace, &import, err));
    uint32_t n_prompt = 0;
    while (n_prompt < trace.n_positions && trace.phase[n_prompt] == PHASE_PREFILL) {
        n_prompt++;
    }
    uint32_t n_positions = trace.n_positions;
    trace.n_positions = n_prompt;
    char name[] = "the prompt";
    struct trace wanted = {.path = name, .tokens = tokens->ids, .n_positions = tokens->n_ids};
    wanted.phase = xcalloc(tokens->n_ids, sizeof(*wanted.phase));
    tokens->trace = trace_check_same_tokens(&trace, &wanted, &tokens->why);
    free(wanted.phase);
    trace.n_positions = n_positions;
    trace_free(&trace);
    return STATUS_OK;
}

/* Prints or writes what was asked for. */
static enum status tell(struct tokens *tokens, json_t *told, struct error *err)
{
    const char *json = tokens->arguments->json;
    if (tokens->arguments->trace != NULL) {
        json_t *trace = json_object();
        json_put(trace, "path", json_text(tokens->arguments->trace));
        json_put(trace, "same", json_boolean(tokens->trace == STATUS_OK));
        json_put(trace, "text", json_text(tokens->trace == STATUS_OK ? "" : tokens->why.text));
        json_put(told, "trace", trace);
    }
    if (json == NULL || strcmp(json, "-") != 0) {
        print_tokens(tokens);
    }
    return json != NULL ? json_write_file(json_incref(told), json, err) : STATUS_OK;
}

static enum status describe(struct tokens *tokens, struct error *err)
{
    const struct arguments *arguments = tokens->arguments;
    const struct token_source source = {tokens->ids, tokens->n_ids, arguments->prompt, arguments->chat,
                                        !arguments->no_transformers};
    char *text;
    TRY(python_describe_tokens(tokens->model, &source, &text, err));
    json_t *told = json_loads(text, 0, NULL);
    free(text);
    ASSERT(told != NULL);
    tokens->told = told;
    enum status status = arguments->trace != NULL ? compare_trace(tokens, err) : STATUS_OK;
    if (status == STATUS_OK) {
        status = tell(tokens, told, err);
    }
    json_decref(told);
    return status == STATUS_OK && tokens->trace != STATUS_OK ? STATUS_DIVERGED : status;
}

enum status command_tokens(const struct arguments *arguments, struct error *err)
{
    struct model model;
    struct tokens tokens = {.arguments = arguments, .model = &model};
    const struct prompt given = {arguments->prompt, arguments->ids, arguments->chat};
    TRY(model_open(&model, arguments->positional[0], err));
    enum status status = prompt_tokens(&given, &model, &tokens.ids, &tokens.n_ids, err);
    if (status == STATUS_OK) {
        status = describe(&tokens, err);
        free(tokens.ids);
    }
    model_close(&model);
    return status;
}
