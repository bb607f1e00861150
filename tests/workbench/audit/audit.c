/* Tests of the audit: goldens pass, and a recorded value that is off by more than its bound is found at its place. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/recording.h"
#include "workbench/audit/audit.h"

static const char *const names[] = {"tiny-llama", "tiny-gemma3"};

/* Every step is judged at every position, and nothing fails. */
static void test_goldens_pass(void **state)
{
    (void)state;
    for (size_t m = 0; m < 2; m++) {
        struct small_model small;
        struct trace run;
        struct audit audit;
        small_open(&small, names[m], NULL);
        record_run(&run, &small.plan, &small.golden);
        const struct trace *traces[] = {&run, &small.golden};
        audit_run(&audit, &small.plan, traces, 2, NULL, NULL);
        for (uint32_t s = 0; s < small.plan.n_steps; s++) {
            for (uint32_t t = 0; t < 2; t++) {
                const struct finding *finding = audit_finding(&audit, s, t);
                assert_int_equal(finding->state, FINDING_AUDITED);
                assert_int_equal(finding->rows_judged, small.golden.n_positions);
                assert_int_equal(finding->rows_failed, 0);
                assert_true(finding->max_ratio <= 1);
                assert_int_equal(finding->nonfinite, 0);
            }
            assert_true(audit.relative_rms[s * 2] < 1e-5);
            assert_true(audit.relative_rms[s * 2 + 1] == 0);
        }
        audit_free(&audit);
        trace_free(&run);
        small_close(&small);
    }
}

static float *place_of(const struct plan *plan, uint32_t s, const struct trace *trace, uint32_t position, uint32_t dim)
{
    const struct step *step = &plan->steps[s];
    return &stage_at(trace, step->layer, step->stage)->rows[(uint64_t)position * step->width + dim];
}

/* Moves one recorded value to `times` its bound from the expected value. */
static float *push_value(const struct plan *plan, uint32_t s, const struct trace *trace, uint32_t position,
                         uint32_t dim, double times)
{
    const struct step *step = &plan->steps[s];
    struct rows rows;
    rows_gather(&rows, plan, s, trace, NULL);
    assert_int_equal(rows.n, trace->n_positions);
    double *y = xcalloc(step->width, sizeof(*y)), *bound = xcalloc(step->width, sizeof(*bound));
    struct op_batch batch = {.step = step, .n_rows = 1, .rows = &rows.rows[position], .y = y, .bound = bound};
    op_run(&batch);
    float *value = place_of(plan, s, trace, position, dim);
    *value = (float)(y[dim] + times * bound[dim]);
    if (times > 1 && bound[dim] == 0) { /* a copy: any change is too much */
        *value = nextafterf((float)y[dim], INFINITY);
    }
    rows_free(&rows);
    free(y);
    free(bound);
    return value;
}

/* In every step of both models one value is changed. Rounded from the expected value, it passes. Moved 4 bounds away (3
 * to 5, for it is rounded as well), it fails, and nothing else does. */
static void test_pushed_values_are_found(void **state)
{
    (void)state;
    for (size_t m = 0; m < 2; m++) {
        struct small_model small;
        small_open(&small, names[m], NULL);
        for (uint32_t s = 0; s < small.plan.n_steps; s++) {
            uint32_t position = (s * 7) % small.golden.n_positions, dim = (s * 13) % small.plan.steps[s].width;
            float original = *place_of(&small.plan, s, &small.golden, position, dim);
            float *value = push_value(&small.plan, s, &small.golden, position, dim, 0);
            struct finding finding = audit_step(&small.plan, s, &small.golden);
            assert_int_equal(finding.rows_failed, 0);
            push_value(&small.plan, s, &small.golden, position, dim, 4);
            finding = audit_step(&small.plan, s, &small.golden);
            assert_true(finding_failed(&finding));
            assert_int_equal(finding.rows_failed, 1);
            assert_int_equal(finding.position, position);
            assert_int_equal(finding.dim, dim);
            assert_int_equal(finding.worst_position, position);
            assert_int_equal(finding.worst_dim, dim);
            assert_true(finding.actual == *value);
            assert_true(isinf(finding.ratio) || (finding.ratio >= 2.9 && finding.ratio <= 5.1));
            *value = original;
        }
        small_close(&small);
    }
}

/* The reported place is the lowest failing position, even if a later one is worse. */
static void test_lowest_position_is_reported(void **state)
{
    (void)state;
    struct small_model small;
    small_open(&small, "tiny-llama", NULL);
    int32_t s = plan_find(&small.plan, 2, STAGE_ffn_up);
    push_value(&small.plan, (uint32_t)s, &small.golden, 4, 100, 2);
    push_value(&small.plan, (uint32_t)s, &small.golden, 4, 120, 5);
    push_value(&small.plan, (uint32_t)s, &small.golden, 9, 3, 50);
    struct finding finding = audit_step(&small.plan, (uint32_t)s, &small.golden);
    assert_int_equal(finding.rows_failed, 2);
    assert_int_equal(finding.position, 4);
    assert_int_equal(finding.dim, 120);
    assert_true(fabs(finding.ratio - 5) < 0.5);
    assert_true(fabs(finding.max_ratio - 50) < 0.5);
    assert_int_equal(finding.worst_position, 9);
    assert_int_equal(finding.worst_dim, 3);
    small_close(&small);
}

