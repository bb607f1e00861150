/* lockstep faults: the list, and --check, which plants each fault in the engine and must find and name it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/report.h"
#include "workbench/fault/fault_story.h"

#define LLAMA "golden/tiny-llama"
#define GEMMA "golden/tiny-gemma3"

static void faults_are_listed(void **state)
{
    (void)state;
    struct outcome outcome;
    RUN(&outcome, 0, "faults");
    expect_text(outcome.out, "softmax-sizes-swapped");
    expect_text(outcome.out, "pool-padding (silent");
    expect_text(outcome.out, "softmax-denominator\n    The softmax's sum"); /* the kinds as well */
    outcome_free(&outcome);
    RUN(&outcome, 0, "faults", "--json", "-");
    json_t *report = parse_report(&outcome);
    uint32_t n;
    fault_list(&n);
    assert_int_equal(json_array_size(json_object_get(report, "faults")), n);
    assert_string_equal(text_at(json_array_get(json_object_get(report, "kinds"), 0), "kind"), "parameter");
    json_decref(report);
    outcome_free(&outcome);
}

/* Every fault has a formula, and every kind a story. */
static void everything_has_a_story(void **state)
{
    (void)state;
    uint32_t n;
    const struct fault *faults = fault_list(&n);
    for (uint32_t i = 0; i < n; i++) {
        if (!fault_formula_of(&faults[i])) {
            fail_msg("%s has no formula in workbench/fault/fault_formulas.c", faults[i].name);
        }
        const struct kind_story *story = kind_story_of(faults[i].kind);
        assert_non_null(story);
        assert_int_equal(fault_kind_by_name(fault_kind_name(faults[i].kind)), faults[i].kind);
    }
    struct fault unknown = faults[0]; /* the twin */
    unknown.name = "softmax-sizes";
    assert_null(fault_formula_of(&unknown));
    assert_null(kind_story_of(KIND_NONE));
    assert_int_equal(fault_kind_by_name("none"), KIND_NONE);
}

/* Runs the command that a description tells, which begins with "lockstep". */
static void run_told_command(const json_t *told, int status)
{
    const char *arguments[16] = {NULL};
    char text[512];
    size_t n = 0;
    snprintf(text, sizeof(text), "%s", text_at(told, "plant"));
    for (char *word = strtok(text, " "); word && n < 15; word = strtok(NULL, " ")) {
        arguments[n++] = word;
    }
    assert_string_equal(arguments[0], "lockstep");
    struct outcome outcome;
    program_run(&outcome, LOCKSTEP_PROGRAM, "", arguments + 1);
    assert_int_equal(outcome.status, status);
    if (status == 1) {
        expect_text(outcome.out, text_at(told, "fault"));
    }
    outcome_free(&outcome);
}

static void one_fault_is_told(void **state)
{
    (void)state;
    struct outcome outcome;
    RUN(&outcome, 0, "faults", "yarn-off");
    expect_text(outcome.out, "wrong        angle = p theta^(-2i/dim)");
    expect_text(outcome.out, "rope, at q_rope, k_rope");
    outcome_free(&outcome);
    static const struct {
        const char *name;
        int status;
    } told[] = {{"yarn-off", 1}, {"mask-off-by-one", 1}, {"pool-padding", 0}};
    for (size_t i = 0; i < sizeof(told) / sizeof(*told); i++) {
        RUN(&outcome, 0, "faults", told[i].name, "--json", "-");
        json_t *report = parse_report(&outcome);
        assert_string_equal(text_at(report, "fault"), told[i].name);
        run_told_command(report, told[i].status);
        json_decref(report);
        outcome_free(&outcome);
    }
}

static void one_kind_is_told(void **state)
{
    (void)state;
    struct outcome outcome;
    RUN(&outcome, 0, "faults", "additive");
    expect_text(outcome.out, "bias-missing");
    expect_text(outcome.out, "constant_vector");
    expect_text(outcome.out, "--fault subgroup-columns-mixed");
    outcome_free(&outcome);
    RUN(&outcome, 0, "faults", "bias-twice"); /* a bug that is planted for a solver */
    expect_text(outcome.out, "The bias is added twice.");
    outcome_free(&outcome);
    RUN(&outcome, 2, "faults", "additiv"); /* the twin */
    expect_one_line(outcome.err, "additiv");
    outcome_free(&outcome);
}

static void planted_fault_is_named_first(void **state)
{
    (void)state;
    struct outcome outcome;
    RUN(&outcome, 1, "diff", GEMMA, "--golden", GEMMA ".h5", "--fault", "qk-norm-no-offset@2", "--json", "-");
    json_t *report = parse_report(&outcome), *first = json_object_get(report, "first_divergence");
    json_t *diagnosis = json_array_get(json_object_get(report, "diagnosis"), 0);
    assert_string_equal(text_at(report, "outlier"), "engine");
    assert_int_equal(integer_at(first, "layer"), 2);
    assert_string_equal(text_at(first, "stage"), "q_norm");
    assert_string_equal(text_at(diagnosis, "fault"), "qk-norm-no-offset");
    assert_string_equal(text_at(diagnosis, "how"), "reproduced");
    assert_string_equal(text_at(diagnosis, "postmortem"), "2025-12-25-gemma3-qknorm-offset");
    expect_text(text_at(report, "next"), "check the norm's offset");
    json_decref(report);
    outcome_free(&outcome);
    RUN(&outcome, 0, "diff", GEMMA, "--golden", GEMMA ".h5", "--fault", "pool-padding");
    outcome_free(&outcome);
    RUN(&outcome, 3, "diff", LLAMA, "--golden", LLAMA ".h5", "--fault", "qk-norm-no-offset");
    expect_one_line(outcome.err, "qk-norm-no-offset");
    outcome_free(&outcome);
}

