/* lockstep audit MODEL TRACE.h5: checks every op of one trace against its own recorded inputs. It needs neither a
 * device nor a second trace. */
#include "workbench/cli/commands/describe_run.h"
#include "workbench/cli/commands/option_values.h"
#include "workbench/cli/commands/write_reports.h"
#include "workbench/python/import.h"
#include "workbench/session/compare_golden.h"

static enum status audit_model(const struct arguments *arguments, const struct plan *plan, struct error *err)
{
    struct trace trace;
    struct comparison comparison;
    const struct import_options import = {.model = arguments->positional[0]};
    TRY(import_read(&trace, arguments->positional[1], &import, err));
    TRY(trace_audit(&comparison, plan, &trace, arguments->strict, err));
    comparison.parts = parse_parts(arguments);
    describe_run(&comparison, arguments, NULL);
    enum status status = write_reports(&comparison, arguments, err);
    comparison_free(&comparison);
    return status;
}

enum status command_audit(const struct arguments *arguments, struct error *err)
{
    struct model model;
    struct plan plan;
    TRY(model_open(&model, arguments->positional[0], err));
    enum status status = plan_build(&plan, &model, err);
    if (status == STATUS_OK) {
        status = audit_model(arguments, &plan, err);
        plan_free(&plan);
    }
    model_close(&model);
    return status;
}
