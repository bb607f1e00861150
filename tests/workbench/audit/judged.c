/* Stages that are judged but never run: the probabilities of attention, and those that a token is drawn from. Each is
 * computed from a golden by the formula and passes. Then it is spoilt as engines spoil it; each spoilt value must be
 * found at its place. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/recording.h"
#include "tests/support/scratch.h"
#include "workbench/session/comparison.h"
#include "workbench/session/session.h"
#include "workbench/trace/sample.h"

#define ROW 11 /* a decoded position */

static const struct sampling greedy = {0}, sampled = {0.7f, 20, 0.9f, 5}, only_k = {1.5f, 3, 0, 5};

/* Adds sample_probs and sample_token of the last 6 positions. */
static void add_samples(const struct small_model *small, struct trace *trace, const struct sampling *sampling)
{
    struct sampler sampler;
    uint32_t vocab = small->model.config.vocab;
    float *probs = xcalloc(vocab, sizeof(*probs));
    trace->sampling = *sampling;
    trace_add(trace, LAYER_NONE, STAGE_sample_probs, vocab);
    trace_add(trace, LAYER_NONE, STAGE_sample_token, 1);
    sampler_init(&sampler, sampling, vocab, config_masked_id(&small->model.config));
    for (uint32_t p = trace->n_positions - 6; p < trace->n_positions; p++) {
        const float *logits = trace_row(stage_at(trace, LAYER_NONE, STAGE_logits_final), p);
        float token = (float)sampler_choose(&sampler, logits, probs);
        trace_set_row(trace, stage_at(trace, LAYER_NONE, STAGE_sample_probs), p, probs);
        trace_set_row(trace, stage_at(trace, LAYER_NONE, STAGE_sample_token), p, &token);
    }
    sampler_free(&sampler);
    free(probs);
}

static struct judged judged_of(const struct small_model *small)
{
    return (struct judged){true, true, small->golden.n_positions, config_masked_id(&small->model.config)};
}

/* Adds attn_probs of every layer, computed from the trace's own queries and keys. */
static void add_attn_probs(const struct small_model *small, struct trace *trace)
{
    struct plan plan;
    const struct judged judged = judged_of(small);
    plan_copy_judged(&plan, &small->plan, &judged);
    for (uint32_t s = 0; s < plan.n_steps; s++) {
        const struct step *step = &plan.steps[s];
        if (step->op != OP_attention_probs) {
            continue;
        }
        double *y = xcalloc(step->width, sizeof(*y));
        float *row = xcalloc(step->width, sizeof(*row));
        struct trace_stage *stage = trace_add(trace, step->layer, step->stage, step->width);
        for (uint32_t p = 0; p < trace->n_positions; p++) {
            struct op_row one = {.arith = &trace->arith,
                                 .in = {trace_row(stage_at(trace, step->layer, STAGE_q_rope), p),
                                        trace_row(stage_at(trace, step->layer, STAGE_k_rope), 0)},
                                 .position = p};
            op_run(&(struct op_batch){.step = step, .n_rows = 1, .rows = &one, .y = y});
            for (uint32_t i = 0; i < step->width; i++) {
                row[i] = (float)y[i];
            }
            trace_set_row(trace, stage, p, row);
        }
        free(row);
        free(y);
    }
    plan_free(&plan);
}

static void open_with_both(struct small_model *small, const char *name, const struct sampling *sampling)
{
    small_open(small, name, NULL);
    add_samples(small, &small->golden, sampling);
    add_attn_probs(small, &small->golden);
}

/* Judges a stage of a copy of the golden: how many positions fail, and with which ratio. */
static struct finding judge_trace(const struct small_model *small, int32_t layer, enum stage stage)
{
    struct plan plan;
    const struct judged judged = judged_of(small);
    plan_copy_judged(&plan, &small->plan, &judged);
    struct finding finding = audit_step(&plan, (uint32_t)plan_find(&plan, layer, stage), &small->golden);
    plan_free(&plan);
    return finding;
}

