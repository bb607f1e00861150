/* lockstep golden: HuggingFace transformers runs inside the program, and every stage is recorded. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "workbench/cli/commands/option_values.h"
#include "workbench/python/prompt_tokens.h"
#include "workbench/python/python.h"
#include "workbench/session/progress.h"

static enum status record(const struct arguments *arguments, const struct model *model, const struct token_list *prompt,
                          struct error *err)
{
    struct token_list decoded;
    struct trace trace;
    TRY(parse_decoded(arguments, &decoded, err));
    enum status status = decoded.ids != NULL ? check_ids(model, &decoded, err) : STATUS_OK;
    if (status == STATUS_OK) {
        progress_note("transformers runs", model->path);
        const struct golden_options options = {
            .ids = prompt->ids,
            .n_ids = prompt->n,
            .n_decode = decoded.n,
            .decode_ids = decoded.ids,
            .dtype = arguments->dtype,
            .attn_probs = arguments->attn_probs,
        };
        status = python_golden(model, &options, &trace, err);
    }
    progress_wipe();
    free(decoded.ids);
    if (status != STATUS_OK) {
        return status;
    }
    status = trace_write(&trace, arguments->output, err);
    if (status == STATUS_OK) {
        printf("%s: %u stages of %u positions (%u prefill, %u decode), by %s\n", arguments->output, trace.n_stages,
               trace.n_positions, prompt->n, decoded.n, trace.producer);
    }
    trace_free(&trace);
    return status;
}

/* Refuses a --dtype that transformers is not asked for. NULL: not given. */
static enum status check_dtype(const char *dtype, struct error *err)
{
    static const char *const dtypes[] = {"float32", "float16", "bfloat16"};
    bool known = dtype == NULL;
    for (size_t i = 0; i < sizeof(dtypes) / sizeof(dtypes[0]) && !known; i++) {
        known = strcmp(dtype, dtypes[i]) == 0;
    }
    return known ? STATUS_OK
                 : error_set(err, STATUS_USAGE, NULL, "--dtype", ERROR_NO_OFFSET,
                             "\"%s\", expected float32, float16 or bfloat16", dtype);
}

enum status command_golden(const struct arguments *arguments, struct error *err)
{
    if (arguments->output == NULL) {
        return error_set(err, STATUS_USAGE, NULL, "-o", ERROR_NO_OFFSET, "not given, expected the file to write");
    }
    TRY(check_dtype(arguments->dtype, err));
    struct model model;
    struct token_list prompt;
    const struct prompt given = {arguments->prompt, arguments->ids, arguments->chat};
    TRY(model_open(&model, arguments->positional[0], err));
    enum status status = prompt_tokens(&given, &model, &prompt.ids, &prompt.n, err);
    if (status == STATUS_OK) {
        status = record(arguments, &model, &prompt, err);
        free(prompt.ids);
    }
    model_close(&model);
    return status;
}
