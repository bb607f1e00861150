/* lockstep diff MODEL --golden G.h5: compares the engine, or a trace in its place, and the reference with a golden. */
#include "workbench/cli/commands/describe_run.h"
#include "workbench/cli/commands/option_values.h"
#include "workbench/cli/commands/write_reports.h"
#include "workbench/session/compare_golden.h"

static enum status compare_with_golden(const struct arguments *arguments, struct session *session, struct trace *golden,
                                       struct error *err)
{
    const struct compare_options options = {
        .trace = arguments->trace, .golden_model = arguments->golden_model, .strict = arguments->strict};
    struct golden_comparison compared;
    TRY(golden_compare(&compared, session, golden, &options, err));
    compared.comparison.parts = parse_parts(arguments);
    describe_run(&compared.comparison, arguments, session->on[SOURCE_ENGINE] ? &session->backend[SOURCE_ENGINE] : NULL);
    enum status status = write_reports(&compared.comparison, arguments, err);
    golden_comparison_free(&compared);
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
    struct session session;
    struct trace golden;
    if (arguments->golden == NULL) {
        return error_set(err, STATUS_USAGE, NULL, "--golden", ERROR_NO_OFFSET,
                         "is missing: diff compares with a golden");
    }
    TRY(compare_choose_sides(arguments->on, arguments->trace != NULL, &options, err));
    TRY(parse_kernels(arguments, options.engine, &options.kernels, err));
    TRY(trace_read(&golden, arguments->golden, err));
    options.max_positions = golden.n_positions;
    enum status status = session_open(&session, arguments->positional[0], &options, err);
    if (status != STATUS_OK) {
        trace_free(&golden);
        return status;
    }
    status = check_kernels_for(&session, &golden, err);
    if (status == STATUS_OK) {
        status = compare_with_golden(arguments, &session, &golden, err);
    } else {
        trace_free(&golden);
    }
    session_close(&session);
    return status;
}
