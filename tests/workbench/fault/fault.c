/* Faults: each is planted in a plan that the reference runs in an engine's place. The audit with the right plan must
 * find it where it was planted, and the diagnosis must name it. Needs no device. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/recording.h"
#include "workbench/diagnose/relations/relations.h"
#include "workbench/fault/fault.h"

/* Where each must be found, and how many steps it strikes. The rows of the fault table add their own places. */
static const struct expectation {
    const char *model, *fault;
    int32_t layer;
    enum stage stage;
    bool decode;
    uint32_t n_steps_failing; /* model-wide faults strike every step of their kind; 0: not checked */
} expectations[] = {
    {"tiny-llama", "softmax-sizes-swapped", 0, STAGE_attn_out, false, 4},
    {"tiny-llama", "softmax-sizes-swapped@3", 3, STAGE_attn_out, false, 1},
    {"tiny-llama", "kv-stale", 0, STAGE_attn_out, true, 1},
    {"tiny-llama", "kv-stale@2", 2, STAGE_attn_out, true, 1},
    {"tiny-llama", "transpose-b", 0, STAGE_q_proj, false, 1},
    {"tiny-llama", "transpose-b@1.o_proj", 1, STAGE_o_proj, false, 1},
    {"tiny-gemma3", "softmax-sizes-swapped", 0, STAGE_attn_out, false, 6},
    {"tiny-gemma3", "qk-norm-no-offset", 0, STAGE_q_norm, false, 12},
    {"tiny-gemma3", "qk-norm-no-offset@4.k_norm", 4, STAGE_k_norm, false, 1},
    {"tiny-gemma3", "norm-no-offset", 0, STAGE_attn_norm, false, 25},
    {"tiny-gemma3", "norm-no-offset@2", 2, STAGE_attn_norm, false, 4},
    {"tiny-gemma3", "norm-no-offset@5.post_attn_norm", 5, STAGE_post_attn_norm, false, 1},
    {"tiny-gemma3", "post-ffn-norm-skipped", 0, STAGE_post_ffn_norm, false, 6},
    {"tiny-gemma3", "embed-scale-missing", LAYER_NONE, STAGE_embed, false, 1},
    {"tiny-gemma3", "kv-stale@5", 5, STAGE_attn_out, true, 1},
    {"tiny-gemma3", "norm-double-offset", 0, STAGE_attn_norm, false, 37},
    {"tiny-llama", "norm-double-offset@2.ffn_norm", 2, STAGE_ffn_norm, false, 1},
    {"tiny-gemma3", "f16-half-plumbed@3", 3, STAGE_attn_out, false, 1},
    {"tiny-llama", "f16-half-plumbed", 0, STAGE_attn_out, false, 1},
    {"tiny-gemma3", "f16-kernel-on-f32@2.ffn_down", 2, STAGE_ffn_down, false, 1},
    {"tiny-llama", "f16-kernel-on-f32", 0, STAGE_q_proj, false, 1},
    {"tiny-gemma3", "attention-phase@4", 4, STAGE_attn_out, true, 1},
    {"tiny-llama", "attention-phase", 0, STAGE_attn_out, true, 1},
    {"tiny-gemma3", "residual-dropped@3", 3, STAGE_layer_out, false, 1},
    {"tiny-llama", "residual-dropped", 0, STAGE_layer_out, false, 1},
    {"tiny-gemma3", "wg-sums-short@2.ffn_norm", 2, STAGE_ffn_norm, false, 1},
    {"tiny-llama", "wg-sums-short", 0, STAGE_attn_norm, false, 1},
    {"tiny-llama", "layernorm-for-rmsnorm", 0, STAGE_attn_norm, false, 9},
    {"tiny-gemma3", "layernorm-for-rmsnorm", 0, STAGE_attn_norm, false, 37},
    {"tiny-gemma3", "layernorm-for-rmsnorm@3.k_norm", 3, STAGE_k_norm, false, 1},
    {"tiny-llama", "mask-off-by-one", 0, STAGE_attn_out, false, 4},
    {"tiny-gemma3", "mask-off-by-one@2", 2, STAGE_attn_out, false, 1},
    {"tiny-gemma3", "gather-dtype", LAYER_NONE, STAGE_embed, false, 1},
    {"tiny-llama", "gather-dtype", LAYER_NONE, STAGE_embed, false, 1},
    {"tiny-gemma3-odd", "query-scale", 0, STAGE_attn_out, false, 4},
    {"tiny-gemma3-odd", "query-scale@2", 2, STAGE_attn_out, false, 1},
    {"tiny-gemma3", "window-off-by-one", 0, STAGE_attn_out, false, 4},
    {"tiny-gemma3", "window-layers-swapped", 0, STAGE_attn_out, false, 6},
    {"tiny-gemma3", "rope-theta-swapped", 0, STAGE_q_rope, false, 12},
    {"tiny-gemma3", "rope-theta-swapped@2.k_rope", 2, STAGE_k_rope, false, 1},
    {"tiny-llama", "rope-interleaved", 0, STAGE_q_rope, false, 8},
    {"tiny-gemma3", "rope-interleaved@3.k_rope", 3, STAGE_k_rope, false, 1},
    {"tiny-llama", "kv-heads-in-turn", 0, STAGE_attn_out, false, 4},
    {"tiny-llama", "attention-unscaled", 0, STAGE_attn_out, false, 4},
    {"tiny-llama", "attn-scale-twice", 0, STAGE_attn_out, false, 4},
    {"tiny-gemma3", "attn-scale-twice@2", 2, STAGE_attn_out, false, 1},
    {"tiny-gemma3", "silu-for-gelu", 0, STAGE_ffn_act, false, 6},
    {"tiny-llama", "gelu-for-silu", 0, STAGE_ffn_act, false, 4},
    {"tiny-gpt-oss", "bias-missing", 0, STAGE_q_proj, false, 1},
    {"tiny-llama", "weights-of-layer-before", 1, STAGE_q_proj, false, 1},
    {"tiny-gemma3", "weights-of-layer-before@4.v_proj", 4, STAGE_v_proj, false, 1},
    {"tiny-gemma3", "gelu-erf", 0, STAGE_ffn_act, false, 6},
    {"tiny-gemma2", "final-softcap-missing", LAYER_NONE, STAGE_logits_final, false, 1},
    {"tiny-gemma2", "attn-softcap-missing", 0, STAGE_attn_out, false, 4},
    {"tiny-gemma2-odd", "attn-softcap-missing@1", 1, STAGE_attn_out, false, 1},
    {"tiny-gpt-oss", "sinks-missing", 0, STAGE_attn_out, false, 4},
    {"tiny-gpt-oss", "sinks-missing@2", 2, STAGE_attn_out, false, 1},
    {"tiny-gpt-oss", "topk-after-softmax", 0, STAGE_router_weights, false, 4},
    {"tiny-gpt-oss-odd", "topk-after-softmax@1", 1, STAGE_router_weights, false, 1},
    {"tiny-gpt-oss", "mxfp4-nibbles", 0, STAGE_moe_gate_up, false, 8},
    {"tiny-gpt-oss", "mxfp4-nibbles@3.moe_down", 3, STAGE_moe_down, false, 1},
    {"tiny-gpt-oss", "expert-bias-missing", 0, STAGE_moe_gate_up, false, 8},
    {"tiny-gpt-oss-odd", "expert-bias-missing@1.moe_down", 1, STAGE_moe_down, false, 1},
    {"tiny-gpt-oss", "swiglu-plain", 0, STAGE_moe_act, false, 4},
    {"tiny-gpt-oss-odd", "swiglu-plain@1", 1, STAGE_moe_act, false, 1},
    {"tiny-gpt-oss", "gate-up-halves", 0, STAGE_moe_act, false, 4},
    {"tiny-gpt-oss-odd", "gate-up-halves@1", 1, STAGE_moe_act, false, 1},
    {"tiny-gpt-oss", "scatter-add-overwrites", 0, STAGE_moe_out, false, 4},
    {"tiny-gpt-oss-odd", "scatter-add-overwrites@1", 1, STAGE_moe_out, false, 1},
    {"tiny-gpt-oss", "yarn-off", 0, STAGE_q_rope, false, 8},
    {"tiny-gpt-oss-odd", "yarn-off@1.k_rope", 1, STAGE_k_rope, false, 1},
};

