#include "workbench/report/growth_table.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "workbench/trace/json_file.h"

/* One step, over the rows that every source recorded. */
struct growth_row {
    uint32_t step, n_rows, first, last; /* first, last: positions of these rows */
    double max_abs[SOURCE_COUNT], rms[SOURCE_COUNT];
    double ratio;  /* of max_abs, first source to last; NaN: there is one source */
    double growth; /* max_abs of the first source over that of the row before; NaN: there is none */
};

struct growth_rows {
    struct growth_row *rows; /* [n], malloc'ed */
    uint32_t n;
    uint32_t order[SOURCE_COUNT]; /* the traces in the order of enum source: who is debugged comes first */
    int64_t jump;                 /* row with the largest growth; -1: nothing grows */
    int64_t parts;                /* row where the ratio changes most; -1: it does not change */
};

static bool is_shown(const struct growth *growth, const struct step *step)
{
    bool residual = growth->stage == STAGE_layer_out && (step->stage == STAGE_embed || step->stage == STAGE_final_norm);
    return step->stage == growth->stage || residual;
}

/* Whether every trace recorded the step at a position. */
static bool all_hold(const struct growth *growth, const struct step *step, uint32_t position)
{
    for (uint32_t t = 0; t < growth->n; t++) {
        const struct trace_stage *stage = trace_find_step(growth->traces[t], step);
        if (stage == NULL || position >= growth->traces[t]->n_positions || trace_row(stage, position) == NULL) {
            return false;
        }
    }
    return growth->position < 0 || growth->position == position;
}

/* Adds a row's values. A NaN stays the largest. */
static void add_values(const float *values, uint32_t width, double *max_abs, double *squares)
{
    for (uint32_t i = 0; i < width; i++) {
        double value = fabs((double)values[i]);
        *max_abs = isnan(value) || isnan(*max_abs) ? NAN : fmax(*max_abs, value);
        *squares += value * value;
    }
}

static bool measure(const struct growth *growth, const uint32_t *order, uint32_t s, struct growth_row *row)
{
    const struct step *step = &growth->plan->steps[s];
    double squares[SOURCE_COUNT] = {0};
    *row = (struct growth_row){.step = s};
    for (uint32_t p = 0; p < growth->traces[0]->n_positions; p++) {
        if (!all_hold(growth, step, p)) {
            continue;
        }
        row->first = row->n_rows == 0 ? p : row->first;
        row->last = p;
        row->n_rows++;
        for (uint32_t t = 0; t < growth->n; t++) {
            const float *values = trace_row(trace_find_step(growth->traces[order[t]], step), p);
            add_values(values, step->width, &row->max_abs[t], &squares[t]);
        }
    }
    for (uint32_t t = 0; t < growth->n && row->n_rows > 0; t++) {
        row->rms[t] = sqrt(squares[t] / ((double)row->n_rows * step->width));
    }
    row->ratio = growth->n > 1 ? row->max_abs[0] / row->max_abs[growth->n - 1] : NAN;
    row->growth = NAN;
    return row->n_rows > 0;
}

/* At most six characters, so that a line has at most 80. */
static const char *short_number(double value, char text[16])
{
    if (isnan(value)) {
        return "-";
    }
    snprintf(text, 16,
             value < 1e-3 && value > 0 ? "%.0e"
             : value < 10              ? "%.3f"
             : value < 1e3             ? "%.1f"
             : value < 1e5             ? "%.0f"
                                       : "%.0e",
             value);
    return text;
}

/* The row where the ratio changes most, as far as the printed numbers show it. Not the norm: what it divides by is a
 * layer's doing. */
static int64_t find_parting(const struct growth *growth, const struct growth_rows *rows)
{
    double most = 0, before = 1;
    int64_t found = -1;
    for (uint32_t i = 0; i < rows->n; i++) {
        char a[16], b[16];
        double ratio = rows->rows[i].ratio, change = fabs(log(ratio / before));
        if (isnan(ratio) || growth->plan->steps[rows->rows[i].step].stage == STAGE_final_norm) {
            continue;
        }
        if (change > most && strcmp(short_number(ratio, a), short_number(before, b)) != 0) {
            most = change;
            found = i;
        }
        before = ratio;
    }
    return found;
}

