/* lockstep invariants MODEL [--trace A --trace B]: runs that must agree. */
#include <stdlib.h>

#include "workbench/cli/commands/option_values.h"
#include "workbench/cli/commands/write_reports.h"
#include "workbench/invariants/invariants.h"
#include "workbench/python/import.h"
#include "workbench/session/progress.h"

#define N_TOKENS 24 /* where no tokens are given */

static enum status report(const struct arguments *arguments, struct invariants *invariants, struct error *err)
{
    if (prints_text(arguments)) {
        invariants_print(invariants);
    }
    enum status status = write_document(invariants_json(invariants), arguments, err);
    if (status == STATUS_OK) {
        status = conclusion_status(invariants_conclude(invariants));
    }
    invariants_free(invariants);
    return status;
}

static enum status compare_traces(const struct arguments *arguments, const struct plan *plan, struct error *err)
{
    struct trace a, b;
    struct invariants invariants;
    const struct import_options import = {.model = arguments->positional[0]};
    TRY(import_read(&a, arguments->trace, &import, err));
    enum status status = import_read(&b, arguments->second_trace, &import, err);
    if (status != STATUS_OK) {
        trace_free(&a);
        return status;
    }
    TRY(invariants_compare(&invariants, plan, &a, &b, err));
    return report(arguments, &invariants, err);
}

/* Opens the model without a side: two traces need no device. */
static enum status of_traces(const struct arguments *arguments, struct error *err)
{
    struct session session;
    const struct session_options none = {0};
    if (arguments->second_trace == NULL) {
        return error_set(err, STATUS_USAGE, NULL, "--trace", ERROR_NO_OFFSET,
                         "given once, expected --trace A --trace B");
    }
    if (arguments->prompt != NULL || arguments->chat != NULL || arguments->ids != NULL || arguments->device != NULL ||
        arguments->weights != NULL || arguments->faults.n > 0) {
        return error_set(
            err, STATUS_USAGE, NULL, "--trace", ERROR_NO_OFFSET,
            "given with one of --prompt, --chat, --ids, --device, --weights, --fault, but two traces run nothing");
    }
    TRY(session_open(&session, arguments->positional[0], &none, err));
    enum status status = compare_traces(arguments, &session.plan, err);
    session_close(&session);
    return status;
}

/* Tokens that every vocabulary has, where none are given. */
static void make_tokens(int32_t tokens[N_TOKENS], uint32_t vocab)
{
    for (uint32_t i = 0; i < N_TOKENS; i++) {
        tokens[i] = (int32_t)((7 + 11 * i) % (vocab < 29 ? vocab : 29));
    }
}

static enum status of_engine(const struct arguments *arguments, struct error *err)
{
    struct session session;
    struct invariants invariants;
    struct token_list prompt = {0};
    const struct session_wish wish = {.engine = true};
    int32_t made[N_TOKENS];
    bool given = arguments->prompt != NULL || arguments->ids != NULL || arguments->chat != NULL;
    if (given) {
        TRY(open_with_tokens(arguments, &wish, &session, &prompt, err));
    } else {
        const struct session_options options = {.engine = true,
                                                .device = arguments->device,
                                                .max_positions = N_TOKENS,
                                                .faults = arguments->faults.text,
                                                .n_faults = arguments->faults.n,
                                                .weights = arguments->weights};
        TRY(session_open(&session, arguments->positional[0], &options, err));
        make_tokens(made, session.model.config.vocab);
        prompt = (struct token_list){made, N_TOKENS};
    }
    enum status status = invariants_run(&invariants, &session, prompt.ids, prompt.n, err);
    if (status == STATUS_OK) {
        status = report(arguments, &invariants, err);
    }
    session_close(&session);
    if (given) {
        free(prompt.ids);
    }
    return status;
}

enum status command_invariants(const struct arguments *arguments, struct error *err)
{
    return arguments->trace != NULL ? of_traces(arguments, err) : of_engine(arguments, err);
}