static float *value_at(const struct small_model *small, int32_t layer, enum stage stage, uint32_t p, uint64_t i)
{
    struct trace_stage *at = stage_at(&small->golden, layer, stage);
    assert_true(i < at->width);
    return &at->rows[(uint64_t)p * at->width + i];
}

static uint32_t id_at(const struct small_model *small, uint32_t p)
{
    return (uint32_t)*value_at(small, LAYER_NONE, STAGE_sample_token, p, 0);
}

/* An id that is not the chosen one, and has a probability above 0 (kept) or of 0. */
static uint32_t another(const struct small_model *small, uint32_t p, bool kept)
{
    uint32_t n = small->model.config.vocab;
    for (uint32_t i = 1; i < n; i++) { /* 0 is the padding */
        if (i != id_at(small, p) && (*value_at(small, LAYER_NONE, STAGE_sample_probs, p, i) > 0) == kept) {
            return i;
        }
    }
    fail();
    return 0;
}

/* Probabilities made by the formula pass, in every family: softcaps, windows, sinks, grouped heads. */
static void test_healthy(void **state)
{
    static const char *const names[] = {"tiny-llama", "tiny-gemma2-odd", "tiny-gemma3", "tiny-gpt-oss-odd"};
    static const struct sampling *const samplings[] = {&greedy, &sampled, &only_k};
    (void)state;
    for (size_t m = 0; m < 4; m++) {
        for (size_t k = 0; k < 3; k++) {
            struct small_model small;
            open_with_both(&small, names[m], samplings[k]);
            for (uint32_t layer = 0; layer < small.plan.n_layers; layer++) {
                struct finding finding = judge_trace(&small, (int32_t)layer, STAGE_attn_probs);
                assert_int_equal(finding.rows_judged, small.golden.n_positions);
                assert_true(finding.max_ratio > 0 && finding.max_ratio < 0.5);
            }
            struct finding probs = judge_trace(&small, LAYER_NONE, STAGE_sample_probs);
            struct finding token = judge_trace(&small, LAYER_NONE, STAGE_sample_token);
            assert_int_equal(probs.rows_judged, 6);
            assert_true(probs.max_ratio < 0.5);
            assert_int_equal(token.rows_judged, 6);
            assert_int_equal(token.rows_failed, 0);
            small_close(&small);
        }
    }
}

/* One probability times 1.0001 is found; times 1 + 2^-23 is rounding. */
static void test_wrong_probability(void **state)
{
    static const struct sampling *const samplings[] = {&greedy, &sampled, &only_k};
    (void)state;
    for (size_t k = 0; k < 3; k++) {
        struct small_model small;
        open_with_both(&small, "tiny-gemma3", samplings[k]);
        float *p = value_at(&small, LAYER_NONE, STAGE_sample_probs, ROW, id_at(&small, ROW));
        *p *= 1 + 0x1p-23f;
        assert_int_equal(judge_trace(&small, LAYER_NONE, STAGE_sample_probs).rows_failed, 0);
        *p *= 1.0001f;
        struct finding finding = judge_trace(&small, LAYER_NONE, STAGE_sample_probs);
        assert_int_equal(finding.rows_failed, 1);
        assert_int_equal(finding.position, ROW);
        assert_int_equal(finding.dim, id_at(&small, ROW));
        assert_true(finding.max_ratio > 3);
        small_close(&small);
    }
}

/* A greedy choice is one of the largest logits; a sampled choice is any id that is kept. Neither is ever the padding,
 * whose logit is the largest here. */
