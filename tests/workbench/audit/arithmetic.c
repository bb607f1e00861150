/* The arithmetic of real engines is inferred from their traces, and a bug of one per cent under it is still found. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/real_engines.h"
#include "tests/support/recording.h"
#include "tests/workbench/audit/compute_step.h"
#include "workbench/session/comparison.h"

static void engines_are_healthy(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_REAL_ENGINES; i++) {
        struct model model;
        struct plan plan;
        struct trace trace;
        real_engine_open(&real_engines[i], &model, &plan, &trace);
        struct comparison comparison = {.plan = &plan};
        comparison_add(&comparison, SOURCE_TRACE, &trace);
        comparison_judge(&comparison, true, NULL);
        assert_false(comparison.verdict.diverged);
        const struct arithmetic *found = &comparison.arithmetic[0];
        assert_int_equal(found->n, real_engines[i].n_classes);
        if (found->n > 0) {
            struct roundings first = found->classes[0].roundings;
            first.to_even = first.unnormalised = false;
            first.tile = 0;
            assert_true(roundings_equal(&first, &real_engines[i].first));
            assert_int_equal(found->classes[0].n_explained, found->classes[0].n_steps);
        }
        comparison_free(&comparison);
        plan_free(&plan);
        model_close(&model);
    }
}

/* Against a model in which one matrix is larger, that matrix product fails alone. */
static void one_matrix_off_is_found(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_REAL_ENGINES; i++) {
        struct model model;
        struct plan plan, off;
        struct trace trace;
        uint8_t *bytes;
        real_engine_open(&real_engines[i], &model, &plan, &trace);
        plan_copy(&off, &plan);
        struct step *step = &off.steps[plan_find(&off, 2, STAGE_ffn_gate)];
        struct tensor matrix = matrix_larger(step->weight[0], &bytes);
        step->weight[0] = &matrix;
        struct comparison comparison = {.plan = &off};
        comparison_add(&comparison, SOURCE_TRACE, &trace);
        comparison_judge(&comparison, true, NULL);
        assert_true(comparison.verdict.diverged);
        assert_int_equal(comparison.verdict.n_introduced, 1);
        const struct step *first = &comparison.plan->steps[comparison.verdict.introduced[0].step];
        assert_int_equal(first->layer, 2);
        assert_int_equal(first->stage, STAGE_ffn_gate);
        comparison_free(&comparison);
        plan_free(&off);
        plan_free(&plan);
        free(bytes);
        model_close(&model);
    }
}

/* The softmax's scale times 1.01 in every layer is no rounding. */
static void scale_off_in_every_layer_is_found(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_REAL_ENGINES; i++) {
        struct model model;
        struct plan plan, off;
        struct trace trace;
        real_engine_open(&real_engines[i], &model, &plan, &trace);
        plan_copy(&off, &plan);
        for (uint32_t s = 0; s < off.n_steps; s++) {
            if (off.steps[s].op == OP_attention) {
                off.steps[s].params.attention.scale *= 1.01f;
            }
        }
        struct comparison comparison = {.plan = &off};
        comparison_add(&comparison, SOURCE_TRACE, &trace);
        comparison_judge(&comparison, true, NULL);
        assert_true(comparison.verdict.diverged);
        assert_int_equal(comparison.plan->steps[comparison.verdict.introduced[0].step].stage, STAGE_attn_out);
        comparison_free(&comparison);
        plan_free(&off);
        plan_free(&plan);
        model_close(&model);
    }
}

/* llama.cpp's GELU on a CPU is looked up in a table of f16: declared it is parity; undeclared it is a divergence of
 * kind precision, named in every layer; a gate that is one per cent larger is none of both. */
