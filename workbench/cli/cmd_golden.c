/* lockstep golden: transformers runs inside the program and records every stage. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "workbench/cli/options.h"
#include "workbench/python/prompt_tokens.h"
#include "workbench/python/python.h"
#include "workbench/session/progress.h"

static enum status record(const struct arguments *arguments, const struct model *model, const int32_t *ids,
                          uint32_t n_ids, struct error *err)
{
    int32_t *decode_ids;
    uint32_t n;
    enum status status = parse_decoded(arguments, &decode_ids, &n, err);
    if (status == STATUS_OK && decode_ids != NULL) {
        status = check_ids(model, decode_ids, n, err);
    }
    struct trace trace;
    if (status == STATUS_OK) {
        progress_note("transformers runs", model->path);
        const struct golden_options options = {
            .ids = ids,
            .n_ids = n_ids,
            .n_decode = n,
            .decode_ids = decode_ids,
            .dtype = arguments->dtype,
            .attn_probs = arguments->attn_probs,
        };
        status = python_golden(model, &options, &trace, err);
    }
    progress_wipe();
    free(decode_ids);
    if (status != STATUS_OK) {
        return status;
    }
    status = trace_write(&trace, arguments->output, err);
    if (status == STATUS_OK) {
        printf("%s: %u stages of %u positions (%u prefill, %u decode), by %s\n", arguments->output, trace.n_stages,
               trace.n_positions, n_ids, n, trace.producer);
    }
    trace_free(&trace);
    return status;
}

enum status command_golden(const struct arguments *arguments, struct error *err)
{
    if (arguments->output == NULL) {
        return error_set(err, STATUS_USAGE, NULL, "-o", ERROR_NO_OFFSET, "not given, expected the file to write");
    }
    static const char *const dtypes[] = {"float32", "float16", "bfloat16"};
    bool known = arguments->dtype == NULL;
    for (size_t i = 0; i < sizeof(dtypes) / sizeof(dtypes[0]); i++) {
        known = known || strcmp(arguments->dtype, dtypes[i]) == 0;
    }
    if (!known) {
        return error_set(err, STATUS_USAGE, NULL, "--dtype", ERROR_NO_OFFSET,
                         "\"%s\", expected float32, float16 or bfloat16", arguments->dtype);
    }
    struct model model;
    enum status status = model_open(&model, arguments->positional[0], err);
    if (status != STATUS_OK) {
        return status;
    }
    int32_t *ids;
    uint32_t n_ids;
    status = prompt_tokens(&(struct prompt){arguments->prompt, arguments->ids}, &model, &ids, &n_ids, err);
    if (status == STATUS_OK) {
        status = record(arguments, &model, ids, n_ids, err);
        free(ids);
    }
    model_close(&model);
    return status;
}
