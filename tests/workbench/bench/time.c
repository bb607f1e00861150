/* How bench reads its numbers: medians, and logits that cannot be right. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "workbench/bench/model_bench.h"
#include "workbench/bench/timing.h"

static void medians(void **state)
{
    (void)state;
    double odd[] = {3, 1, 2}, even[] = {4, 1, 3, 2}, least;
    assert_true(median(odd, 3, &least) == 2 && least == 1);
    assert_true(median(even, 4, NULL) == 2.5);
}

static void logits_that_cannot_be_right(void **state)
{
    (void)state;
    static const float right[] = {1, 1, 2}, same[] = {0, 0, 0}, nan[] = {1, NAN, 2}, infinite[] = {1, 2, -INFINITY};
    assert_null(logits_wrong(right, 3));
    assert_null(logits_wrong(same, 1)); /* a vocabulary of one */
    assert_string_equal(logits_wrong(same, 3), "all logits are the same");
    assert_string_equal(logits_wrong(nan, 3), "a logit is not finite");
    assert_string_equal(logits_wrong(infinite, 3), "a logit is not finite");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(medians),
        cmocka_unit_test(logits_that_cannot_be_right),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