static void test_wrong_token(void **state)
{
    (void)state;
    struct small_model small;
    open_with_both(&small, "tiny-gemma3", &greedy);
    float *token = value_at(&small, LAYER_NONE, STAGE_sample_token, ROW, 0);
    uint32_t best = id_at(&small, ROW), other = another(&small, ROW, true);
    *token = (float)other;
    assert_int_equal(judge_trace(&small, LAYER_NONE, STAGE_sample_token).rows_failed, 1);
    *value_at(&small, LAYER_NONE, STAGE_logits_final, ROW, other) =
        *value_at(&small, LAYER_NONE, STAGE_logits_final, ROW, best);
    assert_int_equal(judge_trace(&small, LAYER_NONE, STAGE_sample_token).rows_failed, 0);
    *value_at(&small, LAYER_NONE, STAGE_logits_final, ROW, 0) = 1e3f;
    assert_int_equal(judge_trace(&small, LAYER_NONE, STAGE_sample_token).rows_failed, 0);
    static const float wrong[] = {0, -1, 1e9f, 3.5f, NAN};
    for (size_t i = 0; i < 5; i++) {
        *token = wrong[i];
        assert_int_equal(judge_trace(&small, LAYER_NONE, STAGE_sample_token).rows_failed, 1);
    }
    small_close(&small);

    open_with_both(&small, "tiny-gemma3", &only_k);
    token = value_at(&small, LAYER_NONE, STAGE_sample_token, ROW, 0);
    uint32_t kept = another(&small, ROW, true), dropped = another(&small, ROW, false);
    for (int recorded = 1; recorded >= 0; recorded--) { /* the ids that are kept, as recorded or as the logits say */
        *token = (float)kept;
        assert_int_equal(judge_trace(&small, LAYER_NONE, STAGE_sample_token).rows_failed, 0);
        *token = (float)dropped;
        assert_int_equal(judge_trace(&small, LAYER_NONE, STAGE_sample_token).rows_failed, 1);
        *token = 0;
        assert_int_equal(judge_trace(&small, LAYER_NONE, STAGE_sample_token).rows_failed, 1);
        struct trace_stage *probs = stage_at(&small.golden, LAYER_NONE, STAGE_sample_probs);
        memset(probs->recorded, 0, small.golden.n_positions);
        probs->n_recorded = 0;
    }
    small_close(&small);
}

/* Padding with a probability above 0, one id too many or too few, and another temperature, top-k or top-p than declared
 * are found. */
static void test_wrong_masks(void **state)
{
    static const struct sampling others[] = {
        {0.71f, 20, 0.9f, 5}, {0.7f, 19, 1, 5}, {0.7f, 20, 0.5f, 5}, {0, 0, 0, 0}, {0.7f, 0, 0, 5}};
    (void)state;
    struct small_model small;
    open_with_both(&small, "tiny-gemma3", &greedy);
    *value_at(&small, LAYER_NONE, STAGE_sample_probs, ROW, 0) = 1e-6f;
    struct finding finding = judge_trace(&small, LAYER_NONE, STAGE_sample_probs);
    assert_int_equal(finding.rows_failed, 1);
    assert_int_equal(finding.dim, 0);
    small_close(&small);

    open_with_both(&small, "tiny-gemma3", &only_k);
    *value_at(&small, LAYER_NONE, STAGE_sample_probs, ROW, another(&small, ROW, true)) = 0;
    assert_int_equal(judge_trace(&small, LAYER_NONE, STAGE_sample_probs).rows_failed, 1);
    small_close(&small);
    open_with_both(&small, "tiny-gemma3", &only_k);
    *value_at(&small, LAYER_NONE, STAGE_sample_probs, ROW, another(&small, ROW, false)) = 1e-6f;
    assert_int_equal(judge_trace(&small, LAYER_NONE, STAGE_sample_probs).rows_failed, 1);
    small_close(&small);

    for (size_t i = 0; i < sizeof(others) / sizeof(*others); i++) {
        open_with_both(&small, "tiny-llama", &(struct sampling){0.7f, 20, 1, 5});
        assert_int_equal(judge_trace(&small, LAYER_NONE, STAGE_sample_probs).rows_failed, 0);
        small.golden.sampling = others[i];
        assert_true(judge_trace(&small, LAYER_NONE, STAGE_sample_probs).rows_failed > 0);
        small_close(&small);
    }
}

