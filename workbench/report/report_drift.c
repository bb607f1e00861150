#include "workbench/report/report_drift.h"

#include <math.h>
#include <string.h>

#include "workbench/report/wrapped_text.h"
#include "workbench/text/table.h"
#include "workbench/text/terminal.h"
#include "workbench/trace/json_file.h"
#include "workbench/trace/sample.h"

#define WIDTH (terminal_width() == 0 ? 100 : terminal_text_width()) /* columns */
#define WIDEST 100                                                  /* columns of the widest line of the table */
#define MOST_ACCUSED 8

/* How far one trace is from another at a stage. NaN: they have no row in common. */
struct apart {
    double cosine, relative_rms;
};

/* Drift at one step. */
struct drift {
    uint32_t step;
    struct apart quantisation, own; /* reference against golden; engine (or trace) against reference */
};

/* The traces that drift compares; NULL: not there. */
struct sides {
    const struct trace *ours, *reference, *golden; /* ours: engine or trace */
    uint32_t our_index, reference_index, golden_index;
    enum source our_source;
};

static struct sides sides_of(const struct report *report)
{
    struct sides sides = {0};
    for (uint32_t t = 0; t < report->audit->n_traces; t++) {
        switch (report->sources[t]) {
        case SOURCE_REFERENCE:
            sides.reference = report->traces[t];
            sides.reference_index = t;
            break;
        case SOURCE_GOLDEN:
            sides.golden = report->traces[t];
            sides.golden_index = t;
            break;
        default:
            sides.ours = report->traces[t];
            sides.our_index = t;
            sides.our_source = report->sources[t];
        }
    }
    return sides;
}

static struct apart apart_at(const struct step *step, const struct trace *a, const struct trace *b)
{
    const struct trace_stage *x = a ? trace_find_step(a, step) : NULL, *y = b ? trace_find_step(b, step) : NULL;
    double difference = 0, product = 0, size_x = 0, size_y = 0;
    for (uint32_t p = 0; x && y && p < a->n_positions; p++) {
        const float *row = trace_row(x, p), *other = trace_row(y, p);
        for (uint32_t i = 0; row && other && i < step->width; i++) {
            double error = (double)row[i] - other[i];
            difference += error * error;
            product += (double)row[i] * other[i];
            size_x += (double)row[i] * row[i];
            size_y += (double)other[i] * other[i];
        }
    }
    return (struct apart){product / sqrt(size_x * size_y), sqrt(difference / size_y)};
}

/* A layer's last step that reference and golden both recorded: layer_out, if it was. -1: there is none. */
static int64_t last_step(const struct report *report, const struct sides *sides, int32_t layer)
{
    for (uint32_t s = report->plan->n_steps; s-- > 0;) {
        const struct step *step = &report->plan->steps[s];
        const struct trace *ours = sides->reference ? sides->reference : sides->ours;
        if (step->layer == layer && trace_find_step(sides->golden, step) && trace_find_step(ours, step)) {
            return s;
        }
    }
    return -1;
}

/* Compares the sides at the end of a layer. false: no stage of it can be compared. */
static bool drift_of(const struct report *report, const struct sides *sides, int32_t layer, struct drift *drift)
{
    int64_t found = last_step(report, sides, layer);
    if (found < 0) {
        return false;
    }
    const struct step *step = &report->plan->steps[found];
    *drift = (struct drift){.step = (uint32_t)found,
                            .quantisation = apart_at(step, sides->reference, sides->golden),
                            .own = apart_at(step, sides->ours, sides->reference)};
    return true;
}

/* At how many positions the likeliest next token is the golden's: the engine's, or without one the reference's. */
static uint32_t count_agreeing(const struct sides *sides, uint32_t *of)
{
    const struct trace *ours = sides->ours ? sides->ours : sides->reference;
    const struct trace_stage *a = ours ? trace_find(ours, LAYER_NONE, STAGE_logits_final) : NULL;
    const struct trace_stage *b = trace_find(sides->golden, LAYER_NONE, STAGE_logits_final);
    uint32_t agree = 0;
    *of = 0;
    for (uint32_t p = 0; a && b && p < sides->golden->n_positions; p++) {
        const float *row = trace_row(a, p), *other = trace_row(b, p);
        if (row && other) {
            agree += argmax(row, a->width) == argmax(other, b->width);
            ++*of;
        }
    }
    return agree;
}

static void add_apart(const struct apart *apart, struct table *table)
{
    bool known = !isnan(apart->relative_rms);
    table_add_cell(table, known ? "%.7f" : "-", apart->cosine);
    table_add_cell(table, known ? "%.2e" : "-", apart->relative_rms);
}

