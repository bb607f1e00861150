/* lockstep batch CASES.toml|CASES.json|FOLDER: many comparisons in one command. */
#include <string.h>
#include <sys/stat.h>

#include "workbench/batch/batch.h"
#include "workbench/cli/commands/write_reports.h"
#include "workbench/cli/output_guard.h"

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
    enum status ran = cases_run(batch, &options, err);
    if (ran != STATUS_OK && ran != STATUS_IO) {
        return ran;
    }
    if (prints_text(arguments)) {
        cases_print(batch);
    }
    TRY(ran);
    TRY(write_document(cases_json(batch), arguments, err));
    return cases_status(batch);
}

/* Refuses an output that is the file of cases, or a file that a case reads. */
static enum status check_cases(const struct arguments *arguments, const struct batch_cases *batch, struct error *err)
{
    struct arguments outputs = *arguments;
    outputs.positional[0] = NULL; /* a FOLDER may hold the results as well */
    TRY(check_outputs(&outputs, err));
    for (uint32_t i = 0; i < batch->n_cases; i++) {
        TRY(check_input(arguments, batch->cases[i].golden, err));
        TRY(check_input(arguments, batch->cases[i].trace, err));
        TRY(check_input(arguments, batch->cases[i].model, err));
    }
    struct stat info;
    bool is_folder = stat(batch->path, &info) == 0 && S_ISDIR(info.st_mode);
    return is_folder ? STATUS_OK : check_input(arguments, batch->path, err);
}

enum status command_batch(const struct arguments *arguments, struct error *err)
{
    struct batch_cases batch;
    TRY(cases_read(&batch, arguments->positional[0], err));
    enum status status = check_cases(arguments, &batch, err);
    if (status == STATUS_OK) {
        status = run_batch(arguments, &batch, err);
    }
    cases_free(&batch);
    return status;
}