static void table_of_an_activation_is_named(void **state)
{
    (void)state;
    for (int how = 0; how < 3; how++) { /* undeclared, declared, declared beside a bug */
        struct model model;
        struct plan plan;
        struct trace trace;
        real_engine_open(&real_engines[4], &model, &plan, &trace);
        for (uint32_t k = 0; k < trace.n_stages; k++) {
            trace.stages[k].arith.roundings.activation = how > 0 ? ROUNDING_F16 : ROUNDING_NONE;
        }
        struct trace_stage *act = trace_find(&trace, 1, STAGE_ffn_act);
        for (uint64_t i = 0; how == 2 && i < (uint64_t)act->width * trace.n_positions; i++) {
            act->rows[i] *= 1.01f;
        }
        struct comparison comparison = {.plan = &plan};
        comparison_add(&comparison, SOURCE_TRACE, &trace);
        comparison_judge(&comparison, true, NULL);
        assert_int_equal(comparison.verdict.diverged, how != 1);
        if (how == 0) {
            assert_int_equal(comparison.verdict.n_introduced, plan.n_layers);
            assert_int_equal(comparison.diagnoses[0].kind, KIND_PRECISION);
            assert_string_equal(comparison.diagnoses[0].fault, "activation-f16");
        } else if (how == 2) {
            const struct step *first = &plan.steps[verdict_first(&comparison.verdict)->step];
            assert_int_equal(first->layer, 1);
            assert_int_equal(first->stage, STAGE_ffn_act);
        }
        comparison_free(&comparison);
        plan_free(&plan);
        model_close(&model);
    }
}

/* What a file declares is taken. Where it declares too much, the run is as healthy: it computed with more. */
static void declared_arithmetic_is_taken(void **state)
{
    (void)state;
    static const struct roundings declared[] = {
        {.queries = ROUNDING_F16, .keys_values = ROUNDING_F16, .probs = ROUNDING_F16},
        {.keys_values = ROUNDING_F16},
        {.operands = ROUNDING_F16},
        {.operands = ROUNDING_Q8_1}, /* the matrices have no blocks */
        {.operands = ROUNDING_Q8_K}, /* nor are rows multiples of 256 */
        {.keys_values = ROUNDING_BF16},
        {.keys_values = ROUNDING_Q8_0},
    };
    for (size_t i = 0; i < sizeof(declared) / sizeof(*declared); i++) {
        for (int wrong = 0; wrong < 2; wrong++) {
            struct model model;
            struct plan plan;
            struct trace trace;
            real_engine_open(&real_engines[0], &model, &plan, &trace);
            trace.arith.roundings = declared[i];
            for (uint32_t k = 0; k < trace.n_stages; k++) {
                trace.stages[k].arith.roundings = declared[i];
            }
            trace_find(&trace, 2, STAGE_attn_out)->rows[3] *= wrong ? 1.01f : 1;
            struct comparison comparison = {.plan = &plan};
            comparison_add(&comparison, SOURCE_TRACE, &trace);
            comparison_judge(&comparison, true, NULL);
            assert_int_equal(comparison.verdict.n_introduced, wrong ? 2 : 0); /* o_proj was made of the right rows */
            if (wrong) {
                const struct step *first = &comparison.plan->steps[comparison.verdict.introduced[0].step];
                assert_int_equal(first->layer, 2);
                assert_int_equal(first->stage, STAGE_attn_out);
            }
            comparison_free(&comparison);
            plan_free(&plan);
            model_close(&model);
        }
    }
}

/* Rope's cos and sin rounded to bf16 in every layer, and, where `wrong`, a bug in layer 2: the file declares nothing.
 * The bug is the first divergence, although precision fails before it; without the bug, precision is. */
static void precision_comes_behind_bugs(void **state)
{
    (void)state;
    for (int wrong = 0; wrong < 2; wrong++) {
        struct model model;
        struct plan plan;
        struct trace trace;
        real_engine_open(&real_engines[0], &model, &plan, &trace);
        struct arith tables = arith_float32;
        tables.roundings.tables = ROUNDING_BF16;
        for (uint32_t s = 0; s < plan.n_steps; s++) {
            struct trace_stage *stage = trace_find_step(&trace, &plan.steps[s]);
            bool bug = wrong && plan.steps[s].layer == 2 && plan.steps[s].stage == STAGE_ffn_up;
            compute_step(&plan, s, &trace, &tables);
            for (uint32_t i = 0; i < stage->width * trace.n_positions && bug; i++) {
                stage->rows[i] *= 2;
            }
        }
        struct comparison comparison = {.plan = &plan};
        comparison_add(&comparison, SOURCE_TRACE, &trace);
        comparison_judge(&comparison, true, NULL);
        assert_true(comparison.verdict.n_introduced > 2);
        const struct step *first = &comparison.plan->steps[verdict_first(&comparison.verdict)->step];
        assert_int_equal(first->layer, wrong ? 2 : 0);
        assert_int_equal(first->stage, wrong ? STAGE_ffn_up : STAGE_q_rope);
        assert_true(comparison.n_diagnoses > 0);
        assert_int_equal(comparison.diagnoses[0].kind, wrong ? KIND_CONSTANT_MULTIPLE : KIND_PRECISION);
        comparison_free(&comparison);
        plan_free(&plan);
        model_close(&model);
    }
}

