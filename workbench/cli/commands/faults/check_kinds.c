/* The table kind x solver of lockstep faults --check. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "workbench/cli/commands/faults/check_faults.h"
#include "workbench/diagnose/kinds/kind_check.h"
#include "workbench/trace/json_file.h"

/* A number with so few digits that every machine solves the same. */
static json_t *few_digits(double value)
{
    char text[32];
    snprintf(text, sizeof(text), "%.4g", value);
    return isfinite(value) ? json_real(strtod(text, NULL)) : json_string(value > 0 ? "Infinity" : "-Infinity");
}

static json_t *solved_entry(const struct solved *solved)
{
    if (*solved->name == '\0') {
        return json_null();
    }
    json_t *object = json_object();
    json_put(object, "name", json_string(solved->name));
    json_put(object, "expected", few_digits(solved->expected));
    json_put(object, "found", few_digits(solved->found));
    return object;
}

static json_t *outcome_entry(const struct kind_bug *bug, const char *model, const struct plan *plan,
                             const struct kind_outcome *outcome)
{
    json_t *entry = json_object(), *solvers = json_array();
    for (uint32_t i = 0; i < outcome->n_claims; i++) {
        json_push(solvers, json_string(outcome->claims[i].solver));
    }
    const struct diagnosis *found = outcome->n_found > 0 ? &outcome->found : NULL;
    json_put(entry, "bug", json_string(bug->name));
    json_put(entry, "kind", json_string(fault_kind_name(bug->kind)));
    json_put(entry, "solver", json_string(bug->solver));
    json_put(entry, "model", json_text(model));
    json_put(entry, "injected", place_of(plan, outcome->step));
    json_put(entry, "named", json_string(found ? found->fault : ""));
    json_put(entry, "named_kind", json_string(found ? fault_kind_name(found->kind) : ""));
    json_put(entry, "how", json_string(found ? diagnosis_how_name(found->how) : "none"));
    json_put(entry, "solved", found ? solved_entry(&found->solved) : json_null());
    json_put(entry, "solvers", solvers);
    json_put(entry, "ok", json_boolean(outcome->ok));
    return entry;
}

uint32_t check_kinds(json_t *entries, const char *model, const struct plan *plan, const struct trace *healthy)
{
    uint32_t n_bugs, n_failed = 0;
    const struct kind_bug *bugs = kind_bugs(&n_bugs);
    struct kind_outcome *outcome = xcalloc(1, sizeof(*outcome));
    struct trace trace;
    trace_copy(&trace, healthy);
    for (uint32_t i = 0; i < n_bugs; i++) {
        kind_check(outcome, &bugs[i], plan, &trace);
        if (outcome->step >= 0) {
            n_failed += !outcome->ok;
            json_push(entries, outcome_entry(&bugs[i], model, plan, outcome));
        }
    }
    trace_free(&trace);
    free(outcome);
    return n_failed;
}

static const char *text_of(const json_t *entry, const char *key)
{
    return json_string_value(json_object_get(entry, key));
}

/* How many models a solver explains a bug on. */
static uint32_t count_claims(const json_t *entries, const char *bug, const char *solver)
{
    uint32_t n = 0;
    size_t i, k;
    const json_t *entry, *claim;
    json_array_foreach(entries, i, entry)
    {
        json_array_foreach(json_object_get(entry, "solvers"), k, claim)
        {
            n += strcmp(text_of(entry, "bug"), bug) == 0 && strcmp(json_string_value(claim), solver) == 0;
        }
    }
    return n;
}

/* "additive 4, constant_vector 4": each solver that explains it, and on how many models. */
static void print_claims(const json_t *entries, const char *bug)
{
    const char *solver, *comma = "";
    enum fault_kind kind;
    enum op op;
    for (uint32_t s = 0; (solver = solver_at(s, &kind, &op)) != NULL; s++) {
        enum fault_kind of_before;
        bool again = s > 0 && strcmp(solver_at(s - 1, &of_before, &op), solver) == 0; /* the same for another op */
        uint32_t n = again ? 0 : count_claims(entries, bug, solver);
        if (n > 0) {
            printf("%s%s %u", comma, solver, n);
            comma = ", ";
        }
    }
    printf("\n");
}

static void print_missed(const json_t *entries, const char *bug)
{
    size_t i;
    const json_t *entry;
    json_array_foreach(entries, i, entry)
    {
        if (strcmp(text_of(entry, "bug"), bug) == 0 && !json_is_true(json_object_get(entry, "ok"))) {
            const char *named = text_of(entry, "named");
            printf("FAIL %-18s %-26s %s, %s, %s\n", text_of(entry, "model"), bug, *named ? named : "not named",
                   text_of(entry, "named_kind"), text_of(entry, "how"));
        }
    }
}

void print_kinds(const json_t *entries)
{
    uint32_t n_bugs;
    const struct kind_bug *bugs = kind_bugs(&n_bugs);
    printf("\nKinds of bugs that are solved for: each is planted in the recorded rows of one step. On how many models "
           "it is\ncalled what it is, and which solvers explain it when each is asked alone:\n");
    for (uint32_t i = 0; i < n_bugs; i++) {
        uint32_t n = 0, n_ok = 0;
        size_t k;
        const json_t *entry;
        json_array_foreach(entries, k, entry)
        {
            bool same = strcmp(text_of(entry, "bug"), bugs[i].name) == 0;
            n += same;
            n_ok += same && json_is_true(json_object_get(entry, "ok"));
        }
        printf("%-4s %-20s %-22s %2u of %2u  ",
               n == 0      ? "n/a"
               : n_ok == n ? "ok"
                           : "FAIL",
               fault_kind_name(bugs[i].kind), bugs[i].name, n_ok, n);
        print_claims(entries, bugs[i].name);
        print_missed(entries, bugs[i].name);
    }
    printf("\n");
}