static void expect_found(const struct expectation *expected)
{
    struct small_model small;
    struct plan faulty;
    struct fault_request request;
    struct trace run;
    struct audit audit;
    int32_t planted;
    small_open(&small, expected->model, NULL);
    plan_copy(&faulty, &small.plan);
    assert_int_equal(fault_parse(&request, expected->fault, NULL), STATUS_OK);
    assert_int_equal(fault_plant(&request, &faulty, &planted, NULL), STATUS_OK);
    record_run(&run, &faulty, &small.golden);
    const struct trace *traces[] = {&run};
    audit_run(&audit, &small.plan, traces, 1, NULL, NULL);
    uint32_t n_failing = 0, first = UINT32_MAX;
    for (uint32_t s = 0; s < small.plan.n_steps; s++) {
        if (!finding_failed(audit_finding(&audit, s, 0))) {
            continue;
        }
        first = first == UINT32_MAX ? s : first;
        n_failing++;
    }
    assert_int_equal(first, plan_find(&small.plan, expected->layer, expected->stage));
    assert_int_equal(first, planted);
    assert_true(expected->n_steps_failing == 0 || n_failing == expected->n_steps_failing);
    assert_int_equal(run.phase[audit_finding(&audit, first, 0)->position],
                     expected->decode ? PHASE_DECODE : PHASE_PREFILL);
    struct diagnosis found[8];
    uint32_t n = diagnose_step(&small.plan, first, &run, found, 8);
    assert_true(n >= 1);
    assert_string_equal(found[0].fault, request.fault->name);
    assert_int_equal(found[0].how, HOW_REPRODUCED);
    assert_non_null(strstr(found[0].text, request.fault->story));
    assert_string_equal(found[0].postmortem, request.fault->postmortem);
    for (uint32_t i = 1; i < n; i++) {
        assert_int_not_equal(found[i].how, HOW_REPRODUCED); /* no other fault claims it */
    }
    audit_free(&audit);
    trace_free(&run);
    plan_free(&faulty);
    small_close(&small);
}

