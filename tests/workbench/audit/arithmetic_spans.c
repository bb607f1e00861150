/* What an engine rounds in ops whose stages its dump lacks: it is inferred from what the dump has, and a bug of one per
 * cent under it is still found. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/support/real_engines.h"
#include "tests/support/recording.h"
#include "tests/workbench/audit/compute_step.h"
#include "workbench/session/comparison.h"

/* The stages that a sparse dump holds. */
static const struct dump {
    uint32_t n;
    enum stage stages[3];
} dumps[] = {
    {1, {STAGE_layer_out}},
    {3, {STAGE_layer_out, STAGE_final_norm, STAGE_logits}},
    {2, {STAGE_attn_out, STAGE_layer_out}},
    {3, {STAGE_attn_norm, STAGE_ffn_norm, STAGE_layer_out}},
};
#define N_DUMPS (sizeof(dumps) / sizeof(*dumps))

static bool holds(const struct dump *dump, enum stage stage)
{
    bool any = false;
    for (uint32_t i = 0; i < dump->n; i++) {
        any |= dump->stages[i] == stage;
    }
    return any;
}

/* An engine's trace with a dump's stages alone, and the plan that it is judged by. */
struct sparse {
    struct model model;
    struct plan plan;
    struct comparison comparison;
};

static void sparse_open(struct sparse *sparse, const struct real_engine *engine, const struct dump *dump)
{
    struct trace trace;
    *sparse = (struct sparse){0};
    real_engine_open(engine, &sparse->model, &sparse->plan, &trace);
    for (uint32_t i = trace.n_stages; i-- > 0;) {
        if (!holds(dump, trace.stages[i].stage)) {
            trace_remove_stage(&trace, &trace.stages[i]);
        }
    }
    sparse->comparison.plan = &sparse->plan;
    comparison_add(&sparse->comparison, SOURCE_TRACE, &trace);
}

static void sparse_close(struct sparse *sparse)
{
    comparison_free(&sparse->comparison);
    plan_free(&sparse->plan);
    model_close(&sparse->model);
}

static void sparse_dumps_are_healthy(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_REAL_ENGINES * N_DUMPS; i++) {
        const struct real_engine *engine = &real_engines[i / N_DUMPS];
        struct sparse sparse;
        sparse_open(&sparse, engine, &dumps[i % N_DUMPS]);
        comparison_judge(&sparse.comparison, true, NULL);
        const struct arithmetic *found = &sparse.comparison.arithmetic[0];
        assert_int_equal(sparse.comparison.verdict.conclusion, 0);
        assert_int_equal(found->n > 0, engine->n_classes > 0);
        if (found->n > 0) {
            struct roundings first = found->classes[0].roundings;
            first.to_even = first.unnormalised = false;
            first.tile = 0;
            assert_true(roundings_equal(&first, &engine->first));
        }
        sparse_close(&sparse);
    }
}

/* The twins: judged against a model whose softmax scale is one per cent larger in every layer. */
static void scale_off_in_every_layer_is_found(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_REAL_ENGINES; i++) {
        struct sparse sparse;
        sparse_open(&sparse, &real_engines[i], &dumps[i % N_DUMPS]);
        for (uint32_t s = 0; s < sparse.plan.n_steps; s++) {
            if (sparse.plan.steps[s].op == OP_attention) {
                sparse.plan.steps[s].params.attention.scale *= 1.01f;
            }
        }
        comparison_judge(&sparse.comparison, true, NULL);
        assert_true(sparse.comparison.verdict.diverged);
        sparse_close(&sparse);
    }
}

/* And against one with a matrix that is one per cent larger in one layer: that layer is accused, and no other. */
static void one_matrix_off_is_found(void **state)
{
    (void)state;
    static const enum stage matrices[] = {STAGE_o_proj, STAGE_ffn_gate};
    for (size_t i = 0; i < N_REAL_ENGINES; i++) {
        for (int32_t layer = 0; layer < 4; layer += 2) {
            struct sparse sparse;
            uint8_t *bytes;
            sparse_open(&sparse, &real_engines[i], &dumps[0]);
            /* A norm behind o_proj takes a factor out again. */
            bool hidden = plan_find(&sparse.plan, layer, STAGE_post_attn_norm) >= 0;
            enum stage stage = hidden ? STAGE_ffn_gate : matrices[layer / 2];
            struct step *step = &sparse.plan.steps[plan_find(&sparse.plan, layer, stage)];
            struct tensor matrix = matrix_larger(step->weight[0], &bytes);
            step->weight[0] = &matrix;
            comparison_judge(&sparse.comparison, true, NULL);
            assert_true(sparse.comparison.verdict.diverged);
            assert_int_equal(sparse.comparison.verdict.n_introduced, 1);
            assert_int_equal(sparse.comparison.plan->steps[sparse.comparison.verdict.introduced[0].step].layer, layer);
            sparse_close(&sparse);
            free(bytes);
        }
    }
}