/* Whether a report holds a diagnosis of this fault at this layer. */
static bool is_diagnosed(const json_t *report, const char *fault, int layer)
{
    json_t *entry;
    size_t i;
    json_array_foreach(json_object_get(report, "diagnosis"), i, entry)
    {
        if (strcmp(text_at(entry, "fault"), fault) == 0 && integer_at(entry, "layer") == layer) {
            return true;
        }
    }
    return false;
}

static void two_faults_are_both_named(void **state)
{
    (void)state;
    struct outcome outcome;
    RUN(&outcome, 1, "diff", GEMMA, "--golden", GEMMA ".h5", "--fault", "attention-phase@1", "--fault",
        "weight-spike@3.ffn_down", "--json", "-");
    json_t *report = parse_report(&outcome);
    assert_int_equal(json_array_size(json_object_get(report, "introduced")), 2);
    assert_true(is_diagnosed(report, "attention-phase", 1));
    assert_true(is_diagnosed(report, "weight-spike", 3));
    assert_false(is_diagnosed(report, "weight-spike", 1));
    json_decref(report);
    outcome_free(&outcome);
}

/* What a new or changed fault needs. */
#define REGENERATE                                                                                          \
    "tests/faults.json is out of date. Run `build/lockstep faults --check --json tests/faults.json`, read " \
    "`git diff tests/faults.json` (one line a case), and commit it with the change that caused it."

/* What `faults --check` found when a person last read it. */
static json_t *read_baseline(void)
{
    json_error_t error;
    json_t *baseline = json_load_file(LOCKSTEP_SOURCE_DIR "/tests/faults.json", 0, &error);
    assert_non_null(baseline);
    return baseline;
}

/* Prints the first entry of an array in which two reports differ. key: what an entry is called. */
static void print_difference(const json_t *report, const json_t *baseline, const char *array, const char *key)
{
    const json_t *found = json_object_get(report, array), *expected = json_object_get(baseline, array);
    for (size_t i = 0; i < json_array_size(found) || i < json_array_size(expected); i++) {
        const json_t *a = json_array_get(found, i), *b = json_array_get(expected, i);
        if (a && b && json_equal((json_t *)a, (json_t *)b)) {
            continue;
        }
        print_message("%s, entry %zu: %s on %s, expected %s on %s\n", array, i, a ? text_at(a, key) : "nothing",
                      a ? text_at(a, "model") : "-", b ? text_at(b, key) : "nothing", b ? text_at(b, "model") : "-");
        break;
    }
}

/* Whether a report says the same as the baseline. */
static bool is_baseline(const json_t *report, const json_t *baseline)
{
    print_difference(report, baseline, "faults", "fault");
    print_difference(report, baseline, "kinds", "bug");
    return json_equal((json_t *)report, (json_t *)baseline);
}

/* All models take minutes: they are checked where LOCKSTEP_ALL_MODELS is set (the test cli_faults_all). */
static void every_fault_is_found(void **state)
{
    (void)state;
    static const char *const models[] = {"tiny-gpt-oss", "tiny-gemma3"};
    struct outcome outcome;
    for (size_t i = 0; i < sizeof(models) / sizeof(*models); i++) {
        RUN(&outcome, 0, "faults", "--check", models[i]);
        outcome_free(&outcome);
    }
    RUN(&outcome, 3, "faults", "--check", "tiny-nothing");
    expect_one_line(outcome.err, "tiny-nothing");
    outcome_free(&outcome);
}

static void every_fault_is_found_on_every_model(void **state)
{
    (void)state;
    struct outcome outcome;
    if (!getenv("LOCKSTEP_ALL_MODELS")) {
        skip();
    }
    json_t *baseline = read_baseline();
    RUN(&outcome, 0, "faults", "--check", "--json", "-");
    json_t *report = parse_report(&outcome);
    if (!is_baseline(report, baseline)) {
        fail_msg("%s", REGENERATE);
    }
    json_object_set_new(json_array_get(json_object_get(report, "faults"), 5), "named", json_string("zeros"));
    assert_false(is_baseline(report, baseline)); /* the twin */
    json_decref(report);
    json_decref(baseline);
    outcome_free(&outcome);
}

