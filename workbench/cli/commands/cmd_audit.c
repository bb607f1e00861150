/* lockstep audit MODEL TRACE.h5: checks every op of one trace against its own recorded inputs. It needs neither a
 * device nor a second trace. */
#include "workbench/cli/commands/describe_run.h"
#include "workbench/cli/commands/option_values.h"
#include "workbench/session/comparison.h"
#include "workbench/session/progress.h"

/* Judges the trace and prints the report. Takes the trace over. */
static enum status audit_trace(const struct arguments *arguments, const struct model *model, const struct plan *plan,
                               struct trace *trace, struct error *err)
{
    struct comparison comparison = {.plan = plan, .parts = parse_parts(arguments), .strict = arguments->strict};
    bool same_weights = false;
    comparison_add(&comparison, SOURCE_TRACE, trace);
    enum status status = trace_check_plan(comparison.list[0], plan, err);
    if (status == STATUS_OK) {
        status = comparison_check_digests(&comparison, model, comparison.list[0], &same_weights, err);
    }
    if (status == STATUS_OK) {
        for (uint32_t i = 0; i < model->n_notes; i++) {
            comparison_note(&comparison, "%s", model->notes[i]);
        }
        comparison_judge(&comparison, same_weights, progress_show);
        describe_run(&comparison, arguments, NULL);
        status = comparison_report(&comparison, arguments->json, err);
    }
    comparison_free(&comparison);
    return status;
}

static enum status audit_model(const struct arguments *arguments, const struct model *model, const struct plan *plan,
                               struct error *err)
{
    struct trace trace;
    TRY(trace_read(&trace, arguments->positional[1], err));
    return audit_trace(arguments, model, plan, &trace, err);
}

enum status command_audit(const struct arguments *arguments, struct error *err)
{
    struct model model;
    struct plan plan;
    TRY(model_open(&model, arguments->positional[0], err));
    enum status status = plan_build(&plan, &model, err);
    if (status == STATUS_OK) {
        status = audit_model(arguments, &model, &plan, err);
        plan_free(&plan);
    }
    model_close(&model);
    return status;
}
