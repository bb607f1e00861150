/* The report as JSON: the format "lockstep-report", version 1. */
#include <math.h>
#include <string.h>

#include "workbench/audit/ledger.h"
#include "workbench/diagnose/triage.h"
#include "workbench/fault/fault.h"
#include "workbench/report/growth_table.h"
#include "workbench/report/report.h"
#include "workbench/report/report_arithmetic.h"
#include "workbench/report/report_drift.h"
#include "workbench/trace/json_file.h"

static void put_place(json_t *object, const struct step *step)
{
    json_put(object, "layer", json_layer(step->layer));
    json_put(object, "stage", json_string(stage_name(step->stage)));
}

static json_t *places(const struct plan *plan, const uint32_t *steps, uint32_t n)
{
    json_t *array = json_array();
    for (uint32_t i = 0; i < n; i++) {
        json_t *place = json_object();
        put_place(place, &plan->steps[steps[i]]);
        json_push(array, place);
    }
    return array;
}

/* Adds the span of a step that was judged over stages that are not recorded: where it begins, and what it covers. */
static void put_span(json_t *object, const struct report *report, uint32_t step, uint32_t trace)
{
    struct span_path path;
    if (!audit_finding(report->audit, step, trace)->span) {
        return;
    }
    span_path_find(&path, report->plan, step, report->traces[trace]);
    json_put(object, "from", places(report->plan, path.from, path.n_from));
    json_put(object, "between", places(report->plan, path.between, path.n_between));
    span_path_free(&path);
}

static json_t *first_divergence(const struct report *report)
{
    if (!report->verdict->diverged) {
        return json_null();
    }
    const struct introduced *first = verdict_first(report->verdict);
    const struct finding *finding = audit_finding(report->audit, first->step, first->trace);
    const uint8_t *phase = report->traces[first->trace]->phase;
    json_t *object = json_object();
    put_place(object, &report->plan->steps[first->step]);
    json_put(object, "token", json_integer(finding->position));
    json_put(object, "dim", json_integer(finding->dim));
    json_put(object, "phase", json_string(phase[finding->position] == PHASE_DECODE ? "decode" : "prefill"));
    json_put(object, "expected", json_number_or_text(finding->expected));
    json_put(object, "actual", json_number_or_text(finding->actual));
    json_put(object, "abs_error", json_number_or_text(finding->abs_error));
    json_put(object, "bound", json_number_or_text(finding->bound));
    json_put(object, "ratio", json_number_or_text(finding->ratio));
    json_put(object, "source", json_string(verdict_source(report->verdict->outlier, first->source)));
    if (report->run->kernel != NULL) {
        json_put(object, "kernel", json_string(report->run->kernel));
    }
    put_span(object, report, first->step, first->trace);
    return object;
}

static json_t *introduced(const struct report *report)
{
    json_t *array = json_array();
    for (uint32_t i = 0; i < report->verdict->n_introduced; i++) {
        const struct introduced *at = &report->verdict->introduced[i];
        const struct finding *finding = audit_finding(report->audit, at->step, at->trace);
        json_t *object = json_object();
        json_put(object, "source", json_string(source_name(at->source)));
        put_place(object, &report->plan->steps[at->step]);
        json_put(object, "ratio", json_number_or_text(finding->max_ratio));
        json_put(object, "rows", json_integer(finding->rows_failed));
        json_put(object, "worst_token", json_integer(finding->worst_position));
        json_put(object, "worst_dim", json_integer(finding->worst_dim));
        put_span(object, report, at->step, at->trace);
        json_push(array, object);
    }
    return array;
}

/* The number that explains the error: what MODEL has, and what was found. Nothing where none was solved for. */
static void put_solved(json_t *object, const struct solved *solved)
{
    if (!*solved->name) {
        return;
    }
    json_t *number = json_object();
    json_put(number, "name", json_string(solved->name));
    json_put(number, "expected", json_number_or_text(solved->expected));
    json_put(number, "found", json_number_or_text(solved->found));
    json_put(object, "solved", number);
}

static json_t *numbers(const uint32_t *values, uint32_t n)
{
    json_t *array = json_array();
    for (uint32_t i = 0; i < n; i++) {
        json_push(array, json_integer(values[i]));
    }
    return array;
}