/* Where equal logits stand at top-k's limit, any of them may be kept, not only the lower id. */
static void test_equals_at_the_cut(void **state)
{
    (void)state;
    struct small_model small;
    open_with_both(&small, "tiny-llama", &(struct sampling){1, 1, 0, 5});
    uint32_t best = id_at(&small, ROW), tie = another(&small, ROW, false);
    *value_at(&small, LAYER_NONE, STAGE_logits_final, ROW, tie) =
        *value_at(&small, LAYER_NONE, STAGE_logits_final, ROW, best);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(judge_trace(&small, LAYER_NONE, STAGE_sample_probs).rows_failed, 0);
        *value_at(&small, LAYER_NONE, STAGE_sample_probs, ROW, best) = 0;
        *value_at(&small, LAYER_NONE, STAGE_sample_probs, ROW, tie) = 1;
    }
    *value_at(&small, LAYER_NONE, STAGE_sample_probs, ROW, best) = 1; /* both */
    assert_int_equal(judge_trace(&small, LAYER_NONE, STAGE_sample_probs).rows_failed, 1);
    small_close(&small);
}

/* Two keys' probabilities exchanged, a masked key or a later key with a probability above 0, and a head whose sum is
 * not 1 are found. */
static void test_wrong_attn_probs(void **state)
{
    static const char *const names[] = {"tiny-llama", "tiny-gemma2-odd", "tiny-gemma3-odd", "tiny-gpt-oss-odd"};
    (void)state;
    for (size_t m = 0; m < 4; m++) {
        for (int how = 0; how < 4; how++) {
            struct small_model small;
            open_with_both(&small, names[m], &greedy);
            uint32_t head = small.golden.n_positions; /* of head 1 */
            float *row = value_at(&small, 0, STAGE_attn_probs, ROW, head), first = row[ROW];
            if (how == 0) {
                row[ROW] = row[ROW - 1], row[ROW - 1] = first;
            } else if (how == 1 && m > 0) {
                row[0] = 1e-30f; /* behind the window */
            } else if (how == 2) {
                row[ROW + 1] = 1e-30f;
            } else {
                row[ROW] *= 1.0001f;
            }
            struct finding finding = judge_trace(&small, 0, STAGE_attn_probs);
            assert_int_equal(finding.rows_failed, 1);
            assert_int_equal(finding.position, ROW);
            assert_true(finding.dim >= head && finding.dim < 2 * head);
            small_close(&small);
        }
    }
}

/* A known bug of the probabilities is named at the probabilities, where they are recorded. The twin: right ones get no
 * name. */
static void test_probs_are_named(void **state)
{
    static const struct {
        const char *model, *fault;
    } bugs[] = {
        {"tiny-gemma2-odd", "query-scale"},
        {"tiny-gemma2-odd", "attn-softcap-missing"},
        {"tiny-gemma2-odd", "window-off-by-one"},
        {"tiny-gemma2-odd", "mask-off-by-one"},
        {"tiny-llama", "kv-heads-in-turn"},
        {"tiny-llama-odd", "softmax-sizes-swapped"},
        {"tiny-llama-odd", "kv-stale"},
        {"tiny-gpt-oss-odd", "sinks-missing"},
        {"tiny-gpt-oss-odd", NULL},
    };
    (void)state;
    for (size_t b = 0; b < sizeof(bugs) / sizeof(*bugs); b++) {
        struct small_model small;
        struct plan plan;
        struct diagnosis found[4];
        open_with_both(&small, bugs[b].model, &greedy);
        const struct judged judged = judged_of(&small);
        plan_copy_judged(&plan, &small.plan, &judged);
        struct trace *golden = &small.golden;
        uint32_t s = (uint32_t)plan_find(&plan, 0, STAGE_attn_probs);
        struct step step = plan.steps[s];
        struct arena arena = {0};
        if (bugs[b].fault) {
            step = fault_mutant(fault_by_name(bugs[b].fault), &plan, s, &arena);
        }
        struct trace_stage *probs = stage_at(golden, 0, STAGE_attn_probs);
        double *y = xcalloc(step.width, sizeof(*y));
        for (uint32_t p = 0; p < golden->n_positions; p++) {
            bool decode = golden->phase[p] == PHASE_DECODE;
            bool has_next = p + 1 < golden->n_positions && golden->phase[p + 1] == PHASE_PREFILL;
            struct op_row one = {.arith = &golden->arith,
                                 .in = {trace_row(stage_at(golden, 0, STAGE_q_rope), p),
                                        trace_row(stage_at(golden, 0, STAGE_k_rope), 0)},
                                 .position = p,
                                 .decode = decode,
                                 .has_next = has_next};
            op_run(&(struct op_batch){.step = &step, .n_rows = 1, .rows = &one, .y = y});
            for (uint32_t i = 0; i < step.width; i++) {
                probs->rows[(uint64_t)p * step.width + i] = (float)y[i];
            }
        }
        uint32_t n = diagnose_step(&plan, s, golden, found, 4);
        assert_true(bugs[b].fault ? n > 0 : n == 0);
        if (bugs[b].fault) {
            assert_string_equal(found[0].fault, bugs[b].fault);
        }
        free(y);
        arena_free(&arena);
        plan_free(&plan);
        small_close(&small);
    }
}

