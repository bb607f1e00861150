/* What a page shows beside the report's JSON. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "workbench/pages/pages.h"
#include "workbench/python/python.h"
#include "workbench/trace/json_file.h"
#include "workbench/trace/sample.h"

#define MOST_VALUES 64 /* around the failing dim */
#define MOST_NEXT 10   /* likeliest tokens of a source */
/* Errors are counted by decade of their ratio to the bound: below 1e-3, then from 1e-3 to 1e9, then above. */
#define FIRST_DECADE (-3)
#define N_DECADES 14

static json_t *token_entry(const struct model *model, int32_t id)
{
    json_t *entry = json_object();
    char *text = python_token_text(model, id);
    json_put(entry, "id", json_integer(id));
    if (text != NULL) {
        json_put(entry, "text", json_text(text));
    }
    free(text);
    return entry;
}

static json_t *token_entries(const struct report *report)
{
    const struct trace *trace = report->traces[0];
    json_t *tokens = json_array();
    for (uint32_t p = 0; p < trace->n_positions; p++) {
        json_t *entry = token_entry(report->plan->model, trace->tokens[p]);
        json_put(entry, "phase", json_string(trace->phase[p] == PHASE_DECODE ? "decode" : "prefill"));
        json_push(tokens, entry);
    }
    return tokens;
}

/* The rows of one step of one trace, computed from that trace's own inputs. */
struct failing {
    const struct step *step;
    const struct trace_stage *stage;
    struct rows rows;
    uint64_t decades[N_DECADES];
};

/* Counts a value's error by its decade. */
static void count_error(struct failing *failing, double ratio)
{
    if (isnan(ratio)) {
        return;
    }
    double decade = ratio > 0 ? floor(log10(ratio)) - FIRST_DECADE + 1 : 0;
    failing->decades[decade < 0 ? 0 : decade < N_DECADES ? (unsigned)decade : N_DECADES - 1]++;
}

/* {"token", "ratio", "abs_error"} of a row; "ratio" is null where the row cannot be judged. */
static json_t *judge_one(struct failing *failing, const struct op_row *row, const double *expected, const double *bound)
{
    uint32_t width = failing->step->width;
    const float *actual = trace_row(failing->stage, row->position);
    double worst = 0, error = 0;
    bool judged = !row_is_undecidable(row, width, actual, expected, bound);
    for (uint32_t i = 0; i < width && judged; i++) {
        double ratio = judge(expected[i], actual[i], bound[i]);
        worst = fmax(worst, ratio);
        error = fmax(error, fabs(actual[i] - expected[i]));
        count_error(failing, ratio);
    }
    json_t *entry = json_object();
    json_put(entry, "token", json_integer(row->position));
    json_put(entry, "ratio", judged ? json_number_or_text(worst) : json_null());
    json_put(entry, "abs_error", judged ? json_number_or_text(error) : json_null());
    return entry;
}

static json_t *doubles(const double *values, uint32_t n)
{
    json_t *array = json_array();
    for (uint32_t i = 0; i < n; i++) {
        json_push(array, json_number_or_text(values[i]));
    }
    return array;
}

static json_t *floats(const float *values, uint32_t n)
{
    json_t *array = json_array();
    for (uint32_t i = 0; i < n; i++) {
        json_push(array, json_number_or_text(values[i]));
    }
    return array;
}

/* The values around a dim: expected, actual and bound. */
static json_t *values_around(const struct failing *failing, const struct finding *finding, const double *expected,
                             const double *bound)
{
    uint32_t width = failing->step->width, n = width < MOST_VALUES ? width : MOST_VALUES;
    uint32_t first = finding->dim < n / 2 ? 0 : finding->dim - n / 2;
    first = first + n > width ? width - n : first;
    json_t *object = json_object();
    json_put(object, "token", json_integer(finding->position));
    json_put(object, "dim", json_integer(finding->dim));
    json_put(object, "first_dim", json_integer(first));
    json_put(object, "expected", doubles(expected + first, n));
    json_put(object, "actual", floats(trace_row(failing->stage, finding->position) + first, n));
    json_put(object, "bound", doubles(bound + first, n));
    return object;
}

