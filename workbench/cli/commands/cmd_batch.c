/* lockstep batch CASES.toml|CASES.json|FOLDER: many comparisons in one command. */
#include <string.h>

#include "workbench/batch/batch.h"
#include "workbench/cli/commands/write_reports.h"

static enum status run_batch(const struct arguments *arguments, struct batch_cases *batch, struct error *err)
{
    struct batch_options options = {
        .json = arguments->json,
        .dask = arguments->dask,
        .n_processes = arguments->jobs > 0 ? (uint32_t)arguments->jobs : 0,
    };
    if (arguments->resume) {
        if (arguments->json == NULL || strcmp(arguments->json, "-") == 0) {
            return error_set(err, STATUS_USAGE, NULL, "--resume", ERROR_NO_OFFSET,
                             "goes on with the file of --json, which is not given");
        }
        options.resume = arguments->json;
    }
    TRY(cases_run(batch, &options, err));
    if (prints_text(arguments)) {
        cases_print(batch);
    }
    TRY(write_document(cases_json(batch), arguments, err));
    return cases_status(batch);
}

enum status command_batch(const struct arguments *arguments, struct error *err)
{
    struct batch_cases batch;
    TRY(cases_read(&batch, arguments->positional[0], err));
    enum status status = run_batch(arguments, &batch, err);
    cases_free(&batch);
    return status;
}
