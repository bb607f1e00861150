/* lockstep run: what it chooses, on the reference; sampled tokens follow the seed and nothing else. And the
 * words that it and golden refuse. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/program.h"

#define MODEL "golden/tiny-llama"

/* The ids line of a run with these further arguments; freed by the caller. */
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
        cmocka_unit_test(wrong_numbers_are_refused),
        cmocka_unit_test(a_goldens_dtype_is_one_of_three),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
