/* Tests of the gain ledger: the error of a planted fault is introduced at its step and inherited by all later steps. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/support/recording.h"
#include "workbench/audit/ledger.h"
#include "workbench/fault/fault.h"

static void audit_with(struct small_model *small, const char *fault, struct trace *run, struct audit *audit,
                       int32_t *planted)
{
    struct plan faulty;
    struct fault_request request;
    small_open(small, "tiny-gemma3", NULL);
    plan_copy(&faulty, &small->plan);
    *planted = (int32_t)faulty.n_steps;
    if (fault) {
        assert_int_equal(fault_parse(&request, fault, NULL), STATUS_OK);
        assert_int_equal(fault_plant(&request, &faulty, planted, NULL), STATUS_OK);
    }
    record_run(run, &faulty, &small->golden);
    plan_free(&faulty);
    const struct trace *traces[] = {run, &small->golden};
    audit_run(audit, &small->plan, traces, 2, NULL, NULL);
}

static void test_introduced_and_inherited(void **state)
{
    (void)state;
    static const char *const faults[] = {"norm-no-offset@2.ffn_norm", "softmax-sizes-swapped@3", NULL};
    for (size_t f = 0; f < 3; f++) {
        struct small_model small;
        struct trace run;
        struct audit audit;
        int32_t planted;
        audit_with(&small, faults[f], &run, &audit, &planted);
        for (int32_t s = 0; s < (int32_t)small.plan.n_steps; s++) {
            struct ledger ledger = ledger_of(&audit, (uint32_t)s, 0);
            double total = audit.relative_rms[(uint32_t)s * 2];
            assert_true(s == planted ? ledger.introduced > 0.1 : ledger.introduced < 1e-6);
            if (s <= planted) { /* the twin: without a fault, these are all steps */
                assert_true(ledger.inherited < 1e-5);
            }
            assert_true(total <= ledger.introduced + ledger.inherited + 1e-12);
            if (small.plan.steps[s].op == OP_embed) {
                assert_true(isnan(ledger.amplification));
            }
        }
        if (faults[f]) {
            struct ledger after = ledger_of(&audit, (uint32_t)planted + 1, 0);
            assert_true(after.inherited > 0.01 && after.amplification > 0);
        }
        audit_free(&audit);
        trace_free(&run);
        small_close(&small);
    }
}

/* y = residual + branch amplifies nothing. With an error in the residual alone, the amplification is (|dy| / |y|) /
 * (|(dr, db)| / |(r, b)|). */
static void test_amplification(void **state)
{
    (void)state;
    struct small_model small;
    struct trace changed;
    struct audit audit;
    small_open(&small, "tiny-llama", NULL);
    trace_copy(&changed, &small.golden);
    int32_t s = plan_find(&small.plan, 1, STAGE_attn_resid);
    const struct trace_stage *residual = stage_at(&changed, 0, STAGE_layer_out);
    const struct trace_stage *branch = stage_at(&changed, 1, STAGE_o_proj),
                             *sum = stage_at(&changed, 1, STAGE_attn_resid);
    double dr = 0, r = 0, b = 0, y = 0;
    for (uint64_t i = 0; i < (uint64_t)changed.n_positions * residual->width; i++) {
        y += (double)sum->rows[i] * sum->rows[i];
        r += (double)residual->rows[i] * residual->rows[i];
        b += (double)branch->rows[i] * branch->rows[i];
        float moved = residual->rows[i] + 0.5f;
        dr += ((double)moved - residual->rows[i]) * ((double)moved - residual->rows[i]);
        residual->rows[i] = moved;
    }
    const struct trace *traces[] = {&changed, &small.golden};
    audit_run(&audit, &small.plan, traces, 2, NULL, NULL);
    double expected = sqrt(dr / y) / sqrt(dr / (r + b));
    assert_true(fabs(ledger_of(&audit, (uint32_t)s, 0).amplification / expected - 1) < 1e-4);
    audit_free(&audit);
    const struct trace *alone[] = {&small.golden};
    audit_run(&audit, &small.plan, alone, 1, NULL, NULL);
    assert_true(isnan(ledger_of(&audit, (uint32_t)s, 0).introduced)); /* no golden to compare with */
    audit_free(&audit);
    trace_free(&changed);
    small_close(&small);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_introduced_and_inherited),
        cmocka_unit_test(test_amplification),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
