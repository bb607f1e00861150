/* A golden of the unquantised model beside a quantised one: no outlier. One of other weights is accused, by the
 * tensor's name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/quantise.h"
#include "tests/support/recording.h"
#include "workbench/session/comparison.h"

/* A small model, quantised, and a run of it: the healthy engine. */
struct pair {
    struct small_model small;
    struct quantised_plan quantised;
    struct comparison comparison;
};

static void pair_open(struct pair *pair, const char *model, uint32_t dtype)
{
    small_open(&pair->small, model, NULL);
    quantised_plan_make(&pair->quantised, &pair->small.plan, dtype);
    pair->comparison = (struct comparison){.plan = &pair->quantised.plan, .golden_differs = true};
}

/* Judges the engine beside the golden, which the comparison takes over. */
static void pair_judge(struct pair *pair, struct trace *golden)
{
    struct trace engine;
    record_run(&engine, &pair->quantised.plan, golden);
    comparison_add(&pair->comparison, SOURCE_ENGINE, &engine);
    comparison_add(&pair->comparison, SOURCE_GOLDEN, golden);
    comparison_judge(&pair->comparison, false, NULL);
}

static void pair_close(struct pair *pair)
{
    comparison_free(&pair->comparison);
    quantised_plan_free(&pair->quantised);
    small_close(&pair->small);
}

static const struct {
    const char *model;
    uint32_t dtype;
    uint32_t n; /* products that are quantised */
} pairs[] = {
    {"tiny-llama", DTYPE_Q4_0, 30},       {"tiny-llama", DTYPE_Q5_0, 30},       {"tiny-llama", DTYPE_Q8_0, 30},
    {"tiny-llama", DTYPE_F16, 30},        {"tiny-gemma2", DTYPE_Q4_0, 30},      {"tiny-gpt-oss", DTYPE_Q8_0, 22},
    {"tiny-gpt-oss-wide", DTYPE_Q4_K, 7}, {"tiny-gpt-oss-wide", DTYPE_Q6_K, 7}, {"tiny-gpt-oss-wide", DTYPE_Q4_0, 8},
};

static void other_precision_is_no_outlier(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        struct pair pair;
        struct trace golden;
        pair_open(&pair, pairs[i].model, pairs[i].dtype);
        trace_copy(&golden, &pair.small.golden); /* by transformers */
        pair_judge(&pair, &golden);
        const struct golden_weights *weights = &pair.comparison.golden_weights;
        print_message("%s in %s: %u products, rms %.3f to %.3f of the rounding's\n", pairs[i].model,
                      dtype_info(pairs[i].dtype)->name, weights->n_rounding, weights->least_rms, weights->most_rms);
        assert_int_equal(weights->kind, GOLDEN_WEIGHTS_PRECISION);
        assert_int_equal(weights->n_accused, 0);
        assert_int_equal(weights->n_rounding, pairs[i].n);
        assert_false(pair.comparison.verdict.diverged);
        assert_int_equal(pair.comparison.verdict.outlier, OUTLIER_NONE);
        pair_close(&pair);
    }
}

/* With the same digest there is no excuse. */
static void same_weights_are_not_excused(void **state)
{
    (void)state;
    struct pair pair;
    struct trace golden;
    pair_open(&pair, "tiny-llama", DTYPE_Q4_0);
    pair.comparison.golden_differs = false;
    trace_copy(&golden, &pair.small.golden);
    pair_judge(&pair, &golden);
    assert_int_equal(pair.comparison.golden_weights.kind, GOLDEN_WEIGHTS_SAME);
    assert_true(pair.comparison.verdict.diverged);
    assert_int_equal(pair.comparison.verdict.outlier, OUTLIER_GOLDEN_OR_WEIGHTS);
    pair_close(&pair);
}

/* A golden made with one tensor changed. */
enum change { TIMES, OTHER_LAYER, ONE_VALUE };

/* The unquantised plan's weight of a step, decoded and changed. The bytes are the caller's. */
static struct tensor changed_tensor(const struct plan *plan, uint32_t step, enum change change)
{
    const struct step *from = &plan->steps[step];
    if (change == OTHER_LAYER) {
        from = &plan->steps[plan_find(plan, from->layer + 1, from->stage)];
    }
    struct tensor tensor = *plan->steps[step].weight[0];
    uint64_t rows = tensor_rows(&tensor), elems = tensor_row_elems(&tensor);
    float *values = xmalloc(rows * elems * sizeof(*values));
    for (uint64_t r = 0; r < rows; r++) {
        weights_decode(from->weight[0], r, 0, elems, values + r * elems);
    }
    for (uint64_t i = 0; change == TIMES && i < rows * elems; i++) {
        values[i] *= 1.1F;
    }
    if (change == ONE_VALUE) {
        values[5] *= 1.001F;
    }
    tensor.dtype = DTYPE_F32;
    tensor.layout = LAYOUT_ROWS;
    tensor.bytes = (const uint8_t *)values;
    tensor.n_bytes = rows * elems * sizeof(*values);
    return tensor;
}

