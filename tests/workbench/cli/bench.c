/* Tests of `bench`: its output, and the baselines, which hold what a token may cost (postmortem 2026-01-03
 * performance-gaps). */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "tests/support/report.h"
#include "tests/support/scratch.h"

/* The document that bench prints; the caller releases it. */
static json_t *run_bench(const char *model, const char *const *more, int expected_status)
{
    const char *arguments[16] = {"bench", model, "-p", "6", "-n", "4", "--json", "-"};
    struct outcome outcome;
    json_error_t error;
    for (unsigned n = 8; more && *more; more++) {
        arguments[n++] = *more;
    }
    program_run(&outcome, LOCKSTEP_PROGRAM, "", arguments);
    if (outcome.status != expected_status) {
        fail_msg("bench %s: status %d, %s", model, outcome.status, outcome.err);
    }
    json_t *document = json_loads(outcome.out, 0, &error);
    assert_non_null(document);
    outcome_free(&outcome);
    return document;
}

/* "decode.tok_s" → its value. */
static double value_at(const json_t *document, const char *path)
{
    char name[64];
    for (;;) {
        size_t length = strcspn(path, ".");
        assert_true(length < sizeof(name));
        memcpy(name, path, length);
        name[length] = '\0';
        document = json_object_get(document, name);
        if (path[length] == '\0') {
            break;
        }
        path += length + 1;
    }
    if (!json_is_number(document)) {
        fail_msg("bench has no number %s", path);
    }
    return json_number_value(document);
}

/* The number of values that are outside their ranges; each is printed. */
static int count_outside(const json_t *document, json_t *ranges, const char *model)
{
    int outside = 0;
    const char *path;
    json_t *range;
    json_object_foreach(ranges, path, range)
    {
        double value = value_at(document, path), least = json_number_value(json_array_get(range, 0)),
               most = json_number_value(json_array_get(range, 1));
        if (value >= least && value <= most) {
            continue;
        }
        outside++;
        printf("%s: %s is %g, its baseline is %g to %g\n", model, path, value, least, most);
    }
    return outside;
}

/* Checks every model's `enforced` ranges: those of any device, and those of this kind of device. */
static json_t *load_baselines(void)
{
    json_error_t error;
    json_t *baselines = json_load_file("tests/baselines.json", 0, &error), *row;
    if (!baselines) {
        fail_msg("tests/baselines.json: %s", error.text);
    }
    const char *kind = device_kind(LOCKSTEP_PROGRAM), *model;
    json_object_foreach(json_object_get(baselines, "models"), model, row)
    {
        assert_int_equal(json_object_update(json_object_get(row, "enforced"), json_object_get(row, kind)), 0);
        assert_non_null(json_object_get(json_object_get(row, "enforced"), "dispatches_per_token"));
    }
    return baselines;
}

/* The speeds that are reported of this device; an empty object of another one. */
static json_t *reported_ranges(const json_t *row, const json_t *document)
{
    const char *name = json_string_value(json_object_get(document, "device")), *device;
    json_t *ranges;
    json_object_foreach(json_object_get(row, "reported"), device, ranges)
    {
        if (strstr(name, device) != NULL) {
            return ranges;
        }
    }
    return NULL;
}

static void costs_stay_within_the_baselines(void **state)
{
    (void)state;
    json_t *baselines = load_baselines(), *row;
    const char *model;
    json_object_foreach(json_object_get(baselines, "models"), model, row)
    {
        json_t *document = run_bench(model, NULL, 0);
        assert_true(json_is_true(json_object_get(json_object_get(document, "quality"), "ok")));
        assert_int_equal(count_outside(document, json_object_get(row, "enforced"), model), 0);
        (void)count_outside(document, reported_ranges(row, document), model);
        json_decref(document);
    }
    json_decref(baselines);
}

