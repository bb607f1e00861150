/* Tests of `bench --kernels`: each kernel is checked, then timed; one that fails is not timed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "tests/support/program.h"

/* The document that `bench --kernels WORDS` prints; the caller releases it. */
static json_t *run_kernels(const char *words, const char *fault, int expected_status)
{
    const char *arguments[] = {"bench", "--kernels", words, "--json", "-", fault ? "--fault" : NULL, fault, NULL};
    struct outcome outcome;
    json_error_t error;
    program_run(&outcome, LOCKSTEP_PROGRAM, "", arguments);
    if (outcome.status != expected_status) {
        fail_msg("bench --kernels \"%s\": status %d, %s", words, outcome.status, outcome.err);
    }
    json_t *document = json_loads(outcome.out, 0, &error);
    assert_non_null(document);
    assert_string_equal(json_string_value(json_object_get(document, "format")), "lockstep-bench");
    outcome_free(&outcome);
    return document;
}

static double number_in(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    if (!json_is_number(value)) {
        fail_msg("a kernel has no number %s", key);
    }
    return json_number_value(value);
}

/* The entry of a kernel that passes. */
static void check_kernel(const json_t *document, const json_t *kernel)
{
    assert_true(json_is_true(json_object_get(kernel, "ok")));
    assert_true(number_in(kernel, "ratio") <= 1);
    assert_true(number_in(kernel, "bytes") > 0);
    const json_t *program = json_array_get(json_object_get(kernel, "programs"), 0);
    assert_true(number_in(kernel, "dispatches") >= 1);
    assert_non_null(json_string_value(json_object_get(program, "shader")));
    assert_true(number_in(program, "lanes") > 0 && number_in(program, "groups") > 0);
    assert_true(json_is_object(json_object_get(program, "statistics")));
    static const char *const ways[] = {"level", "apart"};
    for (unsigned i = 0; i < 2; i++) {
        const json_t *way = json_object_get(kernel, ways[i]);
        double rate = number_in(kernel, "bytes") / number_in(way, "median_us") / 1e3;
        assert_true(number_in(way, "runs") >= 1);
        assert_true(number_in(way, "min_us") > 0 && number_in(way, "min_us") <= number_in(way, "median_us"));
        assert_float_equal(number_in(way, "gb_s"), rate, rate * 1e-6);
        assert_float_equal(number_in(way, "read_bandwidth_share") * number_in(document, "read_bandwidth"), rate * 1e9,
                           rate * 1e3);
    }
}

static void kernels_are_checked_and_timed(void **state)
{
    (void)state;
    json_t *document = run_kernels("matmul 1024x1152 Q4 decode", NULL, 0), *kernel;
    json_t *kernels = json_object_get(document, "kernels");
    size_t i;
    assert_int_equal(json_array_size(kernels), 3); /* Q4_0, Q4_1, Q4_K */
    json_array_foreach(kernels, i, kernel)
    {
        check_kernel(document, kernel);
        assert_true(number_in(kernel, "flop") == 2.0 * 1024 * 1152);
        assert_true(number_in(kernel, "rows") == 1);
    }
    assert_string_equal(json_string_value(json_object_get(json_array_get(kernels, 0), "name")),
                        "matmul 1024x1152 Q4_0 decode");
    assert_true(json_is_true(json_object_get(json_object_get(document, "quality"), "ok")));
    json_decref(document);
}

/* Fused kernels, and kernels that a CPU's driver may refuse: the entry says so, and it is no failure. */
static void groups_and_what_is_not_run(void **state)
{
    (void)state;
    json_t *document = run_kernels("norms+gate+up+act smollm2 Q8_0 decode", NULL, 0);
    assert_int_equal(json_array_size(json_object_get(document, "kernels")), 1);
    check_kernel(document, json_array_get(json_object_get(document, "kernels"), 0));
    json_decref(document);
    document = run_kernels("attention 4/1x256 4096 keys decode", NULL, 0);
    json_t *kernel = json_array_get(json_object_get(document, "kernels"), 0);
    if (json_object_get(kernel, "ok")) {
        check_kernel(document, kernel);
    } else {
        assert_non_null(strstr(json_string_value(json_object_get(kernel, "not_run")), "longer loops"));
    }
    assert_true(json_is_true(json_object_get(json_object_get(document, "quality"), "ok")));
    json_decref(document);
}

static void programs_are_listed(void **state)
{
    (void)state;
    const char *const arguments[] = {"bench", "--kernels", "add 1152 decode", "-v", NULL};
    struct outcome outcome;
    program_run(&outcome, LOCKSTEP_PROGRAM, "", arguments);
    assert_int_equal(outcome.status, 0);
    assert_string_equal(outcome.err, "");
    assert_non_null(strstr(outcome.out, "add 1152 decode "));
    assert_non_null(strstr(outcome.out, "\n    add, 18 groups of 64"));
    outcome_free(&outcome);
}

/* The twin. */
static void a_wrong_kernel_has_no_time(void **state)
{
    (void)state;
    static const char *const faults[] = {"f16-kernel-on-f32", "subgroup-columns-mixed"};
    for (unsigned i = 0; i < 2; i++) {
        json_t *document = run_kernels("matmul 1024x1152 F16 decode", faults[i], 1);
        const json_t *kernel = json_array_get(json_object_get(document, "kernels"), 0);
        const json_t *quality = json_object_get(document, "quality");
        assert_true(json_is_false(json_object_get(kernel, "ok")));
        assert_null(json_object_get(kernel, "level"));
        assert_null(json_object_get(kernel, "apart"));
        assert_true(json_is_false(json_object_get(quality, "ok")));
        assert_non_null(strstr(json_string_value(json_array_get(json_object_get(quality, "reasons"), 0)),
                               "matmul 1024x1152 F16 decode: error "));
        json_decref(document);
    }
}

static void wrong_words_are_one_line(void **state)
{
    (void)state;
    static const struct {
        const char *arguments[6];
        int status;
        const char *line;
    } rows[] = {
        {{"bench", "--kernels", "matmul 7x7", NULL},
         2,
         "--kernels: \"matmul 7x7\" selects no kernel, expected words of a name"},
        {{"bench", "--kernels", "add", "--on", "reference", NULL}, 2, "--kernels: given with one of -p, -n"},
        {{"bench", "golden/tiny-llama", "-v", NULL}, 2, "-v: given without --kernels"},
        {{"bench", NULL}, 2, "bench: no MODEL given, nor --kernels"},
        {{"bench", "--kernels", "matmul 1024x1152 Q4_0 decode", "--fault", "sinks-missing", NULL},
         3,
         "--fault: sinks-missing applies to none of the kernels"},
        {{"bench", "--kernels", "add 1152 decode", "--fault", "pad-not-masked", NULL},
         3,
         "--fault: pad-not-masked applies to none of the kernels"},
        {{"bench", "--kernels", "matmul 1024x1152 Q4_0 decode", "--device", "no such device", NULL},
         4,
         "no such device"},
    };
    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct outcome outcome;
        program_run(&outcome, LOCKSTEP_PROGRAM, "", rows[i].arguments);
        assert_int_equal(outcome.status, rows[i].status);
        expect_one_line(outcome.err, rows[i].line);
        outcome_free(&outcome);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kernels_are_checked_and_timed), cmocka_unit_test(groups_and_what_is_not_run),
        cmocka_unit_test(programs_are_listed),           cmocka_unit_test(a_wrong_kernel_has_no_time),
        cmocka_unit_test(wrong_words_are_one_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
