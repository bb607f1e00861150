/* load: another golden, from a file, or recorded now by transformers on the run's own tokens. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "workbench/debugger/command.h"
#include "workbench/python/python.h"
#include "workbench/session/progress.h"

/* Whether the golden's tokens are the run's, as far as both go. */
static bool same_tokens(const struct repl *repl, const struct trace *golden)
{
    for (uint32_t p = 0; p < golden->n_positions && p < repl->n_known; p++) {
        if (golden->tokens[p] != repl->tokens[p] || golden->phase[p] != repl->phase[p]) {
            return false;
        }
    }
    return repl->n_known > 0;
}

/* Takes the golden over, and restarts the run if its tokens are others. */
static void use_golden(struct repl *repl, struct trace *golden)
{
    if (same_tokens(repl, golden)) {
        repl_attach_golden(repl, golden);
        printf("golden: %u positions by %s; the position stays\n", golden->n_positions, golden->producer);
    } else {
        repl_replace_golden(repl, golden);
        repl_restart_with_golden(repl);
        printf("golden: %u positions by %s, of other tokens: the run starts again with them\n", golden->n_positions,
               golden->producer);
    }
}

static enum status load_file(const struct repl *repl, const char *path, struct trace *golden, struct error *err)
{
    TRY(trace_read(golden, path, err));
    uint32_t most = repl->session->backend[repl_running_source(repl)].max_positions;
    enum status status = trace_check_plan(golden, repl->plan, err);
    if (status == STATUS_OK && golden->n_positions > most) {
        status = error_set(err, STATUS_BAD_INPUT, path, "positions", ERROR_NO_OFFSET, "%u, expected at most %u",
                           golden->n_positions, most);
    }
    if (status == STATUS_OK && repl->foreign != NULL) {
        status = trace_check_same_tokens(repl->foreign, golden, err);
    }
    if (status != STATUS_OK) {
        trace_free(golden);
    }
    return status;
}

/* As for golden --dtype. */
static enum status check_dtype(const char *dtype, struct error *err)
{
    static const char *const known[] = {"float32", "float16", "bfloat16"};
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (strcmp(known[i], dtype) == 0) {
            return STATUS_OK;
        }
    }
    return error_set(err, STATUS_USAGE, NULL, "dtype", ERROR_NO_OFFSET, "\"%s\", expected float32, float16 or bfloat16",
                     dtype);
}

static enum status load_hf(struct repl *repl, const char *folder, const char *dtype, struct trace *golden,
                           struct error *err)
{
    TRY(check_dtype(dtype, err));
    if (repl->n_known == 0) {
        return error_set(err, STATUS_USAGE, NULL, "load hf", ERROR_NO_OFFSET, "no tokens, expected restart first");
    }
    uint32_t n_prompt = 0;
    while (n_prompt < repl->n_known && repl->phase[n_prompt] == PHASE_PREFILL) {
        n_prompt++;
    }
    struct model model;
    TRY(model_open(&model, folder, err));
    progress_note("transformers runs", folder);
    repl->python_used = true;
    const struct golden_options options = {
        .ids = repl->tokens,
        .n_ids = n_prompt,
        .n_decode = repl->n_known - n_prompt,
        .decode_ids = repl->tokens + n_prompt,
        .dtype = dtype,
    };
    enum status status = python_golden(&model, &options, golden, err);
    progress_wipe();
    if (status == STATUS_OK) {
        status = trace_check_plan(golden, repl->plan, err);
        if (status != STATUS_OK) {
            trace_free(golden);
        }
    }
    model_close(&model);
    return status;
}

enum status do_load(struct repl *repl, const struct words *words, struct error *err)
{
    bool hf = strcmp(words->word[0], "hf") == 0;
    if (!hf && strcmp(words->word[0], "golden") != 0) {
        return words_refuse(words, 0, err);
    }
    if (!hf && words->n == 3) {
        return error_set(err, STATUS_USAGE, NULL, "load", ERROR_NO_OFFSET,
                         "\"%s\", expected nothing after the file, which has its own dtype", words->word[2]);
    }
    const char *dtype = words->n == 3 ? words->word[2] : "float32";
    struct trace *golden = xcalloc(1, sizeof(*golden));
    enum status status =
        hf ? load_hf(repl, words->word[1], dtype, golden, err) : load_file(repl, words->word[1], golden, err);
    if (status != STATUS_OK) {
        free(golden);
        return status;
    }
    use_golden(repl, golden);
    return STATUS_OK;
}