static void test_planted_faults_are_found_and_named(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(expectations) / sizeof(*expectations); i++) {
        print_message("%s %s\n", expectations[i].model, expectations[i].fault);
        expect_found(&expectations[i]);
    }
}

/* Whether the reference can stand in for the engine that the row means: where a mutant names the fault, and the model
 * has a golden whose prompt fits one batch. What shows as NaN or infinity only needs an engine that declares what it
 * stores. */
static bool runs_without_engine(const struct fault *fault)
{
    return fault_is_mutant(fault) && !fault->silent && !fault->nonfinite &&
           strncmp(fault->found.model, "tiny-", 5) == 0 && strchr(fault->found.model, '.') == NULL &&
           strcmp(fault->found.model, "tiny-llama-long") != 0;
}

static void test_rows_say_where_they_are_found(void **state)
{
    (void)state;
    uint32_t n;
    const struct fault *faults = fault_list(&n);
    for (uint32_t i = 0; i < n; i++) {
        if (!runs_without_engine(&faults[i])) {
            continue;
        }
        const struct expectation expected = {.model = faults[i].found.model,
                                             .fault = faults[i].name,
                                             .layer = faults[i].found.layer,
                                             .stage = faults[i].found.stage,
                                             .decode = faults[i].decode_only};
        print_message("%s %s\n", expected.model, expected.fault);
        expect_found(&expected);
    }
}

