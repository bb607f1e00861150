#include "workbench/session/compare_golden.h"

#include "workbench/session/compare_run.h"
#include "workbench/session/progress.h"

enum status compare_choose_sides(const char *on, bool has_trace, struct session_options *options, struct error *err)
{
    options->engine = !has_trace;
    options->reference = true;
    TRY(parse_on(on, &options->engine, &options->reference, err));
    if (has_trace && options->engine) {
        return error_set(err, STATUS_USAGE, NULL, "--on", ERROR_NO_OFFSET,
                         "\"%s\" with --trace, whose file takes the engine's place", on);
    }
    if (options->n_faults > 0 && !options->engine) {
        return error_set(err, STATUS_USAGE, NULL, "--fault", ERROR_NO_OFFSET,
                         "is planted in the engine, which does not run");
    }
    return STATUS_OK;
}

static bool holds_samples(const struct trace *trace)
{
    return trace_find(trace, LAYER_NONE, STAGE_sample_probs) || trace_find(trace, LAYER_NONE, STAGE_sample_token);
}

/* Adds a trace that takes the engine's place, if one is given; takes it over. */
static enum status add_foreign_trace(struct session *session, struct comparison *comparison, struct trace *trace,
                                     const struct trace *golden, struct error *err)
{
    bool same;
    if (trace == NULL) {
        return STATUS_OK;
    }
    if (holds_samples(trace) && !session->samples) {
        session->samples = true;
        session->sampling = trace->sampling;
    }
    trace_fill_logits(trace, comparison->plan);
    comparison_add(comparison, SOURCE_TRACE, trace);
    const struct trace *added = comparison->list[comparison->n_traces - 1];
    TRY(trace_check_plan(added, comparison->plan, err));
    TRY(trace_check_same_tokens(added, golden, err));
    return comparison_check_digests(comparison, &session->model, added, &same, err);
}

static void note_model(struct comparison *comparison, const struct model *model)
{
    for (uint32_t i = 0; i < model->n_notes; i++) {
        comparison_note(comparison, "%s", model->notes[i]);
    }
}

/* Adds engine or trace, the reference, then the golden, which is taken over; and judges them. own: as in
 * compare_check_golden. */
static enum status compare_sides(struct comparison *comparison, struct session *session, struct trace *golden,
                                 struct trace *trace, const struct plan *own, struct error *err)
{
    bool same_weights = false;
    enum status status = compare_check_golden(session, comparison, golden, own, &same_weights, err);
    if (status == STATUS_OK) {
        status = add_foreign_trace(session, comparison, trace, golden, err);
    }
    if (status == STATUS_OK) {
        status = compare_record(session, comparison, SOURCE_ENGINE, golden, false, err);
    }
    if (status == STATUS_OK) {
        status = compare_record(session, comparison, SOURCE_REFERENCE, golden, false, err);
    }
    TRY(status);
    comparison_add(comparison, SOURCE_GOLDEN, golden);
    note_model(comparison, &session->model);
    comparison_judge(comparison, same_weights, progress_show);
    return STATUS_OK;
}

static enum status open_own_model(struct golden_comparison *compared, const char *path, struct error *err)
{
    if (path == NULL) {
        return STATUS_OK;
    }
    TRY(model_open(&compared->own_model, path, err));
    enum status status = plan_build(&compared->own_plan, &compared->own_model, err);
    if (status != STATUS_OK) {
        model_close(&compared->own_model);
    }
    compared->has_own = status == STATUS_OK;
    return status;
}

enum status golden_compare(struct golden_comparison *compared, struct session *session, struct trace *golden,
                           const struct compare_options *options, struct error *err)
{
    *compared = (struct golden_comparison){
        .comparison = {.plan = &session->plan, .strict = options->strict, .blind_spots = true}};
    session->sampling = golden->sampling;
    session->samples = holds_samples(golden);
    enum status status = open_own_model(compared, options->golden_model, err);
    if (status == STATUS_OK) {
        const struct plan *own = compared->has_own ? &compared->own_plan : NULL;
        status = compare_sides(&compared->comparison, session, golden, options->trace, own, err);
    }
    if (status != STATUS_OK) {
        /* Each is empty where the comparison took it over. */
        trace_free(golden);
        if (options->trace != NULL) {
            trace_free(options->trace);
        }
        golden_comparison_free(compared);
    }
    return status;
}

void golden_comparison_free(struct golden_comparison *compared)
{
    comparison_free(&compared->comparison);
    if (compared->has_own) {
        plan_free(&compared->own_plan);
        model_close(&compared->own_model);
    }
    compared->has_own = false;
}

enum status trace_audit(struct comparison *comparison, const struct plan *plan, struct trace *trace, bool strict,
                        struct error *err)
{
    bool same_weights = false;
    *comparison = (struct comparison){.plan = plan, .strict = strict};
    trace_fill_logits(trace, plan);
    comparison_add(comparison, SOURCE_TRACE, trace);
    enum status status = trace_check_plan(comparison->list[0], plan, err);
    if (status == STATUS_OK) {
        status = comparison_check_digests(comparison, plan->model, comparison->list[0], &same_weights, err);
    }
    if (status != STATUS_OK) {
        comparison_free(comparison);
        return status;
    }
    note_model(comparison, plan->model);
    comparison_judge(comparison, same_weights, progress_show);
    return STATUS_OK;
}