static void sort_sources(const struct growth *growth, uint32_t order[SOURCE_COUNT])
{
    uint32_t n = 0;
    for (int source = 0; source < SOURCE_COUNT; source++) {
        for (uint32_t t = 0; t < growth->n; t++) {
            if (growth->sources[t] == (enum source)source) {
                order[n++] = t;
            }
        }
    }
}

static struct growth_rows measure_all(const struct growth *growth)
{
    struct growth_rows rows = {.jump = -1};
    rows.rows = xcalloc((uint64_t)growth->plan->n_steps + 1, sizeof(*rows.rows));
    sort_sources(growth, rows.order);
    for (uint32_t s = 0; s < growth->plan->n_steps; s++) {
        struct growth_row *row = &rows.rows[rows.n];
        if (!is_shown(growth, &growth->plan->steps[s]) || !measure(growth, rows.order, s, row)) {
            continue;
        }
        bool norm =
            growth->plan->steps[s].stage == STAGE_final_norm; /* what a norm makes smaller or larger is its job */
        if (rows.n > 0 && !norm) {
            row->growth = row->max_abs[0] / rows.rows[rows.n - 1].max_abs[0];
        }
        double most = rows.jump < 0 ? 1 : rows.rows[rows.jump].growth;
        rows.jump = row->growth > most ? (int64_t)rows.n : rows.jump;
        rows.n++;
    }
    rows.parts = find_parting(growth, &rows);
    return rows;
}

static const char *row_name(const struct growth *growth, const struct growth_row *row, char text[16])
{
    const struct step *step = &growth->plan->steps[row->step];
    if (step->layer == LAYER_NONE) {
        return step->stage == STAGE_embed ? "embed" : step->stage == STAGE_final_norm ? "norm" : "-";
    }
    snprintf(text, 16, "%d", step->layer);
    return text;
}

static const char *column_name(const struct growth *growth, const struct growth_rows *rows, uint32_t t)
{
    return source_name(growth->sources[rows->order[t]]);
}

static void print_head(const struct growth *growth, const struct growth_rows *rows, bool with_rms, FILE *out)
{
    const struct growth_row *first = &rows->rows[0];
    char places[48] = "";
    if (first->first == first->last) {
        snprintf(places, sizeof(places), "token %u", first->first);
    } else {
        snprintf(places, sizeof(places), "tokens %u to %u", first->first, first->last);
    }
    fprintf(out, "%s by layer, of like rows: %s\n", stage_name(growth->stage), places);
    fprintf(out, "%-5s %*s", "", (int)(10 * growth->n - 1), "largest |value|");
    if (with_rms) {
        fprintf(out, " %*s", (int)(10 * growth->n - 1), "rms");
    }
    fprintf(out, "\n%-5s", "layer");
    for (uint32_t t = 0; t < growth->n * (with_rms ? 2 : 1); t++) {
        fprintf(out, " %9s", column_name(growth, rows, t % growth->n));
    }
    fprintf(out, "%s   grew\n", growth->n > 1 ? "  ratio" : "");
}

static void print_row(const struct growth *growth, const struct growth_rows *rows, uint32_t i, bool with_rms, FILE *out)
{
    const struct growth_row *row = &rows->rows[i];
    char name[16], text[16];
    fprintf(out, "%-5s", row_name(growth, row, name));
    for (uint32_t t = 0; t < growth->n; t++) {
        fprintf(out, " %9.4g", row->max_abs[t]);
    }
    for (uint32_t t = 0; t < growth->n && with_rms; t++) {
        fprintf(out, " %9.4g", row->rms[t]);
    }
    if (growth->n > 1) {
        fprintf(out, " %6s", short_number(row->ratio, text));
    }
    bool jump = i == rows->jump, parts = i == rows->parts;
    fprintf(out, " %6s%s\n", short_number(row->growth, text), parts ? "<" : jump ? "*" : "");
}

