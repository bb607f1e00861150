/* Recording mistakes: a healthy run, recorded wrongly, is named with its cure, and the verdict once put right is given.
 * The twins: with one matrix times 1.01 the trace put right still diverges, there; and an engine that goes on with the
 * values that it recorded in another order has a bug, and is not excused. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/recording.h"
#include "tests/support/report.h"
#include "tests/support/scratch.h"
#include "tests/workbench/audit/compute_step.h"
#include "workbench/audit/arithmetic.h"
#include "workbench/audit/hypotheses.h"
#include "workbench/diagnose/recording/recording.h"
#include "workbench/session/comparison.h"

SCRATCH_FIXTURE

struct recorded {
    struct small_model small;
    struct plan plan; /* that ran: one matrix is `scaled` */
    struct tensor scaled;
    struct trace run;
};

/* A run of a small model; with a bug, layer 1 o_proj is times 1.01. Read back from a file, as it were. */
static void recorded_open(struct recorded *recorded, const char *model, bool bug)
{
    small_open(&recorded->small, model, NULL);
    plan_copy(&recorded->plan, &recorded->small.plan);
    struct step *step = &recorded->plan.steps[plan_find(&recorded->plan, 1, STAGE_o_proj)];
    recorded->scaled = *step->weight[0];
    assert_int_equal(recorded->scaled.dtype, DTYPE_F32);
    float *values = xmalloc(recorded->scaled.n_bytes);
    memcpy(values, recorded->scaled.bytes, recorded->scaled.n_bytes);
    for (uint64_t i = 0; i < recorded->scaled.n_bytes / sizeof(float); i++) {
        values[i] *= bug ? 1.01f : 1;
    }
    recorded->scaled.bytes = (const uint8_t *)values;
    step->weight[0] = &recorded->scaled;
    record_run(&recorded->run, &recorded->plan, &recorded->small.golden);
    recorded->run.from_file = true;
}

static void recorded_close(struct recorded *recorded)
{
    trace_free(&recorded->run);
    plan_free(&recorded->plan);
    free((void *)recorded->scaled.bytes);
    small_close(&recorded->small);
}

/* Records rows first to first + n of a stage part by part: [width / part, n, part]. */
static void parts_first(struct trace_stage *stage, uint32_t n, uint32_t part)
{
    uint32_t parts = stage->width / part;
    float *rows = xmalloc((uint64_t)n * stage->width * sizeof(*rows));
    for (uint32_t k = 0; k < parts; k++) {
        for (uint32_t p = 0; p < n; p++) {
            memcpy(rows + ((uint64_t)k * n + p) * part, stage->rows + (uint64_t)p * stage->width + k * part,
                   part * sizeof(*rows));
        }
    }
    memcpy(stage->rows, rows, (uint64_t)n * stage->width * sizeof(*rows));
    free(rows);
}

static void heads_first(struct recorded *recorded, const enum stage *stages, uint32_t n_stages, uint32_t n_layers)
{
    for (uint32_t i = 0; i < recorded->run.n_stages; i++) {
        struct trace_stage *stage = &recorded->run.stages[i];
        for (uint32_t k = 0; k < n_stages; k++) {
            if (stage->stage == stages[k] && stage->layer < (int32_t)n_layers) {
                int32_t attention = plan_find(&recorded->plan, stage->layer, STAGE_attn_out);
                parts_first(stage, recorded->run.n_positions, recorded->plan.steps[attention].params.attention.dim);
            }
        }
    }
}

static const enum stage of_heads[] = {STAGE_q_proj, STAGE_k_proj, STAGE_v_proj, STAGE_q_norm,
                                      STAGE_k_norm, STAGE_q_rope, STAGE_k_rope};

static void all_heads_first(struct recorded *recorded)
{
    heads_first(recorded, of_heads, 7, recorded->plan.n_layers);
}

static void half_heads_first(struct recorded *recorded)
{
    heads_first(recorded, of_heads, 7, recorded->plan.n_layers / 2);
}

static void norms_heads_first(struct recorded *recorded)
{
    heads_first(recorded, of_heads + 3, 2, recorded->plan.n_layers);
}

