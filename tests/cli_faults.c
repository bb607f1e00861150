/* The list of known bugs, and each planted in the engine: found where it was planted, and called by its name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/report.h"

#define LLAMA "golden/tiny-llama"
#define GEMMA "golden/tiny-gemma3"

static void faults_are_listed(void **state)
{
    (void)state;
    struct outcome outcome;
    RUN(&outcome, 0, "faults");
    expect_text(outcome.out, "softmax-sizes-swapped");
    expect_text(outcome.out, "pool-padding (silent");
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
    json_decref(report);
    outcome_free(&outcome);
    RUN(&outcome, 0, "diff", GEMMA, "--golden", GEMMA ".h5", "--fault", "pool-padding");
    outcome_free(&outcome);
    RUN(&outcome, 3, "diff", LLAMA, "--golden", LLAMA ".h5", "--fault", "qk-norm-no-offset");
    expect_one_line(outcome.err, "qk-norm-no-offset");
    outcome_free(&outcome);
}

/* Whether a diagnosis of this fault, at this layer, is among those of a report. */
static bool is_diagnosed(const json_t *report, const char *fault, int layer)
{
    json_t *entry;
    size_t i;
    json_array_foreach(json_object_get(report, "diagnosis"), i,
                       entry) if (strcmp(text_at(entry, "fault"), fault) == 0 &&
                                  integer_at(entry, "layer") == layer) return true;
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

/* Every fault that applies to one of the small models: the others are for `lockstep faults --check` by itself, which
 * takes minutes. */
static void expect_every_fault(const char *model, size_t least)
{
    struct outcome outcome;
    RUN(&outcome, 0, "faults", "--check", model, "--json", "-");
    json_t *report = parse_report(&outcome), *entry;
    size_t i;
    assert_string_equal(text_at(report, "format"), "lockstep-faults");
    assert_int_equal(integer_at(report, "healthy_alarms"), 0);
    assert_true(json_array_size(json_object_get(report, "faults")) >= least);
    json_array_foreach(json_object_get(report, "faults"), i, entry)
    {
        assert_true(json_is_true(json_object_get(entry, "ok")));
        bool silent = strcmp(text_at(entry, "how"), "silent") == 0;
        assert_string_equal(text_at(entry, "named"), silent ? "" : text_at(entry, "fault"));
        assert_true(json_equal(json_object_get(entry, "injected"), json_object_get(entry, "found")));
    }
    json_decref(report);
    outcome_free(&outcome);
}

static void every_fault_is_found(void **state)
{
    (void)state;
    expect_every_fault("tiny-gemma3", 24);
    expect_every_fault("tiny-llama-q4_1", 15);
    struct outcome outcome;
    RUN(&outcome, 3, "faults", "--check", "tiny-nothing");
    expect_one_line(outcome.err, "tiny-nothing");
    outcome_free(&outcome);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(faults_are_listed),
        cmocka_unit_test(planted_fault_is_named_first),
        cmocka_unit_test(two_faults_are_both_named),
        cmocka_unit_test(every_fault_is_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