/* Engines whose experts are computed by other kernels than the rest, and dense ones. The twins: judged against a model
 * whose softmax scale, or gate, is one per cent larger in layer 1, which alone is accused. */
static const struct mixed_engine {
    const char *model;
    struct roundings products, experts, attention;
} mixed_engines[] = {
    {"tiny-gpt-oss", {.operands = ROUNDING_F16}, {0}, {0}},
    {"tiny-gpt-oss", {0}, {.operands = ROUNDING_BF16}, {.keys_values = ROUNDING_F16}},
    {"tiny-gpt-oss",
     {.operands = ROUNDING_BF16},
     {.operands = ROUNDING_F16},
     {.queries = ROUNDING_BF16, .keys_values = ROUNDING_BF16, .probs = ROUNDING_BF16}},
    {"tiny-gemma2", {.operands = ROUNDING_F16}, {0}, {.keys_values = ROUNDING_F16}},
    {"tiny-gemma3", {.operands = ROUNDING_F16}, {0}, {0}},
};

/* A run of the reference in an engine's arithmetic; of it, layer_out alone. */
static void mixed_run(const struct small_model *small, const struct mixed_engine *engine, struct trace *trace)
{
    record_run(trace, &small->plan, &small->golden);
    for (uint32_t s = 0; s < small->plan.n_steps; s++) {
        enum op op = small->plan.steps[s].op;
        struct arith arith = arith_float32;
        arith.roundings = op == OP_matmul          ? engine->products
                          : op == OP_expert_matmul ? engine->experts
                          : op == OP_attention     ? engine->attention
                                                   : arith.roundings;
        compute_step(&small->plan, s, trace, &arith);
    }
    for (uint32_t i = trace->n_stages; i-- > 0;) {
        if (trace->stages[i].stage != STAGE_layer_out) {
            trace_remove_stage(trace, &trace->stages[i]);
        }
    }
}

static void classes_round_by_themselves(void **state)
{
    (void)state;
    for (size_t i = 0; i < 2 * sizeof(mixed_engines) / sizeof(*mixed_engines); i++) {
        const struct mixed_engine *engine = &mixed_engines[i / 2];
        bool off = i % 2;
        struct small_model small;
        struct trace trace;
        uint8_t *bytes = NULL;
        struct tensor matrix;
        small_open(&small, engine->model, NULL);
        mixed_run(&small, engine, &trace);
        int32_t gate = plan_find(&small.plan, 1, STAGE_ffn_gate);
        if (off && gate < 0) {
            small.plan.steps[plan_find(&small.plan, 1, STAGE_attn_out)].params.attention.scale *= 1.01f;
        } else if (off) {
            matrix = matrix_larger(small.plan.steps[gate].weight[0], &bytes);
            small.plan.steps[gate].weight[0] = &matrix;
        }
        struct comparison comparison = {.plan = &small.plan};
        comparison_add(&comparison, SOURCE_TRACE, &trace);
        comparison_judge(&comparison, true, NULL);
        const struct verdict *verdict = &comparison.verdict;
        assert_int_equal(verdict->n_introduced, off);
        assert_int_equal(verdict->conclusion, off ? CONCLUSION_DIVERGED : CONCLUSION_PARITY);
        if (off) {
            assert_int_equal(comparison.plan->steps[verdict->introduced[0].step].layer, 1);
        }
        const struct arithmetic *found = &comparison.arithmetic[0];
        for (uint32_t k = 0; k < found->n && !off; k++) {
            const struct arithmetic_class *class = &found->classes[k];
            assert_true(roundings_equal(&class->roundings, class->op == OP_matmul          ? &engine->products
                                                           : class->op == OP_expert_matmul ? &engine->experts
                                                                                           : &engine->attention));
        }
        comparison_free(&comparison);
        small_close(&small);
        free(bytes);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sparse_dumps_are_healthy),
        cmocka_unit_test(scale_off_in_every_layer_is_found),
        cmocka_unit_test(one_matrix_off_is_found),
        cmocka_unit_test(classes_round_by_themselves),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