/* Adds where the bug strikes: layers, rows, heads, dims. */
static void put_extent(json_t *object, const struct diagnosis *diagnosis)
{
    const struct extent *extent = &diagnosis->extent;
    const uint32_t dims[] = {extent->first_dim, extent->end_dim};
    json_put(object, "layers", numbers(diagnosis->layers, diagnosis->n_layers));
    json_put(object, "rows", json_string(extent->rows));
    json_put(object, "heads", extent->n_heads > 0 ? numbers(extent->heads, extent->n_heads) : json_null());
    json_put(object, "dims", extent->end_dim > 0 ? numbers(dims, 2) : json_null());
}

/* The prompt's commands that show what is diagnosed. */
static json_t *commands(const struct report *report, const struct diagnosis *diagnosis)
{
    char texts[TRIAGE_MOST_COMMANDS][TRIAGE_COMMAND_SIZE];
    const struct finding *finding = audit_finding(report->audit, diagnosis->introduced, diagnosis->trace);
    const struct triage_place place = {report->plan, diagnosis->step,
                                       diagnosis->step == diagnosis->introduced ? finding : NULL, finding->position};
    json_t *array = json_array();
    uint32_t n = triage_commands(&place, texts);
    for (uint32_t i = 0; i < n; i++) {
        json_push(array, json_string(texts[i]));
    }
    return array;
}

static json_t *diagnoses(const struct report *report)
{
    json_t *array = json_array();
    for (uint32_t i = 0; i < report->n_diagnoses; i++) {
        const struct diagnosis *diagnosis = &report->diagnoses[i];
        json_t *object = json_object();
        json_put(object, "fault", json_string(diagnosis->fault));
        json_put(object, "kind", json_string(fault_kind_name(diagnosis->kind)));
        json_put(object, "how", json_string(diagnosis_how_name(diagnosis->how)));
        json_put(object, "text", json_text(diagnosis->text));
        json_put(object, "postmortem", json_string(diagnosis->postmortem));
        put_solved(object, &diagnosis->solved);
        json_put(object, "source", json_string(source_name(report->sources[diagnosis->trace])));
        put_place(object, &report->plan->steps[diagnosis->step]);
        put_extent(object, diagnosis);
        json_put(object, "next", commands(report, diagnosis));
        json_push(array, object);
    }
    return array;
}

static bool is_diagnosed(const struct report *report, const char *name)
{
    bool found = false;
    for (uint32_t i = 0; i < report->n_diagnoses; i++) {
        found |= strcmp(report->diagnoses[i].fault, name) == 0;
    }
    return found;
}

/* The known bugs that strike the first divergence's op, and do not give what was recorded: a diagnosis tries each. Not
 * of a span, over which it tries fewer; and not those that only some traces allow to be tried. */
static json_t *ruled_out(const struct report *report)
{
    const struct introduced *first = verdict_first(report->verdict);
    uint32_t n_faults;
    const struct fault *faults = fault_list(&n_faults);
    json_t *names = json_array();
    bool tried = report->n_diagnoses == 0 || report->diagnoses[0].kind != KIND_RECORDING;
    tried = tried && !audit_finding(report->audit, first->step, first->trace)->span;
    for (uint32_t i = 0; i < n_faults && tried; i++) {
        const struct fault *fault = &faults[i];
        if (fault_is_mutant(fault) && !fault->nonfinite && !fault->exact_input &&
            fault_applies(fault, report->plan, first->step) && !is_diagnosed(report, fault->name)) {
            json_push(names, json_string(fault->name));
        }
    }
    return names;
}

/* What to look at next, from the first divergence on. */
static json_t *next(const struct report *report)
{
    if (!report->verdict->diverged) {
        return json_null();
    }
    uint32_t first = verdict_first(report->verdict)->step;
    return json_string(triage_next(report->plan, first, report->diagnoses, report->n_diagnoses));
}

/* The stages of which a source has rows whose bounds are so wide that zeros would pass. */
static json_t *undecidable(const struct report *report)
{
    json_t *array = json_array();
    for (uint32_t s = 0; s < report->plan->n_steps; s++) {
        for (uint32_t t = 0; t < report->audit->n_traces; t++) {
            const struct finding *finding = audit_finding(report->audit, s, t);
            if (finding->rows_undecidable == 0) {
                continue;
            }
            json_t *entry = json_object();
            json_put(entry, "source", json_string(source_name(report->sources[t])));
            put_place(entry, &report->plan->steps[s]);
            json_put(entry, "rows", json_integer(finding->rows_undecidable));
            json_put(entry, "of", json_integer(finding->rows_recorded));
            json_push(array, entry);
        }
    }
    return array;
}

