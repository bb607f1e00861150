/* Tests of `lockstep run`: the tokens that it chooses on the reference, where sampling depends on nothing but the seed,
 * and the values that run and golden refuse. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/program.h"
#include "tests/support/scratch.h"
#include "workbench/trace/trace.h"

#define MODEL "golden/tiny-llama"

/* The ids that a run with these further arguments prints. The caller frees the text. */
static char *run(const char *a, const char *b, const char *c, const char *d)
{
    const char *const arguments[] = {"run", MODEL, "--ids", "1,2,3", "-n", "12", "--on", "reference", a, b, c, d, NULL};
    struct outcome outcome;
    program_run(&outcome, LOCKSTEP_PROGRAM, "", arguments);
    assert_int_equal(outcome.status, 0);
    expect_text(outcome.out, "ids: ");
    char *ids = strcpy(malloc(strlen(outcome.out) + 1), outcome.out);
    outcome_free(&outcome);
    return ids;
}

/* Whether the ids that a run printed are the choices that a trace recorded: one after the prompt, and one after each
 * decoded token. The last choice is not decoded any more. */
static bool are_chosen(const char *ids, const struct trace *trace)
{
    const struct trace_stage *stage = trace_find(trace, LAYER_NONE, STAGE_sample_token);
    char *at = strstr(ids, "ids:") + strlen("ids:");
    for (uint32_t p = 2; p < trace->n_positions; p++) {
        long id = strtol(at, &at, 10);
        if (trace_row(stage, p)[0] != (float)id || (p + 1 < trace->n_positions && trace->tokens[p + 1] != id)) {
            return false;
        }
    }
    return stage->n_recorded == trace->n_positions - 2 && trace_row(stage, 1) == NULL;
}

/* trace samples as run does, and records the choices; its audit passes, and another seed chooses otherwise. A trace of
 * given tokens samples nothing. */
static void a_trace_records_what_was_sampled(void **state)
{
    (void)state;
    char folder[256], path[512];
    scratch_make(folder);
    scratch_path(path, folder, "t.h5");
    static const char *const seeds[] = {"7", "8"};
    char *ids = run("--temperature", "0.9", "--seed", "7");
    for (int i = 0; i < 2; i++) {
        struct outcome outcome;
        struct trace trace;
        const char *const record[] = {"trace",         MODEL, "--ids",  "1,2,3",  "-n", "11", "--on", "reference",
                                      "--temperature", "0.9", "--seed", seeds[i], "-o", path, NULL};
        program_run(&outcome, LOCKSTEP_PROGRAM, "", record);
        assert_int_equal(outcome.status, 0);
        outcome_free(&outcome);
        assert_int_equal(trace_read(&trace, path, NULL), STATUS_OK);
        assert_int_equal(are_chosen(ids, &trace), i == 0);
        trace_free(&trace);
        const char *const diff[] = {"diff", MODEL, "--golden", path, "--on", "reference", "--all", NULL};
        program_run(&outcome, LOCKSTEP_PROGRAM, "", diff);
        assert_int_equal(outcome.status, 0);
        expect_text(outcome.out, "sample_probs ");
        expect_text(outcome.out, "sample_token ");
        expect_text(outcome.out, "Coverage: 66 of 66 stages compared in ");
        outcome_free(&outcome);
    }
    free(ids);
    struct outcome outcome;
    const char *const forced[] = {"trace",     MODEL, "--ids", "1,2,3", "--decode-ids", "4,5", "--on",
                                  "reference", "-o",  path,    NULL};
    program_run(&outcome, LOCKSTEP_PROGRAM, "", forced);
    expect_text(outcome.out, "64 stages of 5 positions");
    outcome_free(&outcome);
    scratch_remove(folder);
}