static void attn_out_heads_first(struct recorded *recorded)
{
    static const enum stage stages[] = {STAGE_attn_out};
    heads_first(recorded, stages, 1, recorded->plan.n_layers);
}

/* An engine that dumps each run's tensor: of one decoded position, nothing is exchanged. */
static void prompt_heads_first(struct recorded *recorded)
{
    uint32_t n_prompt = 0;
    while (recorded->run.phase[n_prompt] == PHASE_PREFILL) {
        n_prompt++;
    }
    for (uint32_t layer = 0; layer < recorded->plan.n_layers; layer++) {
        int32_t attention = plan_find(&recorded->plan, (int32_t)layer, STAGE_attn_out);
        parts_first(stage_at(&recorded->run, (int32_t)layer, STAGE_q_proj), n_prompt,
                    recorded->plan.steps[attention].params.attention.dim);
    }
}

static void keep_layers_alone(struct recorded *recorded)
{
    struct trace *run = &recorded->run;
    for (uint32_t i = run->n_stages; i-- > 0;) {
        enum stage stage = run->stages[i].stage;
        if (stage != STAGE_embed && stage != STAGE_layer_out && stage != STAGE_logits_final) {
            trace_remove_stage(run, &run->stages[i]);
        }
    }
}

static void columns_first_of_layers_alone(struct recorded *recorded)
{
    keep_layers_alone(recorded);
    for (uint32_t layer = 0; layer < recorded->plan.n_layers; layer++) {
        parts_first(stage_at(&recorded->run, (int32_t)layer, STAGE_layer_out), recorded->run.n_positions, 1);
    }
}

static void layers_up(struct recorded *recorded)
{
    struct trace *run = &recorded->run;
    for (uint32_t i = run->n_stages; i-- > 0;) {
        struct trace_stage *stage = &run->stages[i];
        if (stage->layer + 1 == (int32_t)run->n_layers) {
            trace_remove_stage(run, stage);
        } else if (stage->layer != LAYER_NONE) {
            trace_move_stage(run, stage, stage->layer + 1, stage->stage);
        }
    }
    trace_move_stage(run, stage_at(run, LAYER_NONE, STAGE_embed), 0, STAGE_layer_out);
}

/* /tokens lacks the first that ran. */
static void first_token_missing(struct recorded *recorded)
{
    struct trace *run = &recorded->run;
    memmove(run->tokens, run->tokens + 1, (run->n_positions - 1) * sizeof(*run->tokens));
}

/* /tokens has one more at the front than ran. */
static void first_token_added(struct recorded *recorded)
{
    struct trace *run = &recorded->run;
    memmove(run->tokens + 1, run->tokens, (run->n_positions - 1) * sizeof(*run->tokens));
    run->tokens[0] = 2;
}

/* The same with a token that is there already. */
static void first_token_twice(struct recorded *recorded)
{
    first_token_added(recorded);
    recorded->run.tokens[0] = recorded->run.tokens[1];
}

static void decode_alone(struct recorded *recorded)
{
    struct trace *run = &recorded->run, decoded;
    uint32_t first = 0;
    while (run->phase[first] == PHASE_PREFILL) {
        first++;
    }
    trace_init(&decoded, "decoded", run->model_type, run->n_layers, run->n_positions - first, run->tokens + first,
               run->phase + first);
    for (uint32_t i = 0; i < run->n_stages; i++) {
        const struct trace_stage *stage = &run->stages[i];
        struct trace_stage *added = trace_add(&decoded, stage->layer, stage->stage, stage->width);
        for (uint32_t p = first; p < run->n_positions; p++) {
            trace_set_row(&decoded, added, p - first, trace_row(stage, p));
        }
    }
    decoded.from_file = true;
    trace_free(run);
    *run = decoded;
}

static void round_stages(struct trace *run, uint32_t dtype)
{
    for (uint32_t i = 0; i < run->n_stages; i++) {
        struct trace_stage *stage = &run->stages[i];
        for (uint64_t k = 0; k < (uint64_t)run->n_positions * stage->width; k++) {
            stage->rows[k] = round_to_dtype(stage->rows[k], dtype);
        }
    }
}