/* Says what the marks mean, and whether the other source grew alike: a jump that both have is the model's own. */
static void print_marks(const struct growth *growth, const struct growth_rows *rows, FILE *out)
{
    char name[16], now[16], before[16];
    uint32_t last = growth->n - 1;
    if (rows->jump > 0) {
        const struct growth_row *row = &rows->rows[rows->jump], *previous = row - 1;
        fprintf(out, "* grew most at layer %s: %s %s times", row_name(growth, row, name), column_name(growth, rows, 0),
                short_number(row->growth, now));
        if (last > 0) {
            fprintf(out, ", %s %s", column_name(growth, rows, last),
                    short_number(row->max_abs[last] / previous->max_abs[last], before));
        }
        fprintf(out, "\n");
    }
    if (rows->parts >= 0) {
        const struct growth_row *row = &rows->rows[rows->parts];
        double from = rows->parts > 0 ? row[-1].ratio : 1;
        fprintf(out, "< %s/%s parts most at %s%s: %s to %s\n", column_name(growth, rows, 0),
                column_name(growth, rows, last), growth->plan->steps[row->step].layer == LAYER_NONE ? "" : "layer ",
                row_name(growth, row, name), short_number(from, before), short_number(row->ratio, now));
    } else if (last > 0) {
        fprintf(out, "the largest values of %s and %s grow alike\n", column_name(growth, rows, 0),
                column_name(growth, rows, last));
    }
}

bool growth_print(const struct growth *growth, FILE *out)
{
    struct growth_rows rows = measure_all(growth);
    bool with_rms = growth->width == 0 || growth->width >= 80, any = rows.n > 0;
    if (any) {
        print_head(growth, &rows, with_rms, out);
        for (uint32_t i = 0; i < rows.n; i++) {
            print_row(growth, &rows, i, with_rms, out);
        }
        print_marks(growth, &rows, out);
    }
    free(rows.rows);
    return any;
}

static json_t *place_json(const struct growth *growth, const struct growth_rows *rows, int64_t i)
{
    if (i < 0) {
        return json_null();
    }
    const struct step *step = &growth->plan->steps[rows->rows[i].step];
    json_t *object = json_object();
    json_put(object, "layer", json_layer(step->layer));
    json_put(object, "stage", json_string(stage_name(step->stage)));
    return object;
}

static json_t *values_json(const struct growth *growth, const struct growth_rows *rows, const double *values)
{
    json_t *object = json_object();
    for (uint32_t t = 0; t < growth->n; t++) {
        json_put(object, column_name(growth, rows, t), json_number_or_text(values[t]));
    }
    return object;
}

/* A number that a row may lack. */
static json_t *number_or_null(double value)
{
    return isnan(value) ? json_null() : json_number_or_text(value);
}

json_t *growth_json(const struct growth *growth)
{
    struct growth_rows rows = measure_all(growth);
    json_t *object = json_object(), *layers = json_array(), *ratio_of = json_null();
    if (growth->n > 1) {
        ratio_of = json_array();
        json_push(ratio_of, json_string(column_name(growth, &rows, 0)));
        json_push(ratio_of, json_string(column_name(growth, &rows, growth->n - 1)));
    }
    for (uint32_t i = 0; i < rows.n; i++) {
        const struct growth_row *row = &rows.rows[i];
        json_t *entry = place_json(growth, &rows, i);
        json_put(entry, "rows", json_integer(row->n_rows));
        json_put(entry, "max_abs", values_json(growth, &rows, row->max_abs));
        json_put(entry, "rms", values_json(growth, &rows, row->rms));
        json_put(entry, "ratio", number_or_null(row->ratio));
        json_put(entry, "growth", number_or_null(row->growth));
        json_push(layers, entry);
    }
    json_put(object, "stage", json_string(stage_name(growth->stage)));
    json_put(object, "ratio_of", ratio_of);
    json_put(object, "layers", layers);
    json_put(object, "largest_growth", place_json(growth, &rows, rows.jump));
    json_put(object, "parts_most", place_json(growth, &rows, rows.parts));
    free(rows.rows);
    return object;
}

struct growth report_growth(const struct report *report)
{
    return (struct growth){.plan = report->plan,
                           .stage = STAGE_layer_out,
                           .traces = report->traces,
                           .sources = report->sources,
                           .n = report->audit->n_traces,
                           .position = -1};
}