/* The twin: a token that costs one dispatch more than its baseline allows is found. */
static void a_cost_beyond_its_baseline_is_seen(void **state)
{
    (void)state;
    json_t *baselines = load_baselines();
    json_t *document = run_bench("golden/tiny-gemma3", NULL, 0);
    json_t *enforced =
        json_object_get(json_object_get(json_object_get(baselines, "models"), "golden/tiny-gemma3"), "enforced");
    double most = json_number_value(json_array_get(json_object_get(enforced, "dispatches_per_token"), 1));
    json_object_set_new(document, "dispatches_per_token", json_real(most + 1));
    assert_int_equal(count_outside(document, enforced, "twin"), 1);
    json_decref(document);
    json_decref(baselines);
}

static void a_fast_wrong_answer_is_no_quality(void **state)
{
    (void)state;
    const char *const fault[] = {"--fault", "qk-norm-no-offset", NULL};
    json_t *document = run_bench("golden/tiny-gemma3", fault, 1);
    json_t *quality = json_object_get(document, "quality");
    assert_true(json_is_false(json_object_get(quality, "ok")));
    const char *reason = json_string_value(json_array_get(json_object_get(quality, "reasons"), 0));
    assert_non_null(strstr(reason, "layer 0 q_norm"));
    json_decref(document);
}

static void without_capture_less_comes_back(void **state)
{
    (void)state;
    const char *const off[] = {"--capture", "off", NULL};
    json_t *all = run_bench("golden/tiny-llama", NULL, 0), *none = run_bench("golden/tiny-llama", off, 0);
    assert_true(value_at(none, "readback_bytes_per_token") < value_at(all, "readback_bytes_per_token") / 4);
    assert_true(value_at(none, "dispatches_per_token") == value_at(all, "dispatches_per_token"));
    assert_true(value_at(none, "barriers_per_token") == value_at(all, "barriers_per_token"));
    json_decref(all);
    json_decref(none);
}

static void the_reference_is_measured_too(void **state)
{
    (void)state;
    const char *const on[] = {"--on", "reference", NULL};
    json_t *document = run_bench("golden/tiny-llama", on, 0);
    assert_true(value_at(document, "decode.ms_per_token.median") > 0);
    assert_true(value_at(document, "dispatches_per_token") == 0);
    json_decref(document);
}

/* Without capture the device chooses the tokens. `--capture both` measures by turns what capture costs. */
static void tokens_can_be_chosen_on_the_device(void **state)
{
    (void)state;
    const char *const both[] = {"-n", "16", "--capture", "both", NULL};
    json_t *document = run_bench("golden/tiny-llama", both, 0);
    assert_true(value_at(document, "decode.chosen_on_device_ms") > 0);
    assert_true(value_at(document, "decode.many_a_submit_ms") > 0);
    assert_true(value_at(document, "captured.to_host.ratio") > 0);
    assert_true(value_at(document, "captured.many_a_submit.ratio") > 0);
    assert_true(value_at(document, "captured.streamed.ratio") > 0);
    json_decref(document);
}

/* --ops prints the time of each op. */
static void ops_are_timed_apart(void **state)
{
    (void)state;
    const char *const ops[] = {"--ops", NULL};
    json_t *document = run_bench("golden/tiny-llama", ops, 0), *without = run_bench("golden/tiny-llama", NULL, 0);
    assert_true(value_at(document, "prefill_ops_us.q_proj") > 0);
    assert_true(value_at(document, "decode_ops_us.logits_final") > 0);
    assert_null(json_object_get(without, "decode_ops_us"));
    json_decref(document);
    json_decref(without);
}

/* GPUs use tiled kernels for many rows. Where those were measured, they are audited. */
static void tiled_kernels_are_audited(void **state)
{
    (void)state;
    bool gpu = strcmp(device_kind(LOCKSTEP_PROGRAM), "gpu") == 0;
    static const char *const few[] = {NULL}, *const many[] = {"-p", "40", NULL};
    for (int i = 0; i < 2; i++) {
        json_t *document = run_bench("golden/tiny-llama", i ? many : few, 0);
        const char *checked = json_string_value(json_object_get(json_object_get(document, "quality"), "checked"));
        if (!strstr(checked, i && gpu ? "at 34 positions" : "at 6 positions")) {
            fail_msg("with %s rows: %s", i ? "many" : "few", checked);
        }
        json_decref(document);
    }
}