static void a_seed_repeats_itself(void **state)
{
    (void)state;
    char *greedy = run(NULL, NULL, NULL, NULL), *cold = run("--temperature", "0", "--seed", "5");
    char *first = run("--temperature", "2", "--seed", "5"), *again = run("--temperature", "2", "--seed", "5");
    char *other = run("--temperature", "2", "--seed", "6"), *only = run("--top-k", "1", "--seed", "6");
    char *narrow = run("--top-p", "0.001", NULL, NULL);
    assert_string_equal(first, again);
    assert_string_not_equal(first, other);
    assert_string_not_equal(first, greedy);
    assert_string_equal(cold, greedy);
    assert_string_equal(only, greedy);
    assert_string_equal(narrow, greedy);
    char *all[] = {greedy, cold, first, again, other, only, narrow};
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        free(all[i]);
    }
}

/* The output of a run on the engine. The caller frees it. */
static char *print_on_engine(const char *ids, const char *a, const char *b)
{
    const char *const arguments[] = {"run", MODEL, "--ids", ids, "-n", "40", a, b, NULL};
    struct outcome outcome;
    program_run(&outcome, LOCKSTEP_PROGRAM, "", arguments);
    assert_int_equal(outcome.status, 0);
    char *printed = strcpy(malloc(strlen(outcome.out) + 1), outcome.out);
    outcome_free(&outcome);
    return printed;
}

/* A greedy run chooses and feeds back tokens on the device, many at a time. With --top-k 1 the host chooses each token,
 * and the output is the same. */
static void together_or_one_by_one_it_prints_the_same(void **state)
{
    (void)state;
    char *together = print_on_engine("1,200,3,77,5", NULL, NULL);
    char *one_by_one = print_on_engine("1,200,3,77,5", "--top-k", "1");
    char *others = print_on_engine("1,200,3,77,6", NULL, NULL);
    assert_string_equal(together, one_by_one);
    assert_string_not_equal(together, others);
    free(together);
    free(one_by_one);
    free(others);
}

static void wrong_numbers_are_refused(void **state)
{
    (void)state;
    static const char *const rows[][3] = {
        {"--temperature", "-1", "--temperature: \"-1\", expected a number from 0 to 1000"},
        {"--temperature", "nan", "--temperature: \"nan\""},
        {"--temperature", "1x", "--temperature: \"1x\""},
        {"--top-p", "1.5", "--top-p: \"1.5\", expected a number from"},
        {"--top-p", "0", "--top-p: \"0\""},
        {"--top-k", "-3", "--top-k: \"-3\", expected a whole number"},
        {"--top-k", "4294967296", "--top-k: \"4294967296\""},
        {"--seed", "18446744073709551616", "--seed: \"18446744073709551616\""},
        {"--seed", "", "--seed: \"\""},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const char *const arguments[] = {"run",  MODEL,       "--ids",    "1",        "-n", "1",
                                         "--on", "reference", rows[i][0], rows[i][1], NULL};
        struct outcome outcome;
        program_run(&outcome, LOCKSTEP_PROGRAM, "", arguments);
        assert_int_equal(outcome.status, 2);
        expect_one_line(outcome.err, rows[i][2]);
        outcome_free(&outcome);
    }
}

static void a_goldens_dtype_is_one_of_three(void **state)
{
    (void)state;
    struct outcome outcome;
    const char *const arguments[] = {"golden", MODEL, "--ids", "1", "--dtype", "float64", "-o", "never.h5", NULL};
    program_run(&outcome, LOCKSTEP_PROGRAM, "", arguments);
    assert_int_equal(outcome.status, 2);
    expect_one_line(outcome.err, "--dtype: \"float64\", expected float32, float16 or bfloat16");
    outcome_free(&outcome);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_seed_repeats_itself),
        cmocka_unit_test(a_trace_records_what_was_sampled),
        cmocka_unit_test(together_or_one_by_one_it_prints_the_same),
        cmocka_unit_test(wrong_numbers_are_refused),
        cmocka_unit_test(a_goldens_dtype_is_one_of_three),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