static void add_max_abs(const struct report *report, uint32_t step, const struct trace *trace, uint32_t index,
                        struct table *table)
{
    const struct finding *finding = audit_finding(report->audit, step, index);
    bool known = trace && finding->state != FINDING_MISSING;
    table_add_cell(table, known ? "%.5g" : "-", finding->max_abs);
}

static void add_drift(const struct report *report, const struct sides *sides, const struct drift *drift,
                      struct table *table)
{
    const struct step *step = &report->plan->steps[drift->step];
    char layer[16] = "-";
    if (step->layer != LAYER_NONE) {
        snprintf(layer, sizeof(layer), "%d", step->layer);
    }
    table_add_cell(table, "%s", layer);
    table_add_cell(table, "%s", stage_name(step->stage));
    add_apart(&drift->quantisation, table);
    add_apart(&drift->own, table);
    add_max_abs(report, drift->step, sides->ours, sides->our_index, table);
    add_max_abs(report, drift->step, sides->reference, sides->reference_index, table);
    add_max_abs(report, drift->step, sides->golden, sides->golden_index, table);
    table_end_row(table, NULL);
}

/* The columns of the wide table, below a line of heads; in the narrow one each heading says all. */
static void add_columns(const char *ours, bool wide, struct table *table)
{
    const char *const narrow_only[] = {"quantisation-cosine", "quantisation-rel. rms", "own-cosine", "own-rel. rms"};
    static const char *const sizes[] = {"largest-%s", "%s"};
    char heading[48];
    table_add_column(table, "layer", 2, -6);
    table_add_column(table, "stage", 0, -13);
    for (int i = 0; i < 4; i++) {
        const char *name = strchr(narrow_only[i], '-') + 1;
        table_add_column(table, wide ? name : narrow_only[i], i % 2 == 0 ? 2 : 1, i % 2 == 0 ? 10 : 9);
    }
    const char *const sources[] = {ours, "reference", "golden"};
    for (int i = 0; i < 3; i++) {
        snprintf(heading, sizeof(heading), sizes[wide], sources[i]);
        table_add_column(table, heading, i == 0 ? 2 : 1, 9);
    }
}

static void print_table(const struct report *report, FILE *out)
{
    struct sides sides = sides_of(report);
    struct drift drift;
    uint32_t of, agree = count_agreeing(&sides, &of);
    const char *ours = sides.ours ? source_name(sides.our_source) : "engine";
    fprintf(out, "\nDrift by layer. quantisation: reference against golden; own: %s against reference\n", ours);
    bool wide = terminal_width() == 0 || terminal_width() >= WIDEST;
    struct table table = {0};
    add_columns(ours, wide, &table);
    if (wide) {
        fprintf(out, "  %-19s  %-20s  %-20s  %s\n", "", "quantisation", "own", "largest |value|");
    }
    for (int32_t layer = 0; layer < (int32_t)report->plan->n_layers; layer++) {
        if (drift_of(report, &sides, layer, &drift)) {
            add_drift(report, &sides, &drift, &table);
        }
    }
    int32_t logits = plan_find(report->plan, LAYER_NONE, STAGE_logits_final);
    if (of > 0 && logits >= 0) {
        const struct step *step = &report->plan->steps[logits];
        drift = (struct drift){(uint32_t)logits, apart_at(step, sides.reference, sides.golden),
                               apart_at(step, sides.ours, sides.reference)};
        add_drift(report, &sides, &drift, &table);
    }
    table_print(&table, true, out);
    table_free(&table);
    if (of > 0 && logits >= 0) {
        fprintf(out, "  The likeliest next token is the golden's at %u of %u positions.\n", agree, of);
    }
}

static void print_line(const char *text, FILE *out)
{
    text_print_wrapped(text, (struct text_layout){0, 2, WIDTH}, out);
}

/* Prints the tensors that are not MODEL's. */
static void print_accused(const struct report *report, FILE *out)
{
    const struct golden_weights *weights = report->golden_weights;
    char text[512];
    for (uint32_t i = 0; i < weights->n_accused && i < MOST_ACCUSED; i++) {
        const struct golden_accusation *at = &weights->accused[i];
        snprintf(text, sizeof(text), "  %s: %s", golden_weights_tensor(&report->plan->steps[at->step]), at->why);
        print_line(text, out);
    }
    if (weights->n_accused > MOST_ACCUSED) {
        fprintf(out, "  and %u more\n", weights->n_accused - MOST_ACCUSED);
    }
}

