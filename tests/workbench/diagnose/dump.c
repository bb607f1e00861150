/* Traces that hold only some stages. Healthy ones pass; a fault is named, and found between the two recorded stages
 * that enclose it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/recording.h"
#include "workbench/audit/verdict.h"
#include "workbench/diagnose/diagnose.h"
#include "workbench/fault/fault.h"

static const char *const models[] = {"tiny-llama", "tiny-gemma2", "tiny-gemma3", "tiny-gpt-oss", "tiny-gemma3-odd"};

/* Which stages a dump holds. */
enum dump { EVEN, ODD, LAYERS_ONLY, RESIDUAL_STREAM, EVERY_FIFTH, N_DUMPS };

static bool holds(enum dump dump, const struct plan *plan, uint32_t s)
{
    enum stage stage = plan->steps[s].stage;
    bool ends = stage == STAGE_embed || stage == STAGE_layer_out || stage == STAGE_logits_final;
    switch (dump) {
    case EVEN:
        return s % 2 == 0;
    case ODD:
        return s % 2 == 1;
    case LAYERS_ONLY: /* transformers' output_hidden_states, and the logits */
        return ends;
    case RESIDUAL_STREAM:
        return ends || stage == STAGE_attn_resid;
    default:
        return s % 5 == 3;
    }
}

static void keep_some(struct trace *trace, const struct plan *plan, enum dump dump)
{
    for (uint32_t s = 0; s < plan->n_steps; s++) {
        struct trace_stage *stage = trace_find(trace, plan->steps[s].layer, plan->steps[s].stage);
        if (!stage || holds(dump, plan, s)) {
            continue;
        }
        memset(stage->recorded, 0, trace->n_positions);
        stage->n_recorded = 0;
    }
}

/* Of a healthy dump, every stage in it is judged at every position and passes. */
static void test_healthy_dumps_pass(void **state)
{
    (void)state;
    for (size_t m = 0; m < sizeof(models) / sizeof(*models); m++) {
        for (int dump = 0; dump < N_DUMPS; dump++) {
            struct small_model small;
            struct audit audit;
            small_open(&small, models[m], NULL);
            keep_some(&small.golden, &small.plan, (enum dump)dump);
            const struct trace *traces[] = {&small.golden};
            audit_run(&audit, &small.plan, traces, 1, NULL, NULL);
            uint32_t n_spans = 0;
            for (uint32_t s = 0; s < small.plan.n_steps; s++) {
                const struct finding *finding = audit_finding(&audit, s, 0);
                if (!holds((enum dump)dump, &small.plan, s) || finding->state == FINDING_MISSING) {
                    continue;
                }
                assert_int_equal(finding->rows_failed, 0);
                if (dump == EVERY_FIFTH) { /* not all can be: a layer's input and output may both be missing */
                    continue;
                }
                assert_int_equal(finding->state, FINDING_AUDITED);
                assert_int_equal(finding->rows_judged, small.golden.n_positions);
                n_spans += finding->span;
            }
            assert_true(dump == EVERY_FIFTH || n_spans > small.plan.n_layers);
            audit_free(&audit);
            small_close(&small);
        }
    }
}

static const struct {
    const char *model, *fault;
} cases[] = {
    {"tiny-llama", "softmax-sizes-swapped@2"},    {"tiny-llama", "transpose-b@1.o_proj"},
    {"tiny-llama", "residual-dropped@1"},         {"tiny-llama", "kv-stale@2"},
    {"tiny-llama", "gate-up-swapped@1"},          {"tiny-gemma3", "qk-norm-no-offset@2"},
    {"tiny-gemma3", "norm-no-offset@1.ffn_norm"}, {"tiny-gemma3", "post-ffn-norm-skipped@3"},
    {"tiny-gemma3", "rope-theta-swapped@3"},      {"tiny-gemma3", "embed-scale-missing"},
    {"tiny-gemma3", "window-off-by-one@1"},       {"tiny-gemma2", "gelu-erf@1"},
    {"tiny-gemma3-odd", "query-scale@2"},
};

/* Whether a step is the failing one or lies inside its span. */
static bool contains(const struct span_path *path, uint32_t failing, uint32_t step)
{
    return step == failing || span_path_passes(path, step);
}

