/* Invariants as text and as JSON. */
#include <stdio.h>
#include <string.h>

#include "workbench/invariants/invariants.h"
#include "workbench/text/table.h"
#include "workbench/trace/json_file.h"

/* "engine, layer 3 attn_out, token 5: kv-stale (reproduced)"; "" if nothing diverges. */
static const char *place_text(const struct invariant_run *run, char text[256])
{
    const struct comparison *comparison = &run->comparison;
    char label[64];
    text[0] = '\0';
    if (!comparison->verdict.diverged) {
        return text;
    }
    const struct introduced *first = verdict_first(&comparison->verdict);
    const struct diagnosis *cause = comparison->n_diagnoses > 0 ? &comparison->diagnoses[0] : NULL;
    snprintf(text, 256, "%s, token %u%s%s%s%s%s", step_label(&comparison->plan->steps[first->step], label),
             audit_finding(&comparison->audit, first->step, first->trace)->position, cause ? ": " : "",
             cause ? cause->fault : "", cause ? " (" : "", cause ? diagnosis_how_name(cause->how) : "",
             cause ? ")" : "");
    return text;
}

/* "bit-identical", "1.2e-07, layer 3 ffn_act", "not bit-identical" … beside the first run. */
static const char *difference_text(const struct invariant_pair *pair, char text[96])
{
    if (!pair->comparable) {
        return strcpy(text, "no row is in both");
    }
    if (pair->identical) {
        return strcpy(text, "bit-identical");
    }
    struct trace_stage stage = {.layer = pair->layer, .stage = pair->stage};
    char label[64];
    snprintf(text, 96, "%.2g %s%s", pair->relative_rms, trace_label(&stage, label),
             pair->must_be_identical ? ", NOT IDENTICAL" : "");
    return text;
}

static const char *choices_text(const struct invariant_pair *pair, char text[32])
{
    if (pair->n_choices == 0) {
        return "-";
    }
    snprintf(text, 32, "%u of %u", pair->n_same_choices, pair->n_choices);
    return text;
}

static void add_run(const struct invariants *invariants, uint32_t i, int width, struct table *table)
{
    const struct invariant_run *run = &invariants->runs[i];
    char place[256], difference[96], choices[32];
    table_add_cell(table, "%s", run->name);
    table_add_cell(table, "%s", run->batches);
    table_add_cell(table, "%s", conclusion_name(run->comparison.verdict.conclusion));
    table_add_cell(table, "%s", i > 0 ? difference_text(&invariants->pairs[i], difference) : "");
    table_add_cell(table, "%s", i > 0 ? choices_text(&invariants->pairs[i], choices) : "");
    table_end_row(table, NULL);
    if (*place_text(run, place)) {
        table_add_line(table, "  %-*s  %s", width, "", place);
    }
}

static void print_verdict(const struct invariants *invariants)
{
    char place[256];
    uint32_t first = invariants_first(invariants);
    const struct invariant_run *run = &invariants->runs[first < invariants->n_runs ? first : 0];
    switch (invariants_conclude(invariants)) {
    case CONCLUSION_PARITY:
        printf("they agree: %u runs, in each every op is within its rounding bound\n", invariants->n_runs);
        break;
    case CONCLUSION_UNDECIDED:
        printf("undecided: too little of a run could be judged\n");
        break;
    case CONCLUSION_DIVERGED:
        printf("they disagree: %s%s%s\n", run->name, run->comparison.verdict.diverged ? ": " : "",
               invariants->pairs[first].sees_padding ? "its tokens see the padding before them, no mask hides it"
               : run->comparison.verdict.diverged    ? place_text(run, place)
                                                     : " is not bit-identical with the first run of the same batches");
        break;
    }
}

void invariants_print(const struct invariants *invariants)
{
    int width = 4;
    for (uint32_t i = 0; i < invariants->n_runs; i++) {
        int length = (int)strlen(invariants->runs[i].name);
        width = length > width ? length : width;
    }
    struct table table = {0};
    print_verdict(invariants);
    table_add_column(&table, "run", 2, -width);
    table_add_column(&table, "tokens", 2, -22);
    table_add_column(&table, "verdict", 1, -9);
    table_add_column(&table, "from the first: relative rms", 2, -34);
    table_add_column(&table, "same next token", 1, 0);
    for (uint32_t i = 0; i < invariants->n_runs; i++) {
        add_run(invariants, i, width, &table);
        if (invariants->pairs[i].shift > 0) {
            table_add_line(&table, "  %-*s  behind %u tokens of padding, which %s", width, "",
                           invariants->pairs[i].shift,
                           invariants->pairs[i].sees_padding ? "the others see: no mask hides them" : "are not judged");
        }
    }
    table_print(&table, true, stdout);
    table_free(&table);
    uint32_t first = invariants_first(invariants);
    if (first < invariants->n_runs && invariants->runs[first].comparison.verdict.diverged) {
        printf("\n%s:\n", invariants->runs[first].name);
        comparison_print(&invariants->runs[first].comparison, stdout);
    }
}

static json_t *pair_json(const struct invariant_pair *pair)
{
    json_t *object = json_object(), *choices = json_object();
    json_put(object, "positions", json_integer(pair->n_positions));
    json_put(object, "shift", json_integer(pair->shift));
    json_put(object, "sees_padding", json_boolean(pair->sees_padding));
    json_put(object, "must_be_identical", json_boolean(pair->must_be_identical));
    json_put(object, "identical", json_boolean(pair->identical));
    json_put(object, "relative_rms", pair->comparable ? json_number_or_text(pair->relative_rms) : json_null());
    json_put(object, "layer", json_layer(pair->layer));
    json_put(object, "stage", pair->comparable ? json_string(stage_name(pair->stage)) : json_null());
    json_put(choices, "agree", json_integer(pair->n_same_choices));
    json_put(choices, "of", json_integer(pair->n_choices));
    json_put(object, "next_token", choices);
    return object;
}

json_t *invariants_json(const struct invariants *invariants)
{
    json_t *document = json_object(), *runs = json_array();
    for (uint32_t i = 0; i < invariants->n_runs; i++) {
        const struct invariant_run *run = &invariants->runs[i];
        const struct report report = comparison_view(&run->comparison);
        json_t *entry = json_object();
        json_put(entry, "name", json_text(run->name));
        json_put(entry, "tokens", json_string(run->batches));
        json_put(entry, "from_first", i > 0 ? pair_json(&invariants->pairs[i]) : json_null());
        json_put(entry, "report", report_json(&report));
        json_push(runs, entry);
    }
    uint32_t first = invariants_first(invariants);
    json_put(document, "format", json_string("lockstep-invariants"));
    json_put(document, "version", json_integer(1));
    json_put(document, "verdict", json_string(conclusion_name(invariants_conclude(invariants))));
    json_put(document, "first", first < invariants->n_runs ? json_text(invariants->runs[first].name) : json_null());
    json_put(document, "runs", runs);
    return document;
}