static const struct twin {
    const char *model;
    uint32_t dtype;
    int32_t layer;
    enum stage stage;
    enum change change;
} twins[] = {
    {"tiny-llama", DTYPE_Q4_0, 1, STAGE_o_proj, TIMES},
    {"tiny-llama", DTYPE_Q4_0, 0, STAGE_ffn_gate, OTHER_LAYER},
    {"tiny-llama", DTYPE_Q4_0, 2, STAGE_attn_norm, ONE_VALUE},
    {"tiny-llama", DTYPE_Q4_0, LAYER_NONE, STAGE_final_norm, ONE_VALUE},
    {"tiny-llama", DTYPE_Q8_0, 3, STAGE_k_proj, TIMES},
    {"tiny-llama", DTYPE_Q5_0, 2, STAGE_ffn_down, TIMES},
    {"tiny-gpt-oss-wide", DTYPE_Q4_K, 0, STAGE_q_proj, TIMES},
    {"tiny-gpt-oss-wide", DTYPE_Q6_K, 0, STAGE_ffn_norm, ONE_VALUE},
    {"tiny-gpt-oss-wide", DTYPE_Q6_K, LAYER_NONE, STAGE_embed, TIMES},
    {"tiny-gpt-oss-wide", DTYPE_Q6_K, 0, STAGE_moe_gate_up, TIMES},
};

static void judge_twin(const struct twin *twin)
{
    struct pair pair;
    struct trace golden;
    struct plan plan;
    pair_open(&pair, twin->model, twin->dtype);
    uint32_t step = (uint32_t)plan_find(&pair.small.plan, twin->layer, twin->stage);
    struct tensor changed = changed_tensor(&pair.small.plan, step, twin->change);
    plan_copy(&plan, &pair.small.plan);
    plan.steps[step].weight[0] = &changed;
    record_run(&golden, &plan, &pair.small.golden);
    golden.from_file = true;
    pair_judge(&pair, &golden);
    const struct golden_weights *weights = &pair.comparison.golden_weights;
    const struct verdict *verdict = &pair.comparison.verdict;
    assert_int_equal(weights->kind, GOLDEN_WEIGHTS_OTHER);
    assert_int_equal(weights->n_accused, 1);
    assert_int_equal(weights->accused[0].step, step);
    print_message("%s: %s\n", golden_weights_tensor(&plan.steps[step]), weights->accused[0].why);
    assert_true(verdict->diverged);
    assert_int_equal(verdict->outlier, OUTLIER_GOLDEN_OR_WEIGHTS);
    assert_int_equal(verdict->n_introduced, 1);
    assert_int_equal(verdict->introduced[0].step, step);
    assert_int_equal(verdict->introduced[0].source, SOURCE_GOLDEN);
    plan_free(&plan);
    free((void *)(uintptr_t)changed.bytes);
    pair_close(&pair);
}

static void other_weights_are_accused_by_name(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(twins) / sizeof(twins[0]); i++) {
        judge_twin(&twins[i]);
    }
}

/* An error of the golden that is smaller than the rounding of its weights: only its own weights show it. */
static void own_weights_judge_exactly(void **state)
{
    (void)state;
    for (int own = 0; own <= 1; own++) {
        struct pair pair;
        struct trace golden;
        pair_open(&pair, "tiny-llama", DTYPE_Q4_0);
        trace_copy(&golden, &pair.small.golden);
        struct trace_stage *stage = stage_at(&golden, 3, STAGE_ffn_down);
        stage->rows[4 * stage->width + 7] *= 1.001F;
        stage_at(&golden, 3, STAGE_layer_out)->rows[4 * stage->width + 7] =
            stage_at(&golden, 3, STAGE_attn_resid)->rows[4 * stage->width + 7] + stage->rows[4 * stage->width + 7];
        /* what follows is left out, so that nothing else shows it */
        trace_remove_stage(&golden, stage_at(&golden, LAYER_NONE, STAGE_final_norm));
        if (own) {
            assert_int_equal(comparison_set_golden_plan(&pair.comparison, &pair.small.plan, &golden, NULL), STATUS_OK);
        }
        pair_judge(&pair, &golden);
        const struct verdict *verdict = &pair.comparison.verdict;
        assert_int_equal(pair.comparison.golden_weights.kind, GOLDEN_WEIGHTS_PRECISION);
        assert_int_equal(verdict->diverged, own);
        if (own) {
            assert_int_equal(verdict->introduced[0].source, SOURCE_GOLDEN);
            assert_int_equal(verdict->introduced[0].step, plan_find(&pair.small.plan, 3, STAGE_ffn_down));
            assert_int_equal(verdict->outlier, OUTLIER_GOLDEN_OR_WEIGHTS);
        }
        pair_close(&pair);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(other_precision_is_no_outlier),
        cmocka_unit_test(same_weights_are_not_excused),
        cmocka_unit_test(other_weights_are_accused_by_name),
        cmocka_unit_test(own_weights_judge_exactly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