/* Two keys' probabilities are exchanged, and the output is computed from them: the probabilities introduce the error,
 * the output inherits it. An output of the right probabilities then does not follow from the recorded ones. */
static void test_attn_out_follows_its_probabilities(void **state)
{
    (void)state;
    for (int made_of_them = 0; made_of_them < 2; made_of_them++) {
        struct small_model small;
        open_with_both(&small, "tiny-gemma3", &greedy);
        const struct config *config = &small.model.config;
        uint32_t n = small.golden.n_positions, dim = config->head_dim;
        for (uint32_t h = 0; h < config->n_heads; h++) {
            float *p = value_at(&small, 0, STAGE_attn_probs, ROW, (uint64_t)h * n), last = p[ROW];
            p[ROW] = p[ROW - 1];
            p[ROW - 1] = last;
            uint32_t kv = h / (config->n_heads / config->n_kv_heads);
            for (uint32_t i = 0; i < dim && made_of_them; i++) {
                double y = 0;
                for (uint32_t j = 0; j <= ROW; j++) {
                    y += (double)p[j] * *value_at(&small, 0, STAGE_v_proj, j, (uint64_t)kv * dim + i);
                }
                *value_at(&small, 0, STAGE_attn_out, ROW, (uint64_t)h * dim + i) = (float)y;
            }
        }
        assert_int_equal(judge_trace(&small, 0, STAGE_attn_probs).rows_failed, 1);
        assert_int_equal(judge_trace(&small, 0, STAGE_attn_out).rows_failed, made_of_them ? 0 : 1);
        small_close(&small);
    }
}

/* A file holds only probabilities, values and output of a layer: the output is judged from these, and a factor
 * of 1.0001 is still found. */
static void test_attn_out_of_probabilities_alone(void **state)
{
    (void)state;
    struct small_model small;
    open_with_both(&small, "tiny-gpt-oss-odd", &greedy);
    for (uint32_t i = 0; i < small.golden.n_stages; i++) {
        struct trace_stage *stage = &small.golden.stages[i];
        bool kept = stage->stage == STAGE_attn_probs || stage->stage == STAGE_v_proj || stage->stage == STAGE_attn_out;
        if (kept && stage->layer == 1) {
            continue;
        }
        memset(stage->recorded, 0, small.golden.n_positions);
        stage->n_recorded = 0;
    }
    assert_int_equal(judge_trace(&small, 1, STAGE_attn_probs).state, FINDING_UNAUDITED);
    struct finding finding = judge_trace(&small, 1, STAGE_attn_out);
    assert_int_equal(finding.rows_judged, small.golden.n_positions);
    assert_int_equal(finding.rows_failed, 0);
    for (uint32_t i = 0; i < stage_at(&small.golden, 1, STAGE_attn_out)->width; i++) {
        *value_at(&small, 1, STAGE_attn_out, ROW, i) *= 1.0001f;
    }
    assert_int_equal(judge_trace(&small, 1, STAGE_attn_out).rows_failed, 1);
    small_close(&small);
}

