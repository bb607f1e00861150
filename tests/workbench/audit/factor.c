/* Values that were rounded for the file alone: a product that is wrong by a factor which no row shows is found in the
 * factor over all rows, just above what roundings explain and not just below. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/recording.h"
#include "workbench/audit/weights/factor.h"
#include "workbench/diagnose/diagnose.h"

static const struct product {
    const char *model;
    int32_t layer;
    enum stage stage;
    const char *type;
    bool bias; /* a multiple of the outputs is not one of the matrix */
} products[] = {
    {"tiny-llama", 1, STAGE_ffn_gate, "bfloat16", false},
    {"tiny-llama", LAYER_NONE, STAGE_logits, "float16", false},
    {"tiny-llama", LAYER_NONE, STAGE_logits_final, "bfloat16", false},
    {"tiny-gemma3", 2, STAGE_o_proj, "bfloat16", false},
    {"tiny-gpt-oss", 1, STAGE_q_proj, "bfloat16", true},
    {"tiny-gpt-oss", 1, STAGE_moe_gate_up, "bfloat16", true},
    {"tiny-gpt-oss", 2, STAGE_moe_down, "float16", true},
};

/* A run whose values are rounded for the file alone. Of the head, only logits_final is recorded where it is asked for.
 */
static void run_rounded(const struct small_model *small, const struct product *product, struct trace *trace)
{
    double u, smallest;
    assert_true(float_type(product->type, &u, &smallest));
    record_run(trace, &small->plan, &small->golden);
    for (uint32_t i = trace->n_stages; i-- > 0;) {
        struct trace_stage *stage = &trace->stages[i];
        if (product->stage == STAGE_logits_final && stage->stage == STAGE_logits) {
            trace_remove_stage(trace, stage);
            continue;
        }
        for (uint64_t at = 0; at < (uint64_t)trace->n_positions * stage->width && !stage_is_integer(stage->stage);
             at++) {
            stage->rows[at] = (float)round_number(rounding_by_name(product->type), stage->rows[at]);
        }
        stage_set_rounded(stage, trace->n_positions, u);
    }
}

static void scale_stage(struct trace *trace, const struct product *product, double factor)
{
    struct trace_stage *stage = stage_at(trace, product->layer, product->stage);
    for (uint64_t at = 0; at < (uint64_t)trace->n_positions * stage->width; at++) {
        stage->rows[at] = (float)(stage->rows[at] * factor);
    }
}

static struct factor measure(const struct plan *plan, uint32_t step, const struct trace *trace)
{
    struct factor factor;
    struct rows rows;
    rows_gather(&rows, plan, step, trace, NULL);
    assert_true(factor_measure(&factor, plan, step, trace, &rows));
    rows_free(&rows);
    return factor;
}

static void one_percent_is_found(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(products) / sizeof(*products); i++) {
        struct small_model small;
        struct trace trace;
        struct diagnosis found;
        small_open(&small, products[i].model, NULL);
        uint32_t step = (uint32_t)plan_find(&small.plan, products[i].layer, products[i].stage);
        run_rounded(&small, &products[i], &trace);
        struct finding finding = audit_step(&small.plan, step, &trace);
        assert_int_equal(finding.state, FINDING_AUDITED);
        assert_false(finding_failed(&finding));
        scale_stage(&trace, &products[i], 1.01);
        finding = audit_step(&small.plan, step, &trace);
        assert_true(finding_failed(&finding));
        assert_int_equal(diagnose_step(&small.plan, step, &trace, &found, 1), 1);
        assert_int_equal(found.kind, KIND_CONSTANT_MULTIPLE);
        trace_free(&trace);
        small_close(&small);
    }
}

/* The twins: 0.98 of what roundings explain passes, 1.02 of it fails. */
static void limit_is_sharp(void **state)
{
    (void)state;
    for (size_t i = 0; i < 4 * sizeof(products) / sizeof(*products); i++) {
        const struct product *product = &products[i / 4];
        double sign = i % 2 ? 1 : -1, share = i % 4 < 2 ? 0.98 : 1.02;
        struct small_model small;
        struct trace trace;
        if (product->bias) {
            continue;
        }
        small_open(&small, product->model, NULL);
        uint32_t step = (uint32_t)plan_find(&small.plan, product->layer, product->stage);
        run_rounded(&small, product, &trace);
        const struct factor factor = measure(&small.plan, step, &trace);
        scale_stage(&trace, product, (1 + sign * share * factor.off) / factor.factor);
        const struct finding finding = audit_step(&small.plan, step, &trace);
        assert_int_equal(finding_failed(&finding), share > 1);
        trace_free(&trace);
        small_close(&small);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_percent_is_found),
        cmocka_unit_test(limit_is_sharp),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