/* The twin: nothing is planted, and nothing is diagnosed at any step. */
static void test_healthy_steps_have_no_diagnosis(void **state)
{
    (void)state;
    struct small_model small;
    struct diagnosis found[8];
    small_open(&small, "tiny-gemma3", NULL);
    for (uint32_t s = 0; s < small.plan.n_steps; s++) {
        assert_int_equal(diagnose_step(&small.plan, s, &small.golden, found, 8), 0);
    }
    small_close(&small);
}

/* Fails with what is missing in a row. */
#define ROW_MUST(condition, fault, what)                            \
    do {                                                            \
        if (!(condition)) {                                         \
            fail_msg("fault_table.c, %s: %s", (fault)->name, what); \
        }                                                           \
    } while (0)

static void test_table(void **state)
{
    (void)state;
    uint32_t n;
    const struct fault *faults = fault_list(&n);
    for (uint32_t i = 0; i < n; i++) {
        const struct fault *fault = &faults[i];
        enum diagnosis_how how;
        ROW_MUST(fault_by_name(fault->name) == fault, fault, "an earlier row has this name");
        ROW_MUST(strlen(fault->name) < sizeof(((struct diagnosis *)NULL)->fault), fault, "the name is too long");
        ROW_MUST(fault->kind != KIND_NONE, fault, "no .kind");
        ROW_MUST(fault->story != NULL && strlen(fault->story) > 20, fault, "no .story");
        ROW_MUST(strlen(fault->story) <= 240, fault, "the story is longer than 240 bytes, a diagnosis would cut it");
        ROW_MUST(fault->story[strlen(fault->story) - 1] == '.', fault, "the story does not end with a full stop");
        ROW_MUST(fault->postmortem != NULL && *fault->postmortem != '\0', fault, "no .postmortem");
        ROW_MUST(fault->stages != NULL, fault, "no STRIKES");
        ROW_MUST(fault->number.change != NUMBER_KEPT || fault->variant != VARIANT_NONE ||
                     fault->tamper != TAMPER_NONE || fault->edit != NULL || fault->pads_buffers,
                 fault, "it edits nothing");
        ROW_MUST(fault->relation == NULL || relation_proves(fault->relation, &how), fault,
                 "its .relation is not one of diagnose/relations.h");
        ROW_MUST(fault_is_mutant(fault) || fault->relation != NULL || fault->breaks_engine || fault->in_chunks, fault,
                 "a tamper needs a .relation that names it");
        ROW_MUST(fault->found.model != NULL, fault, "no .found, the model and place where tests must find it");
        ROW_MUST((fault->found.stage == STAGE_COUNT) == (fault->silent || fault->breaks_engine), fault,
                 ".found has no stage, or one where nothing can be found");
    }
    assert_null(fault_by_name("softmax"));
}

static void test_parse(void **state)
{
    (void)state;
    struct fault_request request;
    struct error err;
    assert_int_equal(fault_parse(&request, "kv-stale@17.attn_out", &err), STATUS_OK);
    assert_string_equal(request.fault->name, "kv-stale");
    assert_int_equal(request.layer, 17);
    assert_int_equal(request.stage, STAGE_attn_out);
    assert_int_equal(fault_parse(&request, "kv-stale", &err), STATUS_OK);
    assert_int_equal(request.layer, LAYER_NONE);
    assert_int_equal(request.stage, STAGE_COUNT);
    static const char *const wrong[] = {"",
                                        "kv-stal",
                                        "kv-stale@",
                                        "kv-stale@x",
                                        "kv-stale@-1",
                                        "kv-stale@1.",
                                        "kv-stale@1.x",
                                        "kv-stale@1x",
                                        "@1",
                                        "kv-stale@99999999999"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
        assert_int_equal(fault_parse(&request, wrong[i], &err), STATUS_USAGE);
        assert_true(err.text[0] && !strchr(err.text, '\n'));
    }
}

