/* Going back restores what was recorded: it submits nothing to the device, and takes less time than the steps took. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/support/program.h"
#include "tests/support/prompt.h"

PROMPT_FIXTURE("golden/tiny-gemma3")

static uint64_t submits(const struct prompt *prompt)
{
    struct engine_costs costs;
    engine_costs(&prompt->session.backend[SOURCE_ENGINE], &costs);
    return costs.submits;
}

/* Types a line a hundred times; returns the seconds. */
static double hundred_times(struct prompt *prompt, const char *line)
{
    double start = now();
    for (int i = 0; i < 100; i++) {
        prompt_type(prompt, line);
    }
    return now() - start;
}

static void back_computes_nothing(void **state)
{
    struct prompt *prompt = *state;
    prompt_type(prompt, "restart --ids 3,17,99,204,5,61,30 -n 2");
    prompt_type(prompt, "step");
    uint64_t before = submits(prompt);
    double forward = hundred_times(prompt, "step"), back = hundred_times(prompt, "back");
    assert_int_equal(submits(prompt), before);
    print_message("a hundred steps %.1f ms, back %.1f ms\n", forward * 1e3, back * 1e3);
    assert_true(back < forward);
    prompt_type(prompt, "step token"); /* what was hidden is shown again */
    assert_int_equal(submits(prompt), before);
    prompt_type(prompt, "step token"); /* the twin: another token is computed */
    assert_true(submits(prompt) > before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(back_computes_nothing, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
