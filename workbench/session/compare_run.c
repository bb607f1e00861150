#include "workbench/session/compare_run.h"

#include <string.h>
#include <strings.h>

#include "workbench/session/progress.h"

/* A stage that our own run did not record is a failure of the run, never a divergence. */
static enum status check_complete(const struct trace *trace, const struct plan *plan, struct error *err)
{
    for (uint32_t s = 0; s < plan->n_steps; s++) {
        const struct trace_stage *stage = trace_find_step(trace, &plan->steps[s]);
        char label[64];
        if (!stage || stage->n_recorded < trace->n_positions) {
            return error_set(err, STATUS_DEVICE, trace->path, step_label(&plan->steps[s], label), ERROR_NO_OFFSET,
                             "%u rows were captured, expected %u", stage ? stage->n_recorded : 0, trace->n_positions);
        }
    }
    return STATUS_OK;
}

enum status compare_record(struct session *session, struct comparison *comparison, enum source source,
                           const struct trace *golden, bool quiet, struct error *err)
{
    char what[32];
    struct trace trace;
    if (!session->on[source]) {
        return STATUS_OK;
    }
    strcpy(what, source_name(source));
    strcat(what, ": position");
    const struct record_options options = {
        .n_positions = golden->n_positions,
        .tokens = golden->tokens,
        .phase = golden->phase,
        .progress = quiet ? NULL : progress_show,
        .progress_context = what,
    };
    TRY(session_record(session, source, &options, &trace, err));
    comparison_add(comparison, source, &trace);
    return check_complete(&comparison->traces[comparison->n_traces - 1], comparison->plan, err);
}

enum status compare_check_golden(struct session *session, struct comparison *comparison, const struct trace *golden,
                                 const struct plan *own, bool *same_weights, struct error *err)
{
    char weights[65], config[65];
    TRY(trace_check_plan(golden, &session->plan, err));
    if (own != NULL) {
        TRY(comparison_set_golden_plan(comparison, own, golden, err));
    }
    TRY(comparison_check_digests(comparison, &session->model, golden, same_weights, err));
    TRY(model_digests(&session->model, weights, config, err));
    comparison->golden_differs = strcasecmp(golden->weights_sha256, weights) != 0;
    return STATUS_OK;
}