static void wrong_options_are_one_line(void **state)
{
    (void)state;
    const char *const some[] = {"bench", "golden/tiny-llama", "--capture", "some", NULL};
    const char *const none[] = {"bench", "golden/tiny-llama", "-p", "0", NULL};
    struct outcome outcome;
    program_run(&outcome, LOCKSTEP_PROGRAM, "", some);
    assert_int_equal(outcome.status, 2);
    expect_one_line(outcome.err, "--capture: \"some\", expected off, all or both");
    outcome_free(&outcome);
    program_run(&outcome, LOCKSTEP_PROGRAM, "", none);
    assert_int_equal(outcome.status, 2);
    expect_one_line(outcome.err, "-p: 0, expected at least one token");
    outcome_free(&outcome);
}

static void record_bench(const char *model, const char *path)
{
    struct outcome outcome;
    const char *const arguments[] = {"bench", model, "--record", path, NULL};
    program_run(&outcome, LOCKSTEP_PROGRAM, "", arguments);
    assert_int_equal(outcome.status, 0);
    outcome_free(&outcome);
}

/* A row for each device and model; a second run of the same takes its row's place. */
static void results_are_recorded(void **state)
{
    char folder[256], path[512];
    (void)state;
    scratch_make(folder);
    scratch_path(path, folder, "hardware.md");
    scratch_write(path, "# Devices\n\nBelow.\n\n", 19);
    for (int i = 0; i < 2; i++) {
        record_bench("golden/tiny-llama", path);
        record_bench("golden/tiny-gemma2", path);
    }
    char text[4096] = "";
    assert_true(scratch_read(path, text, sizeof(text) - 1) < sizeof(text) - 1);
    assert_memory_equal(text, "# Devices\n\nBelow.\n\n| device | driver |", 38);
    const char *llama = strstr(text, "| tiny-llama | yes |");
    assert_non_null(llama);
    assert_null(strstr(llama + 1, "| tiny-llama |"));
    assert_non_null(strstr(llama, "| tiny-gemma2 | yes |"));
    const char *const arguments[] = {"bench", "golden/tiny-llama", "--record", path, "-n", "4", NULL};
    struct outcome outcome;
    program_run(&outcome, LOCKSTEP_PROGRAM, "", arguments);
    assert_int_equal(outcome.status, 2);
    expect_one_line(outcome.err, "only then is parity known");
    outcome_free(&outcome);
    scratch_remove(folder);
}

/* What a result can be told by: files, device, system. */
static void a_result_says_of_what_it_is(void **state)
{
    (void)state;
    json_t *document = run_bench("golden/tiny-llama", NULL, 0);
    const json_t *info = json_object_get(document, "model_info"), *run = json_object_get(document, "provenance");
    assert_int_equal(strlen(json_string_value(json_object_get(info, "sha256"))), 64);
    assert_int_equal(json_integer_value(json_object_get(info, "shards")), 1);
    assert_non_null(strstr(json_string_value(json_object_get(run, "os")), "Linux"));
    assert_true(value_at(document, "file_bytes") > 0 && value_at(document, "load_ms") > 0);
    assert_true(value_at(document, "device_features.subgroup") > 0);
    json_decref(document);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(results_are_recorded),
        cmocka_unit_test(a_result_says_of_what_it_is),
        cmocka_unit_test(costs_stay_within_the_baselines),
        cmocka_unit_test(a_cost_beyond_its_baseline_is_seen),
        cmocka_unit_test(a_fast_wrong_answer_is_no_quality),
        cmocka_unit_test(without_capture_less_comes_back),
        cmocka_unit_test(the_reference_is_measured_too),
        cmocka_unit_test(wrong_options_are_one_line),
        cmocka_unit_test(tokens_can_be_chosen_on_the_device),
        cmocka_unit_test(ops_are_timed_apart),
        cmocka_unit_test(tiled_kernels_are_audited),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