/* What does not apply is refused, and the plan stays as it was. */
static void test_not_applicable(void **state)
{
    (void)state;
    static const struct {
        const char *model, *fault;
    } cases[] = {
        {"tiny-llama", "qk-norm-no-offset"},      {"tiny-llama", "norm-no-offset"},
        {"tiny-llama", "post-ffn-norm-skipped"},  {"tiny-llama", "embed-scale-missing"},
        {"tiny-gemma3", "transpose-b"},           {"tiny-llama", "kv-stale@4"},
        {"tiny-llama", "transpose-b@0.k_proj"},   {"tiny-llama", "kv-stale@0.q_proj"},
        {"tiny-gemma3", "embed-scale-missing@0"}, {"tiny-llama", "pool-padding@0"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct small_model small;
        struct plan copy;
        struct fault_request request;
        struct error err = {0};
        int32_t planted;
        small_open(&small, cases[i].model, NULL);
        plan_copy(&copy, &small.plan);
        assert_int_equal(fault_parse(&request, cases[i].fault, &err), STATUS_OK);
        assert_int_equal(fault_plant(&request, &copy, &planted, &err), STATUS_BAD_INPUT);
        assert_non_null(strstr(err.text, request.fault->name));
        for (uint32_t s = 0; s < copy.n_steps; s++) {
            assert_memory_equal(&copy.steps[s].params, &small.plan.steps[s].params, sizeof(copy.steps[s].params));
        }
        plan_free(&copy);
        small_close(&small);
    }
}

/* A fault of no step is planted nowhere. */
static void test_silent(void **state)
{
    (void)state;
    struct small_model small;
    struct fault_request request;
    int32_t planted = 5;
    small_open(&small, "tiny-llama", NULL);
    assert_int_equal(fault_parse(&request, "pool-padding", NULL), STATUS_OK);
    assert_true(request.fault->silent);
    assert_int_equal(fault_plant(&request, &small.plan, &planted, NULL), STATUS_OK);
    assert_int_equal(planted, -1);
    small_close(&small);
}

/* A mutant must explain the whole stage: with one passing row spoilt as well, nothing is reproduced. */
static void test_mutant_must_explain_every_row(void **state)
{
    (void)state;
    struct small_model small;
    struct plan faulty;
    struct fault_request request;
    struct trace run;
    struct diagnosis found[8];
    int32_t planted;
    small_open(&small, "tiny-llama", NULL);
    plan_copy(&faulty, &small.plan);
    assert_int_equal(fault_parse(&request, "kv-stale", NULL), STATUS_OK);
    assert_int_equal(fault_plant(&request, &faulty, &planted, NULL), STATUS_OK);
    record_run(&run, &faulty, &small.golden);
    assert_int_equal(diagnose_step(&small.plan, (uint32_t)planted, &run, found, 8), 1);
    stage_at(&run, 0, STAGE_attn_out)->rows[3 * 64 + 1] += 0.01f;
    uint32_t n = diagnose_step(&small.plan, (uint32_t)planted, &run, found, 8);
    for (uint32_t i = 0; i < n; i++) {
        assert_int_not_equal(found[i].how, HOW_REPRODUCED);
    }
    trace_free(&run);
    plan_free(&faulty);
    small_close(&small);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_planted_faults_are_found_and_named),
        cmocka_unit_test(test_rows_say_where_they_are_found),
        cmocka_unit_test(test_healthy_steps_have_no_diagnosis),
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_parse),
        cmocka_unit_test(test_not_applicable),
        cmocka_unit_test(test_silent),
        cmocka_unit_test(test_mutant_must_explain_every_row),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
