/* The result of a batch as text: what is not as expected, then every case. */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "workbench/batch/batch.h"

/* Writes where a report diverges first and why: "engine, layer 3 ffn_down, token 5: residual-dropped". */
static void write_place(const json_t *report, char *text, size_t size)
{
    const json_t *first = json_object_get(report, "first_divergence");
    const json_t *diagnosis = json_array_get(json_object_get(report, "diagnosis"), 0);
    const json_t *layer = json_object_get(first, "layer");
    char where[32] = "";
    text[0] = '\0';
    if (!json_is_object(first)) {
        return;
    }
    if (json_is_integer(layer)) {
        snprintf(where, sizeof(where), "layer %d ", (int)json_integer_value(layer));
    }
    snprintf(text, size, "%s, %s%s, token %d%s%s", json_string_value(json_object_get(first, "source")), where,
             json_string_value(json_object_get(first, "stage")),
             (int)json_integer_value(json_object_get(first, "token")), diagnosis != NULL ? ": " : "",
             diagnosis != NULL ? json_string_value(json_object_get(diagnosis, "fault")) : "");
}

static void print_case(const struct batch_case *one, int width)
{
    char place[256];
    const char *status = json_string_value(json_object_get(one->result, "status"));
    const char *error = json_string_value(json_object_get(one->result, "error"));
    bool expected = json_is_true(json_object_get(one->result, "as_expected"));
    write_place(json_object_get(one->result, "report"), place, sizeof(place));
    printf("  %-9s %-*s %6.1f s%s%s%s\n", status, width, one->name,
           json_real_value(json_object_get(one->result, "seconds")), expected ? "" : "  NOT EXPECTED",
           error != NULL || *place ? "  " : "", error != NULL ? error : place);
}

void cases_print(const struct batch_cases *batch)
{
    uint32_t n_of[OUTCOME_COUNT] = {0}, n_wrong = 0;
    int width = 4;
    for (uint32_t i = 0; i < batch->n_cases; i++) {
        const struct batch_case *one = &batch->cases[i];
        const char *status = json_string_value(json_object_get(one->result, "status"));
        for (enum outcome outcome = 0; outcome < OUTCOME_COUNT; outcome++) {
            n_of[outcome] += status != NULL && strcmp(status, outcome_name(outcome)) == 0;
        }
        n_wrong += !json_is_true(json_object_get(one->result, "as_expected"));
        width = (int)strlen(one->name) > width ? (int)strlen(one->name) : width;
    }
    printf("%u case%s: %u parity, %u diverged, %u undecided, %u error; ", batch->n_cases,
           batch->n_cases == 1 ? "" : "s", n_of[OUTCOME_PARITY], n_of[OUTCOME_DIVERGED], n_of[OUTCOME_UNDECIDED],
           n_of[OUTCOME_ERROR]);
    printf(n_wrong == 0 ? "all as expected\n" : "%u not as expected\n", n_wrong);
    for (int wrong = 1; wrong >= 0; wrong--) { /* what is not as expected comes first */
        for (uint32_t i = 0; i < batch->n_cases; i++) {
            const struct batch_case *one = &batch->cases[i];
            if (json_is_true(json_object_get(one->result, "as_expected")) == !wrong) {
                print_case(one, width);
            }
        }
    }
    for (uint32_t i = 0; i < batch->n_skipped; i++) {
        printf("  skipped   %s: no model of the same name lies beside it\n", batch->skipped[i]);
    }
}
