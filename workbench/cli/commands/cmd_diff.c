/* lockstep diff MODEL --golden G.h5: compares the engine, or a trace in its place, and the reference with a golden. */
#include "workbench/cli/commands/describe_run.h"
#include "workbench/cli/commands/option_values.h"
#include "workbench/session/compare_run.h"
#include "workbench/session/progress.h"

/* Reads the options that say what runs. With --trace no engine runs: the file takes its place. */
static enum status choose_sides(const struct arguments *arguments, struct session_options *options, struct error *err)
{
    options->engine = arguments->trace == NULL;
    options->reference = true;
    TRY(parse_on(arguments->on, &options->engine, &options->reference, err));
    if (arguments->trace != NULL && options->engine) {
        return error_set(err, STATUS_USAGE, NULL, "--on", ERROR_NO_OFFSET,
                         "\"%s\" with --trace, whose file takes the engine's place", arguments->on);
    }
    if (arguments->faults.n > 0 && !options->engine) {
        return error_set(err, STATUS_USAGE, NULL, "--fault", ERROR_NO_OFFSET,
                         "is planted in the engine, which does not run");
    }
    options->device = arguments->device;
    options->faults = arguments->faults.text;
    options->n_faults = arguments->faults.n;
    options->weights = arguments->weights;
    return STATUS_OK;
}

static bool holds_samples(const struct trace *trace)
{
    return trace_find(trace, LAYER_NONE, STAGE_sample_probs) || trace_find(trace, LAYER_NONE, STAGE_sample_token);
}

/* Reads --trace, if it is given. */
static enum status add_foreign_trace(struct session *session, struct comparison *comparison, const char *path,
                                     const struct trace *golden, struct error *err)
{
    struct trace trace;
    bool same;
    if (path == NULL) {
        return STATUS_OK;
    }
    TRY(trace_read(&trace, path, err));
    if (holds_samples(&trace) && !session->samples) {
        session->samples = true;
        session->sampling = trace.sampling;
    }
    comparison_add(comparison, SOURCE_TRACE, &trace);
    const struct trace *added = comparison->list[comparison->n_traces - 1];
    TRY(trace_check_plan(added, comparison->plan, err));
    TRY(trace_check_same_tokens(added, golden, err));
    return comparison_check_digests(comparison, &session->model, added, &same, err);
}

/* Adds engine or trace, then the reference. */
static enum status add_sides(const struct arguments *arguments, struct session *session, struct comparison *comparison,
                             const struct trace *golden, struct error *err)
{
    TRY(add_foreign_trace(session, comparison, arguments->trace, golden, err));
    TRY(compare_record(session, comparison, SOURCE_ENGINE, golden, false, err));
    return compare_record(session, comparison, SOURCE_REFERENCE, golden, false, err);
}

/* Fills and judges the comparison, and prints the report. Takes the golden over. own: as in compare_check_golden. */
static enum status compare_sides(const struct arguments *arguments, struct session *session,
                                 struct comparison *comparison, struct trace *golden, const struct plan *own,
                                 struct error *err)
{
    bool same_weights = false;
    enum status status = compare_check_golden(session, comparison, golden, own, &same_weights, err);
    if (status == STATUS_OK) {
        status = add_sides(arguments, session, comparison, golden, err);
    }
    if (status != STATUS_OK) {
        trace_free(golden);
        return status;
    }
    comparison_add(comparison, SOURCE_GOLDEN, golden);
    for (uint32_t i = 0; i < session->model.n_notes; i++) {
        comparison_note(comparison, "%s", session->model.notes[i]);
    }
    comparison_judge(comparison, same_weights, progress_show);
    describe_run(comparison, arguments, session->on[SOURCE_ENGINE] ? &session->backend[SOURCE_ENGINE] : NULL);
    return comparison_report(comparison, arguments->json, err);
}

/* The model that the golden was made with. */
struct own_model {
    struct model model;
    struct plan plan;
};

static enum status own_model_open(struct own_model *own, const char *path, struct error *err)
{
    TRY(model_open(&own->model, path, err));
    enum status status = plan_build(&own->plan, &own->model, err);
    if (status != STATUS_OK) {
        model_close(&own->model);
    }
    return status;
}

static void own_model_close(struct own_model *own)
{
    plan_free(&own->plan);
    model_close(&own->model);
}

/* Opens --golden-model, if it is given, and compares. Takes the golden over. */
static enum status compare_with_own_model(const struct arguments *arguments, struct session *session,
                                          struct trace *golden, struct error *err)
{
    struct comparison comparison = {
        .plan = &session->plan, .parts = parse_parts(arguments), .strict = arguments->strict, .blind_spots = true};
    struct own_model own;
    bool has_own = arguments->golden_model != NULL;
    enum status status = has_own ? own_model_open(&own, arguments->golden_model, err) : STATUS_OK;
    if (status != STATUS_OK) {
        trace_free(golden);
        return status;
    }
    status = compare_sides(arguments, session, &comparison, golden, has_own ? &own.plan : NULL, err);
    comparison_free(&comparison);
    if (has_own) {
        own_model_close(&own);
    }
    return status;
}

enum status command_diff(const struct arguments *arguments, struct error *err)
{
    struct session_options options = {0};
    struct session session;
    struct trace golden;
    if (arguments->golden == NULL) {
        return error_set(err, STATUS_USAGE, NULL, "--golden", ERROR_NO_OFFSET,
                         "is missing: diff compares with a golden");
    }
    TRY(choose_sides(arguments, &options, err));
    TRY(trace_read(&golden, arguments->golden, err));
    options.max_positions = golden.n_positions;
    enum status status = session_open(&session, arguments->positional[0], &options, err);
    if (status != STATUS_OK) {
        trace_free(&golden);
        return status;
    }
    session.sampling = golden.sampling;
    session.samples = holds_samples(&golden);
    status = compare_with_own_model(arguments, &session, &golden, err);
    session_close(&session);
    return status;
}
