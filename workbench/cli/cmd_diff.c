/* lockstep diff MODEL --golden G.h5: the engine (or a trace in its place) and the reference against a golden. */
#include <string.h>

#include "workbench/cli/command.h"
#include "workbench/session/comparison.h"
#include "workbench/session/progress.h"
#include "workbench/session/session.h"

/* What --on says. With --trace no engine runs: the file stands in its place. */
static enum status choose_sides(const struct arguments *arguments, struct session_options *options, struct error *err)
{
    const char *on = arguments->on ? arguments->on : arguments->trace ? "reference" : "engine,reference";
    options->engine =
        strcmp(on, "engine") == 0 || strcmp(on, "engine,reference") == 0 || strcmp(on, "reference,engine") == 0;
    options->reference = strcmp(on, "engine") != 0;
    if (!options->engine && strcmp(on, "reference") != 0)
        return error_set(err, STATUS_USAGE, NULL, "--on", ERROR_NO_OFFSET,
                         "\"%s\", expected engine, reference or engine,reference", on);
    if (arguments->trace && options->engine)
        return error_set(err, STATUS_USAGE, NULL, "--on", ERROR_NO_OFFSET,
                         "\"%s\" with --trace, whose file stands in the engine's place", on);
    if (arguments->n_faults > 0 && !options->engine)
        return error_set(err, STATUS_USAGE, NULL, "--fault", ERROR_NO_OFFSET,
                         "is planted in the engine, which does not run");
    options->device = arguments->device;
    options->faults = arguments->faults;
    options->n_faults = arguments->n_faults;
    options->weights = arguments->weights;
    return STATUS_OK;
}

/* A stage that our own run should have made and did not is a failure, never a divergence. */
static enum status check_complete(const struct trace *trace, const struct plan *plan, struct error *err)
{
    for (uint32_t s = 0; s < plan->n_steps; s++) {
        const struct trace_stage *stage = trace_find_step(trace, &plan->steps[s]);
        char label[64];
        if (!stage || stage->n_recorded < trace->n_positions)
            return error_set(err, STATUS_DEVICE, trace->path, step_label(&plan->steps[s], label), ERROR_NO_OFFSET,
                             "%u rows were captured, expected %u", stage ? stage->n_recorded : 0, trace->n_positions);
    }
    return STATUS_OK;
}

static bool holds_samples(const struct trace *trace)
{
    return trace_find(trace, LAYER_NONE, STAGE_sample_probs) || trace_find(trace, LAYER_NONE, STAGE_sample_token);
}

/* Runs the golden's tokens on one side. */
static enum status record_side(struct session *session, struct comparison *comparison, enum source source,
                               const struct trace *golden, struct error *err)
{
    char what[32];
    struct trace trace;
    if (!session->on[source])
        return STATUS_OK;
    strcpy(what, source_name(source));
    strcat(what, ": position");
    const struct record_options options = {
        .n_positions = golden->n_positions,
        .tokens = golden->tokens,
        .phase = golden->phase,
        .progress = progress_show,
        .progress_context = what,
    };
    enum status status = session_record(session, source, &options, &trace, err);
    if (status)
        return status;
    comparison_add(comparison, source, &trace);
    return check_complete(&comparison->traces[comparison->n_traces - 1], comparison->plan, err);
}

static enum status add_foreign_trace(struct session *session, struct comparison *comparison, const char *path,
                                     const struct trace *golden, struct error *err)
{
    struct trace trace;
    bool same;
    if (!path)
        return STATUS_OK;
    enum status status = trace_read(&trace, path, err);
    if (status)
        return status;
    if (holds_samples(&trace) && !session->samples) {
        session->samples = true;
        session->sampling = trace.sampling;
    }
    comparison_add(comparison, SOURCE_TRACE, &trace);
    const struct trace *added = comparison->list[comparison->n_traces - 1];
    status = trace_check_plan(added, comparison->plan, err);
    if (!status)
        status = trace_check_same_tokens(added, golden, err);
    if (!status)
        status = comparison_check_digests(comparison, &session->model, added, &same, err);
    return status;
}

/* Fills and judges the comparison: engine or trace, reference, golden. Takes the golden over. */
static enum status compare_sides(const struct arguments *arguments, struct session *session,
                                 struct comparison *comparison, struct trace *golden, struct error *err)
{
    bool same_weights = false;
    enum status status = trace_check_plan(golden, &session->plan, err);
    if (!status)
        status = comparison_check_digests(comparison, &session->model, golden, &same_weights, err);
    if (!status)
        status = add_foreign_trace(session, comparison, arguments->trace, golden, err);
    if (!status)
        status = record_side(session, comparison, SOURCE_ENGINE, golden, err);
    if (!status)
        status = record_side(session, comparison, SOURCE_REFERENCE, golden, err);
    if (status) {
        trace_free(golden);
        return status;
    }
    comparison_add(comparison, SOURCE_GOLDEN, golden);
    for (uint32_t i = 0; i < session->model.n_notes; i++)
        comparison_note(comparison, "%s", session->model.notes[i]);
    comparison_judge(comparison, same_weights, progress_show);
    return comparison_report(comparison, arguments->json, err);
}

enum status command_diff(const struct arguments *arguments, struct error *err)
{
    struct session_options options = {0};
    struct session session;
    struct trace golden;
    if (!arguments->golden)
        return error_set(err, STATUS_USAGE, NULL, "--golden", ERROR_NO_OFFSET,
                         "is missing: diff compares with a golden");
    enum status status = choose_sides(arguments, &options, err);
    if (!status)
        status = trace_read(&golden, arguments->golden, err);
    if (status)
        return status;
    options.max_positions = golden.n_positions;
    status = session_open(&session, arguments->positional[0], &options, err);
    if (status) {
        trace_free(&golden);
        return status;
    }
    session.sampling = golden.sampling;
    session.samples = holds_samples(&golden);
    struct comparison comparison = {.plan = &session.plan};
    status = compare_sides(arguments, &session, &comparison, &golden, err);
    comparison_free(&comparison);
    session_close(&session);
    return status;
}
