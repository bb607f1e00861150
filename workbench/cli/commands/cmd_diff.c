/* lockstep diff MODEL --golden G.h5: compares the engine, or a trace in its place, and the reference with a golden. */
#include "workbench/cli/commands/describe_run.h"
#include "workbench/cli/commands/option_values.h"
#include "workbench/cli/commands/write_reports.h"
#include "workbench/python/import.h"
#include "workbench/session/compare_golden.h"

/* foreign: takes the engine's place; NULL: none. Both traces are taken over. */
static enum status compare_with_golden(const struct arguments *arguments, struct session *session, struct trace *golden,
                                       struct trace *foreign, struct error *err)
{
    const struct compare_options options = {
        .trace = foreign, .golden_model = arguments->golden_model, .strict = arguments->strict};
    struct golden_comparison compared;
    TRY(golden_compare(&compared, session, golden, &options, err));
    compared.comparison.parts = parse_parts(arguments);
    describe_run(&compared.comparison, arguments, session->on[SOURCE_ENGINE] ? &session->backend[SOURCE_ENGINE] : NULL);
    enum status status = write_reports(&compared.comparison, arguments, err);
    golden_comparison_free(&compared);
    return status;
}

/* Opens the session and compares. Takes both traces over. */
static enum status diff_traces(const struct arguments *arguments, const struct session_options *options,
                               struct trace *golden, struct trace *foreign, struct error *err)
{
    struct session session;
    enum status status = session_open(&session, arguments->positional[0], options, err);
    if (status != STATUS_OK) {
        return status;
    }
    status = check_kernels_for(&session, golden, err);
    if (status == STATUS_OK) {
        status = compare_with_golden(arguments, &session, golden, foreign, err);
    }
    session_close(&session);
    return status;
}

enum status command_diff(const struct arguments *arguments, struct error *err)
{
    struct session_options options = {
        .device = arguments->device,
        .faults = arguments->faults.text,
        .n_faults = arguments->faults.n,
        .weights = arguments->weights,
    };
    struct trace golden, foreign = {0};
    const struct import_options import = {.model = arguments->positional[0]};
    if (arguments->golden == NULL) {
        return error_set(err, STATUS_USAGE, NULL, "--golden", ERROR_NO_OFFSET,
                         "is missing: diff compares with a golden");
    }
    TRY(compare_choose_sides(arguments->on, arguments->trace != NULL, &options, err));
    TRY(parse_kernels(arguments, options.engine, &options.kernels, err));
    TRY(trace_read(&golden, arguments->golden, err));
    options.max_positions = golden.n_positions;
    enum status status = STATUS_OK;
    if (arguments->trace != NULL) {
        status = import_read(&foreign, arguments->trace, &import, err);
    }
    if (status == STATUS_OK) {
        status = diff_traces(arguments, &options, &golden, arguments->trace != NULL ? &foreign : NULL, err);
    }
    trace_free(&foreign);
    trace_free(&golden);
    return status;
}