/* Logits that are not recorded are computed, and their error bound is passed on. */
static void test_samples_over_a_span(void **state)
{
    static const struct sampling *const samplings[] = {&greedy, &sampled, &only_k};
    (void)state;
    for (size_t k = 0; k < 3; k++) {
        struct small_model small;
        open_with_both(&small, "tiny-gemma2-odd", samplings[k]);
        memset(stage_at(&small.golden, LAYER_NONE, STAGE_logits_final)->recorded, 0, small.golden.n_positions);
        memset(stage_at(&small.golden, LAYER_NONE, STAGE_logits)->recorded, 0, small.golden.n_positions);
        struct finding finding = judge_trace(&small, LAYER_NONE, STAGE_sample_probs);
        assert_int_equal(finding.rows_judged, 6);
        assert_true(finding.max_ratio > 0 && finding.max_ratio < 0.5);
        assert_int_equal(judge_trace(&small, LAYER_NONE, STAGE_sample_token).rows_failed, 0);
        *value_at(&small, LAYER_NONE, STAGE_sample_probs, ROW, id_at(&small, ROW)) *= 1.001f;
        assert_int_equal(judge_trace(&small, LAYER_NONE, STAGE_sample_probs).rows_failed, 1);
        *value_at(&small, LAYER_NONE, STAGE_sample_token, ROW, 0) = 0;
        assert_int_equal(judge_trace(&small, LAYER_NONE, STAGE_sample_token).rows_failed, 1);
        small_close(&small);
    }
}

/* Through a file and the whole comparison: the stages are written, read and counted, and an error is named. A file
 * without the optional stages counts as complete. */
static void test_comparison(void **state)
{
    (void)state;
    for (int wrong = 0; wrong < 2; wrong++) {
        struct small_model small;
        struct trace golden, trace;
        struct comparison comparison = {.plan = &small.plan};
        char folder[256], path[512];
        struct error err = {0};
        scratch_make(folder);
        open_with_both(&small, "tiny-gemma3", &sampled);
        trace_copy(&golden, &small.golden);
        golden.sampling = small.golden.sampling;
        if (wrong) {
            *value_at(&small, LAYER_NONE, STAGE_sample_token, ROW, 0) = 0;
        }
        assert_int_equal(trace_write(&small.golden, scratch_path(path, folder, "t.h5"), &err), STATUS_OK);
        assert_int_equal(trace_read(&trace, path, &err), STATUS_OK);
        assert_int_equal(trace_check_plan(&trace, &small.plan, &err), STATUS_OK);
        assert_true(memcmp(&trace.sampling, &sampled, sizeof(sampled)) == 0);
        assert_int_equal(stage_at(&trace, LAYER_NONE, STAGE_sample_token)->n_recorded, 6);
        for (int layer = 0; layer < 6; layer++) {
            struct trace_stage *probs = stage_at(&golden, layer, STAGE_attn_probs);
            memset(probs->recorded, 0, golden.n_positions);
            probs->n_recorded = 0;
        }
        comparison_add(&comparison, SOURCE_TRACE, &trace);
        comparison_add(&comparison, SOURCE_GOLDEN, &golden);
        comparison_judge(&comparison, true, NULL);
        const struct verdict *verdict = &comparison.verdict;
        assert_int_equal(verdict->expected, 118 + 6 + 2);
        assert_int_equal(verdict->compared, 118 + 6 + 2);
        assert_int_equal(verdict->n_lacks, 0);
        assert_int_equal(verdict->diverged, wrong);
        assert_int_equal(verdict->outlier, wrong ? OUTLIER_TRACE : OUTLIER_NONE);
        if (wrong) {
            assert_int_equal(comparison.plan->steps[verdict->introduced[0].step].stage, STAGE_sample_token);
        }
        comparison_free(&comparison);
        small_close(&small);
        scratch_remove(folder);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_healthy),
        cmocka_unit_test(test_wrong_probability),
        cmocka_unit_test(test_wrong_token),
        cmocka_unit_test(test_wrong_masks),
        cmocka_unit_test(test_equals_at_the_cut),
        cmocka_unit_test(test_wrong_attn_probs),
        cmocka_unit_test(test_probs_are_named),
        cmocka_unit_test(test_attn_out_follows_its_probabilities),
        cmocka_unit_test(test_attn_out_of_probabilities_alone),
        cmocka_unit_test(test_samples_over_a_span),
        cmocka_unit_test(test_comparison),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