/* The span begins and ends at recorded stages and passes over none. */
static void check_path(const struct span_path *path, const struct trace *trace, const struct plan *plan)
{
    for (uint32_t i = 0; i < path->n_between + path->n_from; i++) {
        bool between = i < path->n_between;
        const struct step *step = &plan->steps[between ? path->between[i] : path->from[i - path->n_between]];
        const struct trace_stage *stage = trace_find(trace, step->layer, step->stage);
        assert_int_equal(stage && stage->n_recorded > 0, !between);
    }
}

static void find_fault(const char *model, const char *name, enum dump dump)
{
    struct small_model small;
    struct plan faulty;
    struct fault_request request;
    struct trace run;
    struct audit audit;
    struct verdict verdict;
    struct span_path path;
    struct diagnosis found[8];
    static const enum source sources[] = {SOURCE_TRACE};
    int32_t planted;
    small_open(&small, model, NULL);
    plan_copy(&faulty, &small.plan);
    assert_int_equal(fault_parse(&request, name, NULL), STATUS_OK);
    assert_int_equal(fault_plant(&request, &faulty, &planted, NULL), STATUS_OK);
    record_run(&run, &faulty, &small.golden);
    keep_some(&run, &small.plan, dump);
    const struct trace *traces[] = {&run};
    audit_run(&audit, &small.plan, traces, 1, NULL, NULL);
    verdict_reach(&verdict, &audit, traces, sources, true);
    assert_true(verdict.n_introduced >= 1);
    uint32_t failing = verdict.introduced[0].step;
    span_path_find(&path, &small.plan, failing, &run);
    check_path(&path, &run, &small.plan);
    bool whole_layer = request.fault->whole_layer || request.stage == STAGE_COUNT;
    bool right = contains(&path, failing, (uint32_t)planted);
    for (uint32_t s = 0; s < small.plan.n_steps && whole_layer && !right; s++) { /* another step that was struck too */
        right = contains(&path, failing, s) && small.plan.steps[s].layer == small.plan.steps[planted].layer &&
                memcmp(&small.plan.steps[s], &faulty.steps[s], sizeof(faulty.steps[s])) != 0;
    }
    assert_true(right);
    uint32_t n = diagnose_step(&small.plan, failing, &run, found, 8);
    assert_true(n >= 1);
    assert_string_equal(found[0].fault, request.fault->name);
    assert_true(contains(&path, failing, found[0].step));
    span_path_free(&path);
    verdict_free(&verdict);
    audit_free(&audit);
    trace_free(&run);
    plan_free(&faulty);
    small_close(&small);
}

static void test_faults_are_found_in_dumps(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        for (int dump = 0; dump < EVERY_FIFTH; dump++) {
            print_message("%s %s, dump %d\n", cases[i].model, cases[i].fault, dump);
            find_fault(cases[i].model, cases[i].fault, (enum dump)dump);
        }
    }
}

/* A wrong op that is not recorded, inside several spans, is introduced once; two that share no span, twice. A span that
 * passes over the same op clears it. */
