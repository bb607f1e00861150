/* The experts' sum as a span: it is judged from the required stages, whether or not the file holds the stages between.
 * Each change of a golden has a twin that must not be reported. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/recording.h"
#include "workbench/audit/audit.h"
#include "workbench/diagnose/diagnose.h"

#define LAYER 1

static const char *const names[] = {"tiny-gpt-oss", "tiny-gpt-oss-odd"};

static struct finding finding_of(const struct small_model *small, enum stage stage)
{
    return audit_step(&small->plan, (uint32_t)plan_find(&small->plan, LAYER, stage), &small->golden);
}

/* Makes a stage missing: no row of it is recorded. */
static void forget(const struct small_model *small, enum stage stage)
{
    struct trace_stage *forgotten = stage_at(&small->golden, LAYER, stage);
    memset(forgotten->recorded, 0, small->golden.n_positions);
    forgotten->n_recorded = 0;
}

static void forget_all(const struct small_model *small)
{
    forget(small, STAGE_moe_gate_up);
    forget(small, STAGE_moe_act);
    forget(small, STAGE_moe_down);
}

static void scale_row(const struct trace_stage *stage, uint32_t position, float factor)
{
    for (uint32_t i = 0; i < stage->width; i++) {
        stage->rows[(uint64_t)position * stage->width + i] *= factor;
    }
}

/* The bound is the span's: a row is judged alike with and without the stages between. */
static void test_recorded_or_not(void **state)
{
    (void)state;
    for (size_t m = 0; m < 2; m++) {
        struct small_model small;
        small_open(&small, names[m], NULL);
        struct finding with = finding_of(&small, STAGE_moe_out);
        forget_all(&small);
        struct finding without = finding_of(&small, STAGE_moe_out);
        assert_int_equal(with.rows_judged, small.golden.n_positions);
        assert_int_equal(without.rows_judged, small.golden.n_positions);
        assert_true(with.max_ratio > 0 && with.max_ratio < 0.5);
        assert_true(with.bound == without.bound && with.max_ratio == without.max_ratio);
        small_close(&small);
    }
}

/* One row of moe_out times 1.0001 has a ratio above 10, times 1.00001 above 1; times 1 + 2^-23 is rounding. */
static void test_small_factors(void **state)
{
    static const struct {
        float factor;
        double ratio;
    } rows[] = {{1.0001f, 10}, {1.00001f, 1}, {1 + 0x1p-23f, 0}};
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        for (int forgotten = 0; forgotten < 2; forgotten++) {
            struct small_model small;
            small_open(&small, names[0], NULL);
            if (forgotten) {
                forget_all(&small);
            }
            scale_row(stage_at(&small.golden, LAYER, STAGE_moe_out), 3, rows[i].factor);
            struct finding finding = finding_of(&small, STAGE_moe_out);
            assert_int_equal(finding.rows_failed, rows[i].ratio >= 1);
            assert_true(finding.max_ratio > rows[i].ratio && (rows[i].ratio < 1 || finding.position == 3));
            small_close(&small);
        }
    }
}

/* A wrong row of moe_down, and a sum computed from it: the error is reported at moe_down, and the sum inherits it. The
 * twin: only the recorded row is wrong, and the sum is right. */
static void test_a_wrong_row_is_inherited(void **state)
{
    (void)state;
    for (int summed = 0; summed < 2; summed++) {
        struct small_model small;
        small_open(&small, names[0], NULL);
        scale_row(stage_at(&small.golden, LAYER, STAGE_moe_down), 5, 1.01f);
        if (summed) {
            scale_row(stage_at(&small.golden, LAYER, STAGE_moe_out), 5, 1.01f);
        }
        struct finding down = finding_of(&small, STAGE_moe_down), out = finding_of(&small, STAGE_moe_out);
        assert_int_equal(down.rows_failed, 1);
        assert_int_equal(down.position, 5);
        assert_int_equal(out.rows_failed, summed ? 0 : 1);
        small_close(&small);
    }
}

/* Only the sum is wrong: it is reported, and diagnosed from the span. */
static void test_the_sum_alone(void **state)
{
    (void)state;
    struct small_model small;
    struct diagnosis found[8];
    small_open(&small, names[0], NULL);
    forget(&small, STAGE_moe_down);
    for (uint32_t p = 0; p < small.golden.n_positions; p++) {
        scale_row(stage_at(&small.golden, LAYER, STAGE_moe_out), p, 2);
    }
    uint32_t step = (uint32_t)plan_find(&small.plan, LAYER, STAGE_moe_out);
    assert_int_equal(finding_of(&small, STAGE_moe_out).rows_failed, small.golden.n_positions);
    uint32_t n = diagnose_step(&small.plan, step, &small.golden, found, 8);
    assert_true(n > 0);
    assert_string_equal(found[0].fault, "constant-multiple");
    small_close(&small);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_recorded_or_not),
        cmocka_unit_test(test_small_factors),
        cmocka_unit_test(test_a_wrong_row_is_inherited),
        cmocka_unit_test(test_the_sum_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