void report_drift_print(const struct report *report, FILE *out)
{
    const struct golden_weights *weights = report->golden_weights;
    char text[512] = "";
    if (!weights || (weights->kind != GOLDEN_WEIGHTS_PRECISION && weights->kind != GOLDEN_WEIGHTS_OTHER)) {
        return;
    }
    fputc('\n', out);
    if (weights->kind == GOLDEN_WEIGHTS_PRECISION) {
        snprintf(text, sizeof(text),
                 "Golden weights: MODEL's in another precision. %u products of the golden differ from MODEL's by what "
                 "rounding to MODEL's formats leaves (%.2f to %.2f of its rms): that is no error. "
                 "Other weights that are as close, a light fine-tune's, cannot be told from these.",
                 weights->n_rounding, weights->least_rms, weights->most_rms);
    } else if (weights->n_accused > 0) {
        snprintf(text, sizeof(text),
                 "Golden weights: others than MODEL's, not only in precision (%u products look rounded):",
                 weights->n_rounding);
    } else {
        snprintf(text, sizeof(text),
                 "Golden weights: nothing shows that they are MODEL's in another precision: "
                 "no product of the golden can be judged by itself. --golden-model judges it by its own weights.");
    }
    print_line(text, out);
    print_accused(report, out);
    if (weights->n_covered > 0) {
        snprintf(text, sizeof(text), "  %u step%s, judged over several ops with rounded weights, cannot be told.",
                 weights->n_covered, weights->n_covered == 1 ? "" : "s");
        print_line(text, out);
    }
    if (weights->kind == GOLDEN_WEIGHTS_PRECISION) {
        print_table(report, out);
    }
}

static json_t *apart_json(const struct apart *apart)
{
    json_t *object = json_object();
    if (isnan(apart->relative_rms)) {
        json_decref(object);
        return json_null();
    }
    json_put(object, "cosine", json_number_or_text(apart->cosine));
    json_put(object, "relative_rms", json_number_or_text(apart->relative_rms));
    return object;
}

static void put_max_abs(json_t *object, const struct report *report, uint32_t step, uint32_t trace)
{
    const struct finding *finding = audit_finding(report->audit, step, trace);
    if (finding->state != FINDING_MISSING) {
        json_put(object, source_name(report->sources[trace]), json_number_or_text(finding->max_abs));
    }
}

static json_t *drift_json(const struct report *report)
{
    struct sides sides = sides_of(report);
    struct drift drift;
    json_t *array = json_array();
    for (int32_t layer = 0; layer < (int32_t)report->plan->n_layers; layer++) {
        if (!drift_of(report, &sides, layer, &drift)) {
            continue;
        }
        json_t *entry = json_object(), *max_abs = json_object();
        json_put(entry, "layer", json_layer(layer));
        json_put(entry, "stage", json_string(stage_name(report->plan->steps[drift.step].stage)));
        json_put(entry, "quantisation", apart_json(&drift.quantisation));
        json_put(entry, "own", apart_json(&drift.own));
        for (uint32_t t = 0; t < report->audit->n_traces; t++) {
            put_max_abs(max_abs, report, drift.step, t);
        }
        json_put(entry, "max_abs", max_abs);
        json_push(array, entry);
    }
    return array;
}

static json_t *accused_json(const struct report *report)
{
    json_t *array = json_array();
    for (uint32_t i = 0; i < report->golden_weights->n_accused; i++) {
        const struct golden_accusation *at = &report->golden_weights->accused[i];
        const struct step *step = &report->plan->steps[at->step];
        json_t *entry = json_object();
        json_put(entry, "layer", json_layer(step->layer));
        json_put(entry, "stage", json_string(stage_name(step->stage)));
        json_put(entry, "tensor", json_text(golden_weights_tensor(step)));
        json_put(entry, "text", json_text(at->why));
        json_push(array, entry);
    }
    return array;
}

void report_drift_put(const struct report *report, json_t *object)
{
    const struct golden_weights *weights = report->golden_weights;
    const char *name = weights ? golden_weights_name(weights->kind) : NULL;
    if (name == NULL) {
        return;
    }
    json_put(object, "golden_weights", json_string(name));
    if (weights->kind == GOLDEN_WEIGHTS_OTHER) {
        json_put(object, "golden_accused", accused_json(report));
    } else if (weights->kind == GOLDEN_WEIGHTS_PRECISION) {
        struct sides sides = sides_of(report);
        uint32_t of, agree = count_agreeing(&sides, &of);
        json_t *next = json_object();
        json_put(next, "agree", json_integer(agree));
        json_put(next, "of", json_integer(of));
        json_put(object, "drift", drift_json(report));
        json_put(object, "next_token", next);
    }
}