static json_t *coverage(const struct report *report)
{
    const struct verdict *verdict = report->verdict;
    json_t *object = json_object(), *missing = json_array(), *unaudited = json_array();
    for (uint32_t i = 0; i < verdict->n_lacks; i++) {
        json_t *lack = json_object();
        json_put(lack, "source", json_string(source_name(verdict->lacks[i].source)));
        put_place(lack, &report->plan->steps[verdict->lacks[i].step]);
        json_push(verdict->lacks[i].unaudited ? unaudited : missing, lack);
    }
    json_put(object, "expected", json_integer(verdict->expected));
    json_put(object, "compared", json_integer(verdict->compared));
    json_put(object, "missing", missing);
    json_put(object, "undecidable", undecidable(report));
    json_put(object, "unaudited", unaudited);
    return object;
}

static void put_or_null(json_t *object, const char *key, double value)
{
    json_put(object, key, isnan(value) ? json_null() : json_number_or_text(value));
}

static json_t *stage_entry(const struct report *report, uint32_t step, uint32_t trace)
{
    const struct finding *finding = audit_finding(report->audit, step, trace);
    double drift = report->audit->relative_rms[(uint64_t)step * report->audit->n_traces + trace];
    bool judged = finding->rows_judged > 0;
    json_t *object = json_object();
    put_place(object, &report->plan->steps[step]);
    json_put(object, "source", json_string(source_name(report->sources[trace])));
    json_put(object, "max_ratio", judged ? json_number_or_text(finding->max_ratio) : json_null());
    json_put(object, "max_abs_error", judged ? json_number_or_text(finding->max_abs_error) : json_null());
    json_put(object, "rms", json_number_or_text(finding->rms));
    json_put(object, "max_abs", json_number_or_text(finding->max_abs));
    json_put(object, "nonfinite", json_integer((json_int_t)finding->nonfinite));
    json_put(object, "rows_judged", json_integer(finding->rows_judged));
    json_put(object, "rows_inherited", json_integer(finding->rows_inherited));
    json_put(object, "relative_rms", json_number_or_text(drift));
    struct ledger ledger = ledger_of(report->audit, step, trace);
    put_or_null(object, "introduced_error", ledger.introduced);
    put_or_null(object, "inherited_error", ledger.inherited);
    put_or_null(object, "amplification", ledger.amplification);
    put_span(object, report, step, trace);
    return object;
}

/* Known bugs that these tokens cannot show; only after parity. */
static void put_blind_spots(json_t *object, const struct report_run *run)
{
    json_t *names = json_array();
    for (uint32_t i = 0; i < run->n_blind && i < REPORT_MOST_BLIND; i++) {
        json_array_append_new(names, json_string(run->blind[i]));
    }
    if (run->n_blind > 0) {
        json_put(object, "blind_spots", names);
    } else {
        json_decref(names);
    }
}

static json_t *stages(const struct report *report)
{
    json_t *array = json_array();
    for (uint32_t s = 0; s < report->plan->n_steps; s++) {
        for (uint32_t t = 0; t < report->audit->n_traces; t++) {
            if (audit_finding(report->audit, s, t)->state != FINDING_MISSING) {
                json_push(array, stage_entry(report, s, t));
            }
        }
    }
    return array;
}

json_t *report_json(const struct report *report)
{
    json_t *object = json_object(), *notes = json_array();
    ASSERT(object && notes);
    for (uint32_t i = 0; i < report->n_notes; i++) {
        json_push(notes, json_text(report->notes[i]));
    }
    json_put(object, "format", json_string("lockstep-report"));
    json_put(object, "version", json_integer(1));
    json_put(object, "verdict", json_string(conclusion_name(report->verdict->conclusion)));
    json_put(object, "provenance", provenance_json(report));
    json_put(object, "sources", report_sources(report));
    json_put(object, "outlier", json_string(outlier_name(report->verdict->outlier)));
    json_put(object, "first_divergence", first_divergence(report));
    json_put(object, "introduced", introduced(report));
    json_put(object, "diagnosis", diagnoses(report));
    json_put(object, "next", next(report));
    if (report->verdict->diverged) {
        json_put(object, "ruled_out", ruled_out(report));
    }
    json_put(object, "coverage", coverage(report));
    json_put(object, "stages", stages(report));
    const struct growth growth = report_growth(report);
    json_put(object, "growth", growth_json(&growth));
    json_put(object, "notes", notes);
    put_blind_spots(object, report->run);
    report_drift_put(report, object);
    return object;
}