static void round_all(struct recorded *recorded)
{
    round_stages(&recorded->run, DTYPE_F16);
}

static void round_all_more(struct recorded *recorded)
{
    round_stages(&recorded->run, DTYPE_BF16);
}

static void all_heads_first_and_rounded(struct recorded *recorded)
{
    all_heads_first(recorded);
    round_all(recorded);
}

/* layer_out alone is that of the layer before. */
static void states_down(struct recorded *recorded)
{
    uint32_t width = trace_find(&recorded->run, 0, STAGE_layer_out)->width;
    uint64_t size = (uint64_t)recorded->run.n_positions * width * sizeof(float);
    for (int32_t layer = (int32_t)recorded->small.plan.n_layers - 1; layer >= 0; layer--) {
        const struct trace_stage *from = layer > 0 ? trace_find(&recorded->run, layer - 1, STAGE_layer_out)
                                                   : trace_find(&recorded->run, LAYER_NONE, STAGE_embed);
        memcpy(trace_find(&recorded->run, layer, STAGE_layer_out)->rows, from->rows, size);
    }
    trace_remove_stage(&recorded->run, trace_find(&recorded->run, LAYER_NONE, STAGE_embed));
}

static void states_down_and_rounded(struct recorded *recorded)
{
    states_down(recorded);
    round_all(recorded);
}

static void scale_stage(struct recorded *recorded, int32_t layer, enum stage stage, float factor)
{
    struct trace_stage *scaled = stage_at(&recorded->run, layer, stage);
    for (uint64_t k = 0; k < (uint64_t)recorded->run.n_positions * scaled->width; k++) {
        scaled->rows[k] *= factor;
    }
}

/* The scale of attention is folded into what is recorded of q, and attention reads q without it. */
static void queries_scaled(struct recorded *recorded)
{
    for (int32_t layer = 0; layer < (int32_t)recorded->small.plan.n_layers; layer++) {
        scale_stage(recorded, layer, STAGE_q_rope, 0.17677669f);
    }
}

static void residual_scaled(struct recorded *recorded)
{
    scale_stage(recorded, 2, STAGE_attn_resid, 1.5f);
}

/* Operands of products are bf16, and the values were rounded to f16 for the file. */
static void operands_and_file_rounded(struct recorded *recorded)
{
    struct arith products = arith_float32;
    products.roundings.operands = ROUNDING_BF16;
    for (uint32_t s = 0; s < recorded->plan.n_steps; s++) {
        bool is_product = op_is_product(recorded->plan.steps[s].op);
        compute_step(&recorded->plan, s, &recorded->run, is_product ? &products : &arith_float32);
    }
    round_all(recorded);
}