/* A NaN is an infinite error in its own row. Rows that read it inherit it, and are not reported. */
static void test_nonfinite(void **state)
{
    (void)state;
    static const float values[] = {NAN, INFINITY, -INFINITY};
    for (size_t v = 0; v < 3; v++) {
        struct small_model small;
        struct audit audit;
        small_open(&small, "tiny-gemma3", NULL);
        stage_at(&small.golden, 3, STAGE_k_proj)->rows[5 * 32 + 7] = values[v];
        const struct trace *traces[] = {&small.golden};
        audit_run(&audit, &small.plan, traces, 1, NULL, NULL);
        uint32_t n_failed = 0;
        for (uint32_t s = 0; s < small.plan.n_steps; s++) {
            n_failed += finding_failed(audit_finding(&audit, s, 0));
        }
        assert_int_equal(n_failed, 1);
        const struct finding *finding = audit_finding(&audit, (uint32_t)plan_find(&small.plan, 3, STAGE_k_proj), 0);
        assert_true(finding_failed(finding) && isinf(finding->ratio));
        assert_int_equal(finding->position, 5);
        assert_int_equal(finding->dim, 7);
        assert_int_equal(finding->nonfinite, 1);
        finding = audit_finding(&audit, (uint32_t)plan_find(&small.plan, 3, STAGE_k_norm), 0);
        assert_int_equal(finding->rows_inherited, 1);
        assert_int_equal(finding->rows_judged, small.golden.n_positions - 1);
        audit_free(&audit);
        small_close(&small);
    }
}

static void test_judge(void **state)
{
    (void)state;
    assert_true(judge(1, 1, 0) == 0);
    assert_true(isinf(judge(1, 1.5, 0)));
    assert_true(judge(1, 1.5, 0.25) == 2);
    assert_true(isinf(judge(1, NAN, 10)));
    assert_true(isinf(judge(1, INFINITY, 10)));
    assert_true(isinf(judge(INFINITY, 1, 10)));
    assert_true(isnan(judge(NAN, NAN, 10)));
    assert_true(judge(1, 2, NAN) > 1);
}

/* A token that does not fit its own embedding row. */
static void test_embed_contradicts_tokens(void **state)
{
    (void)state;
    struct small_model small;
    small_open(&small, "tiny-llama", NULL);
    small.golden.tokens[6] ^= 1;
    struct finding finding = audit_step(&small.plan, 0, &small.golden);
    assert_true(finding_failed(&finding));
    assert_int_equal(finding.position, 6);
    assert_int_equal(finding.rows_failed, 1);
    small_close(&small);
}

static void hide_row(const struct trace *trace, int32_t layer, enum stage name, uint32_t position)
{
    struct trace_stage *stage = stage_at(trace, layer, name);
    stage->n_recorded -= stage->recorded[position];
    stage->recorded[position] = 0;
}

/* Nothing is recorded at position 2, so inputs there cannot be computed either: the rows that need them are not
 * audited, all others are. Local layers of tiny-gemma3 see 6 keys, so this concerns positions 2 to 7. Where the inputs
 * of a key are recorded, the row is judged. */
static void test_missing_inputs(void **state)
{
    (void)state;
    struct small_model small;
    small_open(&small, "tiny-gemma3", NULL);
    uint32_t local = (uint32_t)plan_find(&small.plan, 1, STAGE_attn_out);
    uint32_t global = (uint32_t)plan_find(&small.plan, 2, STAGE_attn_out);
    hide_row(&small.golden, 1, STAGE_k_rope, 2);
    struct finding finding = audit_step(&small.plan, local, &small.golden);
    assert_int_equal(finding.rows_judged, small.golden.n_positions);
    assert_true(finding.span && finding.rows_failed == 0 && finding.rows_unaudited == 0);
    for (uint32_t s = 0; s < small.plan.n_steps; s++) {
        hide_row(&small.golden, small.plan.steps[s].layer, small.plan.steps[s].stage, 2);
    }
    finding = audit_step(&small.plan, local, &small.golden);
    assert_int_equal(finding.state, FINDING_AUDITED);
    assert_int_equal(finding.rows_unaudited, 5); /* position 2 itself has no output */
    assert_int_equal(finding.rows_judged, small.golden.n_positions - 6);
    for (uint32_t s = 0; s < small.plan.n_steps; s++) {
        hide_row(&small.golden, small.plan.steps[s].layer, small.plan.steps[s].stage, 0);
    }
    finding = audit_step(&small.plan, global, &small.golden);
    assert_int_equal(finding.state, FINDING_UNAUDITED);
    struct trace_stage *stage = stage_at(&small.golden, 2, STAGE_attn_out);
    memset(stage->recorded, 0, small.golden.n_positions);
    stage->n_recorded = 0;
    finding = audit_step(&small.plan, global, &small.golden);
    assert_int_equal(finding.state, FINDING_MISSING);
    small_close(&small);
}