/* Computes the rows in pieces that fit the memory, and adds what each shows. */
static void compute_rows(struct failing *failing, const struct finding *finding, json_t *entries, json_t *object)
{
    uint32_t width = failing->step->width, n_rows = failing->rows.n, at_once = rows_at_once(n_rows, width);
    double *expected = xmalloc((uint64_t)at_once * width * sizeof(*expected));
    double *bound = xmalloc((uint64_t)at_once * width * sizeof(*bound));
    for (uint32_t first = 0; first < n_rows; first += at_once) {
        const struct op_batch piece = {.step = failing->step,
                                       .weights_dtype = failing->stage->weights_dtype,
                                       .n_rows = n_rows - first < at_once ? n_rows - first : at_once,
                                       .rows = failing->rows.rows + first,
                                       .y = expected,
                                       .bound = bound};
        op_run(&piece);
        for (uint32_t i = 0; i < piece.n_rows; i++) {
            const double *y = expected + (uint64_t)i * width, *b = bound + (uint64_t)i * width;
            json_push(entries, judge_one(failing, &piece.rows[i], y, b));
            if (piece.rows[i].position == finding->position) {
                json_put(object, "values", values_around(failing, finding, y, b));
            }
        }
    }
    free(expected);
    free(bound);
}

/* The rows of the first divergence's step; null where there is none, or where other weights judged the golden. */
static json_t *failing_step(const struct report *report)
{
    if (!report->verdict->diverged) {
        return json_null();
    }
    const struct introduced *first = verdict_first(report->verdict);
    if (first->source == SOURCE_GOLDEN && report->golden_weights->kind != GOLDEN_WEIGHTS_SAME) {
        return json_null();
    }
    const struct step *step = &report->plan->steps[first->step];
    const struct trace *trace = report->traces[first->trace];
    struct failing failing = {.step = step, .stage = trace_find_step(trace, step)};
    json_t *object = json_object(), *entries = json_array(), *decades = json_array();
    rows_gather(&failing.rows, report->plan, first->step, trace, NULL);
    compute_rows(&failing, audit_finding(report->audit, first->step, first->trace), entries, object);
    rows_free(&failing.rows);
    for (uint32_t i = 0; i < N_DECADES; i++) {
        json_push(decades, json_integer((json_int_t)failing.decades[i]));
    }
    json_put(object, "rows", entries);
    json_put(object, "first_decade", json_integer(FIRST_DECADE));
    json_put(object, "errors_by_decade", decades);
    return object;
}

/* The likeliest tokens of a row of logits, best first. */
static json_t *likeliest(const struct model *model, const float *logits, uint32_t width)
{
    json_t *list = json_array();
    float *left = xmalloc(width * sizeof(*left));
    memcpy(left, logits, width * sizeof(*left));
    for (uint32_t i = 0; i < MOST_NEXT && i < width; i++) {
        uint32_t id = argmax(left, width);
        json_t *entry = token_entry(model, (int32_t)id);
        json_put(entry, "logit", json_number_or_text(logits[id]));
        json_push(list, entry);
        left[id] = NAN; /* argmax leaves it out */
    }
    free(left);
    return list;
}

/* What each source makes of the last position whose logits it recorded. */
static json_t *next_tokens(const struct report *report)
{
    json_t *array = json_array();
    for (uint32_t t = 0; t < report->audit->n_traces; t++) {
        const struct trace *trace = report->traces[t];
        const struct trace_stage *stage = trace_find(trace, LAYER_NONE, STAGE_logits_final);
        uint32_t p = trace->n_positions;
        while (stage != NULL && p > 0 && trace_row(stage, p - 1) == NULL) {
            p--;
        }
        if (stage == NULL || p == 0) {
            continue;
        }
        json_t *entry = json_object();
        json_put(entry, "source", json_string(source_name(report->sources[t])));
        json_put(entry, "token", json_integer(p - 1));
        json_put(entry, "likeliest", likeliest(report->plan->model, trace_row(stage, p - 1), stage->width));
        json_push(array, entry);
    }
    return array;
}

json_t *page_details(const struct report *report)
{
    json_t *details = json_object();
    json_put(details, "tokens", token_entries(report));
    json_put(details, "failing", failing_step(report));
    json_put(details, "next_tokens", next_tokens(report));
    return details;
}