static const struct mistake {
    const char *model;
    void (*make)(struct recorded *recorded);
    const char *name, *says, *verdict;
} mistakes[] = {
    {"tiny-llama", all_heads_first, "heads-first", "q_proj, k_proj, v_proj, q_rope and k_rope are recorded as [heads",
     "parity"},
    {"tiny-gemma2", all_heads_first, "heads-first", "q_proj, k_proj, v_proj, q_rope and k_rope are", "parity"},
    {"tiny-gemma3", all_heads_first, "heads-first", "q_proj, q_norm and q_rope are", "parity"},
    {"tiny-gemma3", norms_heads_first, "heads-first", "q_norm is recorded", "parity"},
    {"tiny-llama", half_heads_first, "heads-first", "in layer 0-1 are", "parity"},
    {"tiny-llama", attn_out_heads_first, "heads-first", "attn_out is recorded", "parity"},
    {"tiny-gemma2", prompt_heads_first, "heads-first", "in the prompt's rows", "parity"},
    {"tiny-llama", columns_first_of_layers_alone, "columns-first", "layer_out is recorded as [width, positions]",
     "parity"},
    {"tiny-gemma2", layers_up, "layers-shifted-down", "hidden_states[i + 1]", "parity"},
    {"tiny-llama", states_down, "states-shifted-down", "the layer's other stages are right", "parity"},
    {"tiny-gemma3", states_down, "states-shifted-down", "the layer's other stages are right", "parity"},
    {"tiny-llama", states_down_and_rounded, "states-shifted-down", "values were rounded for the file, too", "parity"},
    {"tiny-gemma3", first_token_missing, "bos-missing", "which /tokens lacks", "parity"},
    {"tiny-gemma3", first_token_added, "bos-missing", "without the first of /tokens, 2 (BOS)", "parity"},
    {"tiny-llama", first_token_twice, "bos-doubled", "/tokens begins with 3 twice", "parity"},
    {"tiny-gemma2", round_all, "rounded-for-file", "the engine computes with more", "parity"},
    {"tiny-llama", round_all_more, "rounded-for-file", "the engine computes with more", "parity"},
    {"tiny-gemma3", round_all_more, "rounded-for-file", "the engine computes with more", "parity"},
    {"tiny-llama", all_heads_first_and_rounded, "heads-first", "values were rounded for the file, too", "parity"},
    {"tiny-llama", operands_and_file_rounded, "rounded-for-file", "the engine computes with more", "parity"},
    {"tiny-gemma3", operands_and_file_rounded, "rounded-for-file", "the engine computes with more", "parity"},
    {"tiny-llama", residual_scaled, "recorded-multiple", "layer 2 attn_resid is recorded 1.5 times", "parity"},
    {"tiny-gemma2", queries_scaled, "recorded-multiple", "and so 3 further stages", "parity"},
    {"tiny-llama", decode_alone, "prompt-missing", "the 10 positions before it are missing", "undecided"},
    {"tiny-gemma3", decode_alone, "prompt-missing", "the 10 positions before it are missing", "undecided"},
};

/* The first step of a trace that fails; n_steps: none. */
static uint32_t first_failing(const struct plan *plan, struct trace *trace)
{
    uint8_t *states = xcalloc(plan->n_steps, 1);
    struct recording_outcome outcome = recording_audit(plan, trace, states);
    free(states);
    return outcome.first;
}

/* recording_find of a trace that fails. */
static bool find_in(const struct plan *plan, struct trace *trace, struct diagnosis *found, struct trace *cured)
{
    const struct trace *list[] = {trace};
    const enum source sources[] = {SOURCE_TRACE};
    struct arithmetic arithmetic;
    struct audit audit;
    struct verdict verdict;
    audit_run(&audit, plan, list, 1, NULL, NULL);
    arithmetic_infer(&arithmetic, &audit, list, 0, trace);
    verdict_reach(&verdict, &audit, list, sources, true);
    assert_true(verdict.diverged);
    bool mistaken = recording_find(&(struct recorded_trace){trace, &audit, 0, &verdict}, found, cured);
    verdict_free(&verdict);
    audit_free(&audit);
    return mistaken;
}

static void find_mistake(const struct mistake *mistake, bool bug)
{
    struct recorded recorded;
    struct diagnosis found;
    struct trace cured;
    char says[128];
    recorded_open(&recorded, mistake->model, bug);
    const struct plan *plan = &recorded.small.plan;
    uint32_t o_proj = (uint32_t)plan_find(plan, 1, STAGE_o_proj);
    mistake->make(&recorded);
    assert_true(find_in(plan, &recorded.run, &found, &cured));
    assert_int_equal(found.kind, KIND_RECORDING);
    assert_int_equal(found.how, HOW_REPRODUCED);
    assert_string_equal(found.fault, mistake->name);
    expect_text(found.text, mistake->says);
    bool sparse = !trace_find_step(&cured, &plan->steps[o_proj]);
    snprintf(says, sizeof(says), "the verdict is %s",
             !bug     ? mistake->verdict
             : sparse ? "diverged, first at layer 1"
                      : "diverged, first at layer 1 o_proj");
    expect_text(found.text, says);
    uint32_t then = first_failing(plan, &cured);
    assert_true(bug ? plan->steps[then].layer == 1 && (sparse || then == o_proj) : then == plan->n_steps);
    trace_free(&cured);
    recorded_close(&recorded);
}

