#include "workbench/batch/run_case.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "workbench/python/import.h"
#include "workbench/session/compare_golden.h"
#include "workbench/session/step_kernel.h"
#include "workbench/trace/json_file.h"

const char *outcome_name(enum outcome outcome)
{
    static const char *const names[OUTCOME_COUNT] = {"parity", "diverged", "undecided", "error"};
    return names[outcome];
}

static bool same_text(const char *a, const char *b)
{
    return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

void open_model_close(struct open_model *open)
{
    if (open->is_open) {
        session_close(&open->session);
    }
    free(open->path);
    free(open->device);
    *open = (struct open_model){0};
}

/* Opens the case's model, unless it is open on the same device: then only sides and faults change. */
static enum status open_case(struct open_model *open, const struct batch_case *one,
                             const struct session_options *options, struct error *err)
{
    if (open->is_open && same_text(open->path, one->model) && same_text(open->device, one->device)) {
        return session_change(&open->session, options, err);
    }
    open_model_close(open);
    TRY(session_open(&open->session, one->model, options, err));
    open->is_open = true;
    open->path = xstrdup(one->model);
    open->device = xstrdup(one->device);
    return STATUS_OK;
}

static json_t *report_of(struct comparison *comparison, const struct session *session)
{
    const struct backend *engine = session->on[SOURCE_ENGINE] ? &session->backend[SOURCE_ENGINE] : NULL;
    step_kernel_describe(comparison, engine);
    const struct report report = comparison_view(comparison);
    return report_json(&report);
}

static enum status read_trace(struct trace *trace, const struct batch_case *one, struct error *err)
{
    const struct import_options import = {.model = one->model};
    return import_read(trace, one->trace, &import, err);
}

static enum status run_audit(struct open_model *open, const struct batch_case *one, json_t **report, struct error *err)
{
    struct trace trace;
    struct comparison comparison;
    TRY(read_trace(&trace, one, err));
    enum status status = open_case(open, one, &(struct session_options){0}, err);
    if (status != STATUS_OK) {
        trace_free(&trace);
        return status;
    }
    TRY(trace_audit(&comparison, &open->session.plan, &trace, false, err));
    *report = report_of(&comparison, &open->session);
    comparison_free(&comparison);
    return STATUS_OK;
}

static enum status run_diff(struct open_model *open, const struct batch_case *one, json_t **report, struct error *err)
{
    struct trace golden, foreign = {0};
    struct golden_comparison compared;
    struct session_options options = {
        .device = one->device,
        .faults = (const char *const *)one->faults,
        .n_faults = one->n_faults,
        .weights = one->weights,
    };
    TRY(compare_choose_sides(one->on, one->trace != NULL, &options, err));
    TRY(trace_read(&golden, one->golden, err));
    options.max_positions = golden.n_positions;
    enum status status = one->trace != NULL ? read_trace(&foreign, one, err) : STATUS_OK;
    if (status == STATUS_OK) {
        status = open_case(open, one, &options, err);
    }
    if (status != STATUS_OK) {
        trace_free(&foreign);
        trace_free(&golden);
        return status;
    }
    const struct compare_options compare = {.trace = one->trace != NULL ? &foreign : NULL,
                                            .golden_model = one->golden_model};
    TRY(golden_compare(&compared, &open->session, &golden, &compare, err));
    *report = report_of(&compared.comparison, &open->session);
    golden_comparison_free(&compared);
    return STATUS_OK;
}

static json_t *result_of(const struct batch_case *one, const char *outcome, double seconds)
{
    json_t *result = json_object();
    json_put(result, "status", json_string(outcome));
    json_put(result, "as_expected", json_boolean(strcmp(outcome, outcome_name(one->expect)) == 0));
    json_put(result, "seconds", json_real(seconds));
    return result;
}

json_t *case_failed(const struct batch_case *one, const char *why, enum status status, double seconds)
{
    json_t *result = result_of(one, outcome_name(OUTCOME_ERROR), seconds);
    json_put(result, "error", json_text(why));
    json_put(result, "exit_status", json_integer(status));
    return result;
}

double seconds_now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

json_t *case_run(struct open_model *open, const struct batch_case *one)
{
    struct error err = {0};
    json_t *report = NULL;
    double start = seconds_now();
    enum status status = one->golden != NULL ? run_diff(open, one, &report, &err) : run_audit(open, one, &report, &err);
    if (status != STATUS_OK) {
        open_model_close(open); /* whatever state it is in */
        return case_failed(one, err.text, status, seconds_now() - start);
    }
    json_t *result = result_of(one, json_string_value(json_object_get(report, "verdict")), seconds_now() - start);
    json_put(result, "report", report);
    return result;
}
