/* lockstep compare A.h5 B.h5: compares two traces row by row. Without a model there are no bounds: it says whether they
 * are bit-identical, and else how far apart. Reading a trace converts its values to float32; these are compared. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "workbench/audit/drift.h"
#include "workbench/cli/commands/write_reports.h"
#include "workbench/python/import.h"
#include "workbench/text/table.h"
#include "workbench/trace/json_file.h"

static const char *label_of(const struct distance *distance, char text[64])
{
    struct trace_stage stage = {.layer = distance->layer, .stage = distance->stage};
    return trace_label(&stage, text);
}

/* Prints the stages that differ, one a line. */
static void print_distances(const struct distance *distances, uint32_t n, const struct trace *a, const struct trace *b)
{
    uint32_t n_identical = 0;
    struct table table = {0};
    char label[64];
    for (uint32_t i = 0; i < n; i++) {
        n_identical += distances[i].identical;
    }
    table_add_column(&table, "stage", 0, -26);
    table_add_column(&table, "max error", 1, 12);
    table_add_column(&table, "token", 1, 7);
    table_add_column(&table, "dim", 1, 7);
    table_add_column(&table, "rms error", 1, 12);
    table_add_column(&table, "cosine", 1, 12);
    for (uint32_t i = 0; i < n; i++) {
        const struct distance *d = &distances[i];
        if (d->identical) {
            continue;
        }
        if (!d->in_a || !d->in_b) {
            table_add_line(&table, "%-26s only in %s", label_of(d, label), d->in_a ? a->path : b->path);
        } else if (d->rows == 0) {
            table_add_line(&table, "%-26s no position that both hold", label_of(d, label));
        } else {
            table_add_cell(&table, "%s", label_of(d, label));
            table_add_cell(&table, "%.6g", d->max_error);
            table_add_cell(&table, "%u", d->position);
            table_add_cell(&table, "%u", d->dim);
            table_add_cell(&table, "%.6g", d->rms_error);
            table_add_cell(&table, "%.9f", d->cosine);
            table_end_row(&table, NULL);
        }
    }
    table_print(&table, n_identical < n, stdout);
    table_free(&table);
    printf("%u of %u (layer, stage) pairs are bit-identical\n", n_identical, n);
}

/* Whether any row is in both. */
static bool comparable(const struct distance *distances, uint32_t n)
{
    bool any = false;
    for (uint32_t i = 0; i < n; i++) {
        any |= distances[i].rows > 0;
    }
    return any;
}

/* The format "lockstep-compare", version 1. */
static json_t *compare_json(const struct distance *distances, uint32_t n, const struct trace *a, const struct trace *b,
                            bool identical, bool drift)
{
    json_t *object = json_object(), *stages = json_array();
    for (uint32_t i = 0; i < n; i++) {
        const struct distance *d = &distances[i];
        bool both = d->rows > 0;
        json_t *entry = json_object();
        json_put(entry, "layer", json_layer(d->layer));
        json_put(entry, "stage", json_string(stage_name(d->stage)));
        json_put(entry, "in", json_string(d->in_a && d->in_b ? "both" : d->in_a ? "a" : "b"));
        json_put(entry, "rows", json_integer(d->rows));
        json_put(entry, "identical", json_boolean(d->identical));
        json_put(entry, "max_error", both ? json_number_or_text(d->max_error) : json_null());
        json_put(entry, "token", both ? json_integer(d->position) : json_null());
        json_put(entry, "dim", both ? json_integer(d->dim) : json_null());
        json_put(entry, "rms_error", both ? json_number_or_text(d->rms_error) : json_null());
        json_put(entry, "cosine", both ? json_number_or_text(d->cosine) : json_null());
        json_push(stages, entry);
    }
    json_put(object, "format", json_string("lockstep-compare"));
    json_put(object, "version", json_integer(1));
    json_put(object, "identical", json_boolean(identical));
    json_put(object, "verdict",
             json_string(!comparable(distances, n) ? "undecided"
                         : identical               ? "identical"
                                                   : "different"));
    json_put(object, "common_tokens", json_integer(trace_common_tokens(a, b).n_positions));
    json_put(object, "tokens_a", json_integer(a->n_positions));
    json_put(object, "tokens_b", json_integer(b->n_positions));
    json_put(object, "a", json_text(a->path));
    json_put(object, "b", json_text(b->path));
    json_put(object, "stages", stages);
    if (drift) {
        json_put(object, "drift", drift_json(distances, n));
    }
    return object;
}

/* Prints what was found, or how far the traces drift apart, and writes it as JSON where that is asked for. */
static enum status report_distances(const struct arguments *arguments, const struct distance *distances, uint32_t n,
                                    const struct trace *a, const struct trace *b, struct error *err)
{
    bool identical = a->n_positions == b->n_positions && trace_common_tokens(a, b).n_positions == a->n_positions;
    for (uint32_t i = 0; i < n; i++) {
        identical &= distances[i].identical;
    }
    if (prints_text(arguments)) {
        if (arguments->drift) {
            drift_print(distances, n);
        } else {
            print_distances(distances, n, a, b);
        }
        if (!comparable(distances, n)) {
            printf("undecided: no row is recorded in both traces\n");
        }
    }
    TRY(write_document(compare_json(distances, n, a, b, identical, arguments->drift), arguments, err));
    return !comparable(distances, n) ? STATUS_UNDECIDED : identical || arguments->drift ? STATUS_OK : STATUS_DIVERGED;
}

/* Says where the traces do not run the same tokens in the same way. */
static void print_difference(const struct trace *a, const struct trace *b, uint32_t n)
{
    uint32_t p = 0;
    if (n < a->n_positions || n < b->n_positions) {
        printf("the first %u tokens are the same, and are compared: %s has %u, %s has %u\n", n, a->path, a->n_positions,
               b->path, b->n_positions);
    }
    while (p < n && a->phase[p] == b->phase[p]) {
        p++;
    }
    if (p < n) {
        printf("from token %u on: %s in %s, %s in %s\n", p, a->phase[p] == PHASE_DECODE ? "decode" : "prefill", a->path,
               b->phase[p] == PHASE_DECODE ? "decode" : "prefill", b->path);
    }
}

static enum status compare_traces(const struct arguments *arguments, const struct trace *a, const struct trace *b,
                                  struct error *err)
{
    struct distance *distances;
    uint32_t n;
    const struct alignment alignment = trace_common_tokens(a, b);
    if (alignment.n_positions == 0) {
        return trace_check_same_tokens(a, b, err);
    }
    if (a->n_layers != b->n_layers) {
        return error_set(err, STATUS_BAD_INPUT, a->path, "n_layers", ERROR_NO_OFFSET, "is %u, expected %u as in %s",
                         a->n_layers, b->n_layers, b->path);
    }
    enum status status = distances_measure(a, b, &alignment, &distances, &n, err);
    if (status == STATUS_OK) {
        if (prints_text(arguments)) {
            print_difference(a, b, alignment.n_positions);
        }
        status = report_distances(arguments, distances, n, a, b, err);
    }
    free(distances);
    return status;
}

enum status command_compare(const struct arguments *arguments, struct error *err)
{
    struct trace a, b;
    const struct import_options import = {0};
    TRY(import_read(&a, arguments->positional[0], &import, err));
    enum status status = import_read(&b, arguments->positional[1], &import, err);
    if (status == STATUS_OK) {
        status = compare_traces(arguments, &a, &b, err);
        trace_free(&b);
    }
    trace_free(&a);
    return status;
}