static void test_mistakes_are_named(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(mistakes) / sizeof(*mistakes); i++) {
        for (int bug = 0; bug <= 1; bug++) {
            print_message("%s, %s%s\n", mistakes[i].model, mistakes[i].says, bug ? ", and a bug" : "");
            find_mistake(&mistakes[i], bug);
        }
    }
}

/* Computes a step again from what is recorded: the engine went on with it. */
static void go_on(struct recorded *recorded, int32_t layer, enum stage stage)
{
    const struct plan *plan = &recorded->small.plan;
    uint32_t s = (uint32_t)plan_find(plan, layer, stage);
    struct trace_stage *output = stage_at(&recorded->run, layer, stage);
    struct rows rows;
    rows_gather(&rows, plan, s, &recorded->run, NULL);
    assert_int_equal(rows.n, recorded->run.n_positions);
    double *y = xmalloc((uint64_t)rows.n * output->width * sizeof(*y));
    op_run(&(struct op_batch){
        .step = &plan->steps[s], .weights_dtype = output->weights_dtype, .n_rows = rows.n, .rows = rows.rows, .y = y});
    for (uint64_t i = 0; i < (uint64_t)rows.n * output->width; i++) {
        output->rows[i] = (float)y[i];
    }
    free(y);
    rows_free(&rows);
}

/* A head times 1.01, of what is recorded. */
static void head_off(struct recorded *recorded)
{
    struct trace_stage *logits = stage_at(&recorded->run, LAYER_NONE, STAGE_logits);
    go_on(recorded, LAYER_NONE, STAGE_logits);
    for (uint64_t k = 0; k < (uint64_t)recorded->run.n_positions * logits->width; k++) {
        logits->rows[k] *= 1.01f;
    }
    go_on(recorded, LAYER_NONE, STAGE_logits_final);
}

/* Hidden states and logits, rounded for the file: the head alone fails, and its factor is right. The twin: an engine
 * that stores in that type, and whose head is times 1.01. */
static void test_rounded_states_are_named(void **state)
{
    (void)state;
    static const char *const models[] = {"tiny-llama", "tiny-gemma2", "tiny-gemma3"};
    for (size_t i = 0; i < 3 * sizeof(models) / sizeof(*models); i++) {
        enum stage head = i % 3 == 1 ? STAGE_logits_final : STAGE_logits;
        bool bug = i % 3 == 2;
        struct recorded recorded;
        recorded_open(&recorded, models[i / 3], false);
        round_stages(&recorded.run, DTYPE_BF16);
        if (bug) {
            head_off(&recorded);
            round_stages(&recorded.run, DTYPE_BF16);
        }
        for (uint32_t k = recorded.run.n_stages; k-- > 0;) {
            enum stage stage = recorded.run.stages[k].stage;
            if (stage != STAGE_embed && stage != STAGE_layer_out && stage != STAGE_final_norm && stage != head) {
                trace_remove_stage(&recorded.run, &recorded.run.stages[k]);
            }
        }
        struct comparison comparison = {.plan = &recorded.small.plan};
        comparison_add(&comparison, SOURCE_TRACE, &recorded.run);
        comparison_judge(&comparison, true, NULL);
        assert_true(comparison.verdict.diverged);
        bool told = comparison.n_diagnoses > 0 && strcmp(comparison.diagnoses[0].fault, "rounded-for-file") == 0;
        assert_int_equal(told, !bug);
        comparison_free(&comparison);
        recorded_close(&recorded);
    }
}

static void attn_out_scaled(struct recorded *recorded)
{
    for (int32_t layer = 0; layer < (int32_t)recorded->plan.n_layers; layer++) {
        scale_stage(recorded, layer, STAGE_attn_out, 3);
    }
}

/* An engine whose o_proj reads attn_out in the order in which it is recorded, or times the same factor, is wrong. The
 * twin is the recording mistake: o_proj read the right values. */