static void test_spans_that_share_an_op(void **state)
{
    (void)state;
    static const struct {
        enum stage wrong, also;
        uint32_t n_introduced;
    } shared[] = {
        {STAGE_attn_norm, STAGE_COUNT, 1}, /* q, k and v all fail over it */
        {STAGE_q_proj, STAGE_COUNT, 1},
        {STAGE_q_proj, STAGE_v_proj, 2}, /* k passes: attn_norm is right */
    };
    static const enum source sources[] = {SOURCE_TRACE};
    for (size_t i = 0; i < sizeof(shared) / sizeof(*shared); i++) {
        struct small_model small;
        struct plan faulty;
        struct trace run;
        struct audit audit;
        struct verdict verdict;
        small_open(&small, "tiny-llama", NULL);
        plan_copy(&faulty, &small.plan);
        struct step *norm = &faulty.steps[plan_find(&faulty, 1, STAGE_attn_norm)];
        if (shared[i].wrong == STAGE_attn_norm) {
            norm->params.rms_norm.offset += 1;
        }
        record_run(&run, &faulty, &small.golden);
        if (shared[i].wrong != STAGE_attn_norm) {
            stage_at(&run, 1, shared[i].wrong)->rows[5] += 1;
        }
        if (shared[i].also != STAGE_COUNT) {
            stage_at(&run, 1, shared[i].also)->rows[7] += 1;
        }
        struct trace_stage *hidden = stage_at(&run, 1, STAGE_attn_norm);
        memset(hidden->recorded, 0, run.n_positions);
        hidden->n_recorded = 0;
        const struct trace *traces[] = {&run};
        audit_run(&audit, &small.plan, traces, 1, NULL, NULL);
        verdict_reach(&verdict, &audit, traces, sources, true);
        uint32_t n_of_layer = 0;
        for (uint32_t k = 0; k < verdict.n_introduced; k++) {
            n_of_layer += small.plan.steps[verdict.introduced[k].step].op == OP_matmul;
        }
        assert_int_equal(n_of_layer, shared[i].n_introduced);
        assert_int_equal(small.plan.steps[verdict.introduced[0].step].stage, STAGE_q_proj);
        assert_int_equal(verdict.cleared[0][plan_find(&small.plan, 1, STAGE_attn_norm)],
                         shared[i].wrong != STAGE_attn_norm);
        verdict_free(&verdict);
        audit_free(&audit);
        trace_free(&run);
        plan_free(&faulty);
        small_close(&small);
    }
}

/* A span is reported as not judged if its values are stored so coarsely that zeros would pass. The twin, stored as the
 * golden is, is judged. */
static void test_a_span_too_long_is_not_judged(void **state)
{
    (void)state;
    for (int coarse = 0; coarse < 2; coarse++) {
        struct small_model small;
        small_open(&small, "tiny-llama", NULL);
        keep_some(&small.golden, &small.plan, LAYERS_ONLY);
        struct trace_stage *stage = stage_at(&small.golden, LAYER_NONE, STAGE_logits_final);
        if (coarse) {
            small.golden.arith.u_storage = stage->arith.u_storage = 0.5;
        }
        struct finding finding =
            audit_step(&small.plan, (uint32_t)plan_find(&small.plan, LAYER_NONE, STAGE_logits_final), &small.golden);
        assert_int_equal(finding.state, coarse ? FINDING_UNAUDITED : FINDING_AUDITED);
        assert_int_equal(finding.rows_unaudited, coarse ? small.golden.n_positions : 0);
        small_close(&small);
    }
}

/* From tokens a span goes as far as the end of the first layer, and no further: what is left of the second is missing.
 */
static void test_tokens_reach_the_first_layer_alone(void **state)
{
    (void)state;
    struct small_model small;
    struct audit audit;
    small_open(&small, "tiny-llama", NULL);
    keep_some(&small.golden, &small.plan, LAYERS_ONLY);
    for (int32_t layer = 0; layer < 2; layer++) {
        struct trace_stage *stage =
            stage_at(&small.golden, layer == 0 ? LAYER_NONE : 1, layer == 0 ? STAGE_embed : STAGE_layer_out);
        memset(stage->recorded, 0, small.golden.n_positions);
        stage->n_recorded = 0;
    }
    const struct trace *traces[] = {&small.golden};
    audit_run(&audit, &small.plan, traces, 1, NULL, NULL);
    for (int32_t layer = 0; layer < 4; layer++) {
        assert_int_equal(audit_finding(&audit, (uint32_t)plan_find(&small.plan, layer, STAGE_layer_out), 0)->state,
                         layer == 1 ? FINDING_MISSING : FINDING_AUDITED);
    }
    audit_free(&audit);
    struct trace_stage *first = stage_at(&small.golden, 0, STAGE_layer_out);
    memset(first->recorded, 0, small.golden.n_positions);
    first->n_recorded = 0;
    struct finding finding =
        audit_step(&small.plan, (uint32_t)plan_find(&small.plan, 2, STAGE_layer_out), &small.golden);
    assert_int_equal(finding.state, FINDING_UNAUDITED);
    small_close(&small);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_healthy_dumps_pass),
        cmocka_unit_test(test_faults_are_found_in_dumps),
        cmocka_unit_test(test_spans_that_share_an_op),
        cmocka_unit_test(test_a_span_too_long_is_not_judged),
        cmocka_unit_test(test_tokens_reach_the_first_layer_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