/* A model that is loaded in bf16 has its weights rounded, and the scale of Gemma's embedding. A file that does not say
 * so is no divergence; a value that is one per cent off is. */
static void load_in_bf16_is_inferred(void **state)
{
    (void)state;
    static const struct real_engine engine = {.model = "tiny-gemma3", .trace = "transformers-bfloat16"};
    for (int wrong = 0; wrong < 2; wrong++) {
        struct model model;
        struct plan plan;
        struct trace trace;
        real_engine_open(&engine, &model, &plan, &trace);
        trace_find(&trace, LAYER_NONE, STAGE_embed)->rows[3] *= wrong ? 1.015625f : 1;
        struct comparison comparison = {.plan = &plan};
        comparison_add(&comparison, SOURCE_TRACE, &trace);
        comparison_judge(&comparison, true, NULL);
        assert_int_equal(comparison.verdict.diverged, wrong);
        if (!wrong) {
            assert_true(comparison.storage[0] && comparison.traces[0].arith.u_storage == 0x1p-8);
            assert_int_equal(comparison.traces[0].weights_dtype, DTYPE_BF16);
        }
        comparison_free(&comparison);
        plan_free(&plan);
        model_close(&model);
    }
}

/* Rounds the rows of some phases, as an engine that stores them in f16. */
static void store_phases(const struct trace *trace, struct trace_stage *stage, unsigned phases)
{
    for (uint32_t p = 0; p < trace->n_positions; p++) {
        if (stage->recorded[p] && phases & 1u << trace->phase[p]) {
            round_values(ROUNDING_F16, stage->rows + (uint64_t)p * stage->width, stage->width);
        }
    }
}

/* Makes a trace whose rows of some phases are stored in f16; wide: but for the residual and the logits, which stay in
 * float32. wrong: layer 1 o_proj is off by one per cent. */
static void run_storing(const struct plan *plan, struct trace *trace, unsigned phases, bool wide, bool wrong)
{
    for (uint32_t s = 0; s < plan->n_steps; s++) {
        compute_step(plan, s, trace, &arith_float32);
        struct trace_stage *stage = trace_find_step(trace, &plan->steps[s]);
        uint64_t n = (uint64_t)trace->n_positions * stage->width;
        bool bug = wrong && plan->steps[s].layer == 1 && plan->steps[s].stage == STAGE_o_proj;
        for (uint64_t i = 0; i < n && bug; i++) {
            stage->rows[i] *= 1.01f;
        }
        bool is_wide = plan->steps[s].op == OP_add || plan->steps[s].layer == LAYER_NONE;
        store_phases(trace, stage, wide && is_wide ? 0 : phases);
    }
}

/* Stages are stored in f16, all or most, of both phases or of one, which the file does not say, and a bug of one per
 * cent is in layer 1. */
static void a_bug_under_undeclared_storage_is_found(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 12; i++) {
        unsigned phases = i % 6 / 2 + 1;
        bool wrong = i % 2;
        struct model model;
        struct plan plan;
        struct trace trace;
        real_engine_open(&real_engines[0], &model, &plan, &trace);
        run_storing(&plan, &trace, phases, i >= 6, wrong);
        struct comparison comparison = {.plan = &plan};
        comparison_add(&comparison, SOURCE_TRACE, &trace);
        comparison_judge(&comparison, true, NULL);
        assert_true(comparison.storage[0]);
        for (unsigned phase = PHASE_PREFILL; phase <= PHASE_DECODE; phase++) {
            double stored = trace_declared(&comparison.traces[0], phase)->u_storage;
            assert_true(stored == (phases & 1u << phase ? 0x1p-11 : 0x1p-24));
        }
        assert_int_equal(comparison.verdict.n_introduced, wrong);
        if (wrong) {
            const struct step *first = &comparison.plan->steps[verdict_first(&comparison.verdict)->step];
            assert_int_equal(first->layer, 1);
            assert_int_equal(first->stage, STAGE_o_proj);
        }
        comparison_free(&comparison);
        plan_free(&plan);
        model_close(&model);
    }
}