static void test_an_engine_that_goes_on_is_not_excused(void **state)
{
    (void)state;
    static void (*const makes[])(struct recorded *) = {attn_out_heads_first, attn_out_scaled};
    for (int i = 0; i < 4; i++) {
        bool goes_on = i % 2;
        struct recorded recorded;
        struct diagnosis found;
        struct trace cured;
        recorded_open(&recorded, "tiny-llama", false);
        makes[i / 2](&recorded);
        for (int32_t layer = 0; layer < (int32_t)recorded.plan.n_layers && goes_on; layer++) {
            go_on(&recorded, layer, STAGE_o_proj);
        }
        uint32_t first = first_failing(&recorded.small.plan, &recorded.run);
        assert_int_equal(recorded.small.plan.steps[first].stage, STAGE_attn_out);
        bool excused = find_in(&recorded.small.plan, &recorded.run, &found, &cured);
        assert_int_equal(excused, !goes_on);
        if (excused) {
            trace_free(&cured);
        }
        recorded_close(&recorded);
    }
}

/* The program tells the mistake first, then the bug beside it; the twin has none. */
static void test_mistake_and_bug_are_told(void **state)
{
    (void)state;
    for (int bug = 0; bug <= 1; bug++) {
        struct recorded recorded;
        struct outcome outcome;
        char path[512];
        recorded_open(&recorded, "tiny-llama", bug);
        all_heads_first(&recorded);
        scratch_path(path, folder, "heads-first.h5");
        assert_int_equal(trace_write(&recorded.run, path, NULL), STATUS_OK);
        RUN(&outcome, 1, "audit", LOCKSTEP_SOURCE_DIR "/golden/tiny-llama", path, "--json", "-");
        json_t *report = parse_report(&outcome), *diagnoses = json_object_get(report, "diagnosis");
        assert_string_equal(text_at(report, "outlier"), "trace");
        assert_string_equal(text_at(json_array_get(diagnoses, 0), "kind"), "recording");
        assert_int_equal(json_array_size(diagnoses) > 1, bug);
        if (bug) {
            const json_t *second = json_array_get(diagnoses, 1);
            assert_string_equal(text_at(second, "stage"), "o_proj");
            assert_int_equal(integer_at(second, "layer"), 1);
            expect_text(text_at(second, "text"), "Once the recording is put right: Every value");
        }
        json_decref(report);
        outcome_free(&outcome);
        recorded_close(&recorded);
    }
}

/* The state after the final norm as the last layer_out, and one value of `layer`'s is NaN: both are told. The twin has
 * no such recording, and NaN alone is. */
static void expect_mistake_beside_nan(int32_t layer, bool mistake)
{
    struct recorded recorded;
    struct outcome outcome;
    char path[512];
    recorded_open(&recorded, "tiny-llama", false);
    struct trace *run = &recorded.run;
    int32_t last = (int32_t)recorded.small.plan.n_layers - 1;
    if (mistake) {
        trace_remove_stage(run, trace_find(run, last, STAGE_layer_out));
        trace_move_stage(run, trace_find(run, LAYER_NONE, STAGE_final_norm), last, STAGE_layer_out);
    }
    trace_find(run, layer, STAGE_layer_out)->rows[5] = NAN;
    scratch_path(path, folder, "nan.h5");
    assert_int_equal(trace_write(run, path, NULL), STATUS_OK);
    RUN(&outcome, 1, "audit", LOCKSTEP_SOURCE_DIR "/golden/tiny-llama", path, "--json", "-");
    json_t *report = parse_report(&outcome), *diagnoses = json_object_get(report, "diagnosis");
    assert_string_equal(text_at(json_array_get(diagnoses, 0), "kind"), mistake ? "recording" : "nonfinite");
    assert_string_equal(text_at(json_array_get(diagnoses, mistake), "kind"), "nonfinite");
    json_decref(report);
    outcome_free(&outcome);
    recorded_close(&recorded);
}

static void test_mistake_beside_nan(void **state)
{
    (void)state;
    expect_mistake_beside_nan(1, true);
    expect_mistake_beside_nan(1, false);
    expect_mistake_beside_nan(3, true);
}

/* A run that stores its stages in 16 bits samples from probabilities in float32. The twin stores a stage of the model
 * in float32. */