/* One line a case, so that its diffs are readable. */
static void the_baseline_has_a_line_a_case(void **state)
{
    (void)state;
    json_t *baseline = read_baseline();
    size_t n_cases = json_array_size(json_object_get(baseline, "faults")), n_lines = 0;
    FILE *in = fopen(LOCKSTEP_SOURCE_DIR "/tests/faults.json", "r");
    assert_non_null(in);
    char line[1024];
    while (fgets(line, sizeof(line), in)) {
        n_lines += strncmp(line, "  {\"fault\": ", 12) == 0;
    }
    fclose(in);
    if (n_lines != n_cases) {
        fail_msg("%s", REGENERATE);
    }
    json_decref(baseline);
}

/* Whether the baseline says that this fault is found on its row's model at its row's place. */
static bool has_row(const json_t *baseline, const struct fault *fault)
{
    const json_t *entry;
    size_t i, length = strcspn(fault->found.model, ".");
    json_array_foreach(json_object_get(baseline, "faults"), i, entry)
    {
        const char *model = text_at(entry, "model");
        if (strcmp(text_at(entry, "fault"), fault->name) != 0 || strlen(model) != length ||
            strncmp(model, fault->found.model, length) != 0) {
            continue;
        }
        const json_t *found = json_object_get(entry, "found"), *layer = json_object_get(found, "layer");
        const json_t *stage = json_object_get(found, "stage");
        bool nowhere = fault->found.stage == STAGE_COUNT;
        return (json_is_null(layer) ? LAYER_NONE : json_integer_value(layer)) == fault->found.layer &&
               (nowhere ? json_is_null(stage) : strcmp(json_string_value(stage), stage_name(fault->found.stage)) == 0);
    }
    return false;
}

/* Quick, so that a new row is told at once what it needs. */
static void the_baseline_has_every_row(void **state)
{
    (void)state;
    json_t *baseline = read_baseline();
    uint32_t n;
    const struct fault *faults = fault_list(&n);
    for (uint32_t i = 0; i < n; i++) {
        if (!has_row(baseline, &faults[i])) {
            fail_msg("%s is not found on %s where its row says. %s", faults[i].name, faults[i].found.model, REGENERATE);
        }
    }
    struct fault elsewhere = faults[0]; /* the twin */
    elsewhere.found.layer++;
    assert_false(has_row(baseline, &elsewhere));
    json_decref(baseline);
}

/* What must hold of every baseline. */
static void the_baseline_is_clean(void **state)
{
    (void)state;
    json_t *baseline = read_baseline(), *entry;
    size_t i;
    assert_string_equal(text_at(baseline, "format"), "lockstep-faults");
    assert_int_equal(integer_at(baseline, "healthy_alarms"), 0);
    assert_true(json_array_size(json_object_get(baseline, "faults")) >= 200);
    json_array_foreach(json_object_get(baseline, "faults"), i, entry)
    {
        const char *how = text_at(entry, "how");
        assert_true(json_is_true(json_object_get(entry, "ok")));
        bool silent = strcmp(how, "silent") == 0, consistent = strcmp(how, "consistent") == 0;
        assert_true(silent || consistent || strcmp(how, "reproduced") == 0 || strcmp(how, "relation") == 0);
        assert_string_equal(text_at(entry, "named"), silent ? "" : text_at(entry, "fault"));
        bool nowhere = json_is_null(json_object_get(json_object_get(entry, "found"), "stage"));
        assert_true(nowhere == (silent || strcmp(text_at(entry, "fault"), "readback-early") == 0));
        assert_true(nowhere || json_equal(json_object_get(entry, "injected"), json_object_get(entry, "found")));
    }
    json_decref(baseline);
}

/* The table kind x solver: every bug is called what it is, and which solver explains which bug is as it was read. */
static void the_table_of_kinds_is_clean(void **state)
{
    (void)state;
    json_t *baseline = read_baseline(), *entry;
    size_t i, k;
    assert_true(json_array_size(json_object_get(baseline, "kinds")) >= 300);
    json_array_foreach(json_object_get(baseline, "kinds"), i, entry)
    {
        json_t *solver;
        bool own = false;
        assert_true(json_is_true(json_object_get(entry, "ok")));
        assert_string_equal(text_at(entry, "kind"), text_at(entry, "named_kind"));
        json_array_foreach(json_object_get(entry, "solvers"), k, solver)
        {
            own |= strcmp(json_string_value(solver), text_at(entry, "solver")) == 0;
        }
        if (!own) {
            fail_msg("%s on %s is not explained by its own solver, %s", text_at(entry, "bug"), text_at(entry, "model"),
                     text_at(entry, "solver"));
        }
    }
    json_decref(baseline);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(faults_are_listed),
        cmocka_unit_test(everything_has_a_story),
        cmocka_unit_test(one_fault_is_told),
        cmocka_unit_test(one_kind_is_told),
        cmocka_unit_test(planted_fault_is_named_first),
        cmocka_unit_test(two_faults_are_both_named),
        cmocka_unit_test(the_baseline_has_a_line_a_case),
        cmocka_unit_test(the_baseline_has_every_row),
        cmocka_unit_test(the_baseline_is_clean),
        cmocka_unit_test(the_table_of_kinds_is_clean),
        cmocka_unit_test(every_fault_is_found),
        cmocka_unit_test(every_fault_is_found_on_every_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