/* Statistics are of whole rows, not of the first five values. Postmortem 2025-12-17 positive-bias-hidden-states. */
static void test_statistics_span_rows(void **state)
{
    (void)state;
    struct small_model small;
    small_open(&small, "tiny-llama", NULL);
    struct trace_stage *stage = stage_at(&small.golden, 0, STAGE_q_proj);
    double squares = 0, most = 0;
    for (uint64_t i = 0; i < (uint64_t)small.golden.n_positions * stage->width; i++) {
        squares += (double)stage->rows[i] * stage->rows[i];
        most = fmax(most, fabs((double)stage->rows[i]));
    }
    struct finding finding = audit_step(&small.plan, (uint32_t)plan_find(&small.plan, 0, STAGE_q_proj), &small.golden);
    assert_true(fabs(finding.rms - sqrt(squares / (small.golden.n_positions * stage->width))) < 1e-12);
    assert_true(finding.max_abs == most);
    stage->rows[stage->width - 1] = 1000;
    finding = audit_step(&small.plan, (uint32_t)plan_find(&small.plan, 0, STAGE_q_proj), &small.golden);
    assert_true(finding.max_abs == 1000);
    small_close(&small);
}

/* Values are judged by the storage type that the trace declares: the same values pass as bfloat16 and fail as float32.
 */
static void test_declared_arithmetic(void **state)
{
    (void)state;
    struct small_model small;
    small_open(&small, "tiny-llama", NULL);
    uint32_t s = (uint32_t)plan_find(&small.plan, 1, STAGE_v_proj);
    struct trace_stage *stage = stage_at(&small.golden, 1, STAGE_v_proj);
    for (uint64_t i = 0; i < (uint64_t)small.golden.n_positions * stage->width; i++) {
        uint32_t bits;
        memcpy(&bits, &stage->rows[i], sizeof(bits));
        bits = (bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000;
        memcpy(&stage->rows[i], &bits, sizeof(bits));
    }
    struct finding finding = audit_step(&small.plan, s, &small.golden);
    assert_true(finding_failed(&finding));
    assert_true(float_type("bfloat16", &stage->arith.u_storage, &stage->arith.eta));
    finding = audit_step(&small.plan, s, &small.golden);
    assert_int_equal(finding.rows_failed, 0);
    assert_true(finding.max_ratio > 0.5);
    small_close(&small);
}

/* Which failing steps were met, in order. */
static enum stage met[64];
static uint32_t n_met;

static bool goes_on_always(void *context, const struct step *step, const struct finding *finding)
{
    assert_ptr_equal(context, met);
    assert_true(finding_failed(finding) && n_met < sizeof(met) / sizeof(*met));
    met[n_met++] = step->stage;
    return true;
}

static bool goes_on_before_o_proj(void *context, const struct step *step, const struct finding *finding)
{
    return goes_on_always(context, step, finding) && step->stage != STAGE_o_proj;
}

/* The audit ends at the first failing step that is refused, and judges nothing behind it. The twin refuses none, and
 * judges all. */
static void test_audit_while(void **state)
{
    (void)state;
    struct small_model small;
    struct audit audit;
    small_open(&small, "tiny-llama", NULL);
    uint32_t refused = (uint32_t)plan_find(&small.plan, 1, STAGE_o_proj);
    push_value(&small.plan, (uint32_t)plan_find(&small.plan, 1, STAGE_attn_norm), &small.golden, 4, 10, 50);
    push_value(&small.plan, refused, &small.golden, 5, 20, 4);
    push_value(&small.plan, (uint32_t)plan_find(&small.plan, 2, STAGE_ffn_norm), &small.golden, 6, 30, 4);
    for (int twin = 0; twin <= 1; twin++) {
        n_met = 0;
        assert_int_equal(
            audit_while(&audit, &small.plan, &small.golden, twin ? goes_on_always : goes_on_before_o_proj, met), twin);
        assert_true(n_met > 1);
        assert_int_equal(met[0], STAGE_attn_norm);
        assert_int_equal(met[n_met - 1] == STAGE_o_proj, !twin);
        for (uint32_t s = 0; s < small.plan.n_steps; s++) {
            bool judged = twin || s <= refused;
            assert_int_equal(audit_finding(&audit, s, 0)->rows_judged, judged ? small.golden.n_positions : 0);
        }
        audit_free(&audit);
    }
    small_close(&small);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_goldens_pass),
        cmocka_unit_test(test_pushed_values_are_found),
        cmocka_unit_test(test_lowest_position_is_reported),
        cmocka_unit_test(test_nonfinite),
        cmocka_unit_test(test_judge),
        cmocka_unit_test(test_embed_contradicts_tokens),
        cmocka_unit_test(test_missing_inputs),
        cmocka_unit_test(test_statistics_span_rows),
        cmocka_unit_test(test_declared_arithmetic),
        cmocka_unit_test(test_audit_while),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