static void test_samples_are_no_stored_stage(void **state)
{
    (void)state;
    static const enum stage stages[] = {STAGE_sample_probs, STAGE_final_norm};
    for (size_t i = 0; i < sizeof(stages) / sizeof(*stages); i++) {
        struct trace trace;
        trace_init(&trace, "made", "llama", 1, 1, &(int32_t){1}, &(uint8_t){PHASE_PREFILL});
        trace_set_row(&trace, trace_add(&trace, LAYER_NONE, STAGE_embed, 1), 0, &(float){1.5f});
        trace_set_row(&trace, trace_add(&trace, LAYER_NONE, stages[i], 1), 0, &(float){0.1f});
        const char *type = recording_narrow_type(&trace);
        assert_true(stages[i] == STAGE_sample_probs ? type && strcmp(type, "bfloat16") == 0 : type == NULL);
        trace_free(&trace);
    }
}

/* NaN from finite values is told even where bounds are too wide to judge a row: layer_out alone, rounded to bfloat16.
 * The twin without it is undecided. */
static void test_nan_where_nothing_can_be_judged(void **state)
{
    (void)state;
    for (int is_nan = 0; is_nan <= 1; is_nan++) {
        struct recorded recorded;
        struct outcome outcome;
        char path[512];
        recorded_open(&recorded, "tiny-llama", false);
        keep_layers_alone(&recorded);
        trace_remove_stage(&recorded.run, trace_find(&recorded.run, LAYER_NONE, STAGE_embed));
        trace_remove_stage(&recorded.run, trace_find(&recorded.run, LAYER_NONE, STAGE_logits_final));
        for (uint32_t i = 0; i < recorded.run.n_stages; i++) {
            struct trace_stage *stage = &recorded.run.stages[i];
            for (uint64_t k = 0; k < (uint64_t)recorded.run.n_positions * stage->width; k++) {
                stage->rows[k] = round_to_dtype(stage->rows[k], DTYPE_BF16);
            }
        }
        if (is_nan) {
            trace_find(&recorded.run, 2, STAGE_layer_out)->rows[5] = NAN;
        }
        scratch_path(path, folder, "wide.h5");
        assert_int_equal(trace_write(&recorded.run, path, NULL), STATUS_OK);
        RUN(&outcome, is_nan ? 1 : 7, "audit", LOCKSTEP_SOURCE_DIR "/golden/tiny-llama", path, "--json", "-");
        if (is_nan) {
            json_t *report = parse_report(&outcome);
            const json_t *first = json_object_get(report, "first_divergence");
            assert_int_equal(integer_at(first, "layer"), 2);
            json_decref(report);
        }
        outcome_free(&outcome);
        recorded_close(&recorded);
    }
}

/* A run whose tokens begin with BOS twice is at parity, and a note says so. The twin: once. */
static void test_doubled_bos_is_noted(void **state)
{
    (void)state;
    for (int twice = 0; twice <= 1; twice++) {
        struct small_model small;
        struct outcome outcome;
        struct trace run;
        char path[512];
        small_open(&small, "tiny-gemma3", NULL);
        small.golden.tokens[0] = 2;
        small.golden.tokens[1] = twice ? 2 : 17;
        record_run(&run, &small.plan, &small.golden);
        scratch_path(path, folder, "bos.h5");
        assert_int_equal(trace_write(&run, path, NULL), STATUS_OK);
        RUN(&outcome, 0, "audit", LOCKSTEP_SOURCE_DIR "/golden/tiny-gemma3", path, "--all");
        assert_int_equal(strstr(outcome.out, "begin with BOS (2) twice") != NULL, twice);
        outcome_free(&outcome);
        trace_free(&run);
        small_close(&small);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mistakes_are_named),
        cmocka_unit_test(test_an_engine_that_goes_on_is_not_excused),
        cmocka_unit_test(test_rounded_states_are_named),
        cmocka_unit_test_setup_teardown(test_mistake_and_bug_are_told, set_up, tear_down),
        cmocka_unit_test(test_samples_are_no_stored_stage),
        cmocka_unit_test_setup_teardown(test_mistake_beside_nan, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_nan_where_nothing_can_be_judged, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_doubled_bos_is_noted, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
