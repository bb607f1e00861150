/* How OpenMP's threads wait, and how many there are: what is in effect once the program runs, by what the library
 * itself says of it. */
#include <dlfcn.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>

#include <cmocka.h>

#include "tests/support/program.h"

static const char *const variables[] = {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "OMP_NUM_THREADS"};

/* What the user set is nothing, until a test sets it. */
static int clear_variables(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(variables) / sizeof(variables[0]); i++) {
        unsetenv(variables[i]);
    }
    setenv("OMP_DISPLAY_ENV", "verbose", 1);
    return 0;
}

/* Runs a small audit, which must find parity. Returns the settings that the library printed last: the program may be
 * executed twice. The caller frees the outcome. */
static const char *settings_of_audit(struct outcome *outcome)
{
    const char *const arguments[] = {"audit", "golden/tiny-llama", "golden/tiny-llama.h5", NULL};
    program_run(outcome, LOCKSTEP_PROGRAM, "", arguments);
    if (outcome->status != 0) {
        fail_msg("status %d: %s", outcome->status, outcome->err);
    }
    const char *last = NULL, *begin = "OPENMP DISPLAY ENVIRONMENT BEGIN";
    for (const char *at = outcome->err; (at = strstr(at, begin)) != NULL; at++) {
        last = at;
    }
    assert_non_null(last);
    return last;
}

/* Whether a thread that waits sleeps at once: libgomp's word for it, or libomp's. */
static bool sleeps_at_once(const char *settings)
{
    return strstr(settings, "GOMP_SPINCOUNT = '0'") || strstr(settings, "KMP_BLOCKTIME='0'") ||
           strstr(settings, "KMP_BLOCKTIME='0ms'");
}

static void threads_sleep_while_they_wait(void **state)
{
    (void)state;
    struct outcome outcome;
    assert_true(sleeps_at_once(settings_of_audit(&outcome)));
    outcome_free(&outcome);
}

static void what_the_user_set_stays(void **state)
{
    (void)state;
    static const char *const set[][2] = {
        {"OMP_WAIT_POLICY", "active"}, {"GOMP_SPINCOUNT", "7"}, {"KMP_BLOCKTIME", "7"}};
    for (size_t i = 0; i < sizeof(set) / sizeof(set[0]); i++) {
        struct outcome outcome;
        (void)clear_variables(NULL);
        setenv(set[i][0], set[i][1], 1);
        setenv("OMP_NUM_THREADS", "3", 1);
        const char *settings = settings_of_audit(&outcome);
        assert_false(sleeps_at_once(settings));
        assert_true(strstr(settings, "OMP_NUM_THREADS = '3'") || strstr(settings, "OMP_NUM_THREADS='3'"));
        outcome_free(&outcome);
    }
}

/* More threads than the system starts ended the program, and not with a status of its own. */
static void too_many_threads_are_fewer(void **state)
{
    (void)state;
    static const char *const counts[] = {"99999", "99999,4", "123456", "99999999999999999999"};
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        struct outcome outcome;
        (void)clear_variables(NULL);
        setenv("OMP_NUM_THREADS", counts[i], 1);
        const char *settings = settings_of_audit(&outcome);
        assert_true(sleeps_at_once(settings));
        expect_no_text(settings, counts[i]);
        outcome_free(&outcome);
        setenv("OMP_WAIT_POLICY", "active", 1); /* no other reason to execute the program again */
        expect_no_text(settings_of_audit(&outcome), counts[i]);
        outcome_free(&outcome);
    }
}

/* Started by way of the dynamic linker, as a program is that brings its own libraries: what is running is then the
 * linker, and it would take the first argument for a program. */
static void the_dynamic_linker_may_start_it(void **state)
{
    (void)state;
    Dl_info linker;
    struct outcome outcome;
    assert_true(dladdr((const void *)getauxval(AT_BASE), &linker) != 0); /* NOLINT(performance-no-int-to-ptr) */
    const char *const arguments[] = {LOCKSTEP_PROGRAM, "audit", "golden/tiny-llama", "golden/tiny-llama.h5", NULL};
    program_run(&outcome, linker.dli_fname, "", arguments);
    if (outcome.status != 0) {
        fail_msg("status %d: %s", outcome.status, outcome.err);
    }
    outcome_free(&outcome);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(threads_sleep_while_they_wait, clear_variables),
        cmocka_unit_test_setup(what_the_user_set_stays, clear_variables),
        cmocka_unit_test_setup(too_many_threads_are_fewer, clear_variables),
        cmocka_unit_test_setup(the_dynamic_linker_may_start_it, clear_variables),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