/* Runs with an 8-bit KV cache, and keeps attn_out and layer_out alone, with the cache declared. */
static void run_with_cache(const struct plan *plan, struct trace *trace)
{
    struct arith cache = arith_float32;
    cache.roundings.keys_values = ROUNDING_Q8_0;
    for (uint32_t s = 0; s < plan->n_steps; s++) {
        compute_step(plan, s, trace, plan->steps[s].op == OP_attention ? &cache : &arith_float32);
    }
    for (uint32_t i = trace->n_stages; i-- > 0;) {
        struct trace_stage *stage = &trace->stages[i];
        if (stage->stage == STAGE_attn_out) {
            stage->arith.roundings = cache.roundings;
        } else if (stage->stage != STAGE_layer_out) {
            trace_remove_stage(trace, stage);
        }
    }
}

/* Keys and values that are not recorded are known up to the float32 error of their products; few of them may round to
 * another integer of a block for that. So one per cent of the scale shows. */
static void a_scale_under_an_8_bit_cache_is_found(void **state)
{
    (void)state;
    for (int wrong = 0; wrong < 2; wrong++) {
        struct model model;
        struct plan plan, run;
        struct trace trace;
        real_engine_open(&real_engines[0], &model, &plan, &trace);
        plan_copy(&run, &plan);
        for (uint32_t s = 0; s < run.n_steps && wrong; s++) {
            if (run.steps[s].op == OP_attention) {
                run.steps[s].params.attention.scale *= 1.01f;
            }
        }
        run_with_cache(&run, &trace);
        struct comparison comparison = {.plan = &plan};
        comparison_add(&comparison, SOURCE_TRACE, &trace);
        comparison_judge(&comparison, true, NULL);
        assert_int_equal(comparison.verdict.of[0], wrong ? CONCLUSION_DIVERGED : CONCLUSION_PARITY);
        comparison_free(&comparison);
        plan_free(&run);
        plan_free(&plan);
        model_close(&model);
    }
}

/* Every layer's softmax scale is off by a factor: a round one is solved for, another is not. */
static void a_multiple_of_the_scale_is_named(void **state)
{
    (void)state;
    static const struct {
        float factor;
        bool named;
    } cases[] = {{1.01f, true}, {1.25f, true}, {1.0123457f, false}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct model model;
        struct plan plan, off;
        struct trace trace;
        real_engine_open(&real_engines[0], &model, &plan, &trace);
        plan_copy(&off, &plan);
        for (uint32_t s = 0; s < off.n_steps; s++) {
            if (off.steps[s].op == OP_attention) {
                off.steps[s].params.attention.scale *= cases[i].factor;
            }
            compute_step(&off, s, &trace, &arith_float32);
        }
        struct comparison comparison = {.plan = &plan};
        comparison_add(&comparison, SOURCE_TRACE, &trace);
        comparison_judge(&comparison, true, NULL);
        assert_true(comparison.verdict.diverged);
        assert_int_equal(comparison.plan->steps[verdict_first(&comparison.verdict)->step].stage, STAGE_attn_out);
        bool named = comparison.n_diagnoses > 0 && comparison.diagnoses[0].how == HOW_REPRODUCED;
        assert_int_equal(named, cases[i].named);
        if (named) {
            assert_string_equal(comparison.diagnoses[0].fault, "wrong-attention-scale");
            assert_int_equal(comparison.diagnoses[0].kind, KIND_PARAMETER);
        }
        comparison_free(&comparison);
        plan_free(&off);
        plan_free(&plan);
        model_close(&model);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_scale_under_an_8_bit_cache_is_found),
        cmocka_unit_test(engines_are_healthy),
        cmocka_unit_test(one_matrix_off_is_found),
        cmocka_unit_test(scale_off_in_every_layer_is_found),
        cmocka_unit_test(table_of_an_activation_is_named),
        cmocka_unit_test(declared_arithmetic_is_taken),
        cmocka_unit_test(load_in_bf16_is_inferred),
        cmocka_unit_test(precision_comes_behind_bugs),
        cmocka_unit_test(a_bug_under_undeclared_storage_is_found),
        cmocka_unit_test(a_multiple_of_the_scale_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
