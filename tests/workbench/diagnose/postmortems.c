/* One test for each bug that cost somebody days, named after its postmortem: planted in the engine, it must be found
 * where it is and called by its name; in a layer in the middle as well; and what was a false alarm must stay silent. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/support/report.h"
#include "tests/support/scratch.h"
#include "workbench/session/fault_check.h"

#define NOWHERE STAGE_COUNT

/* What is said of a prompt in several batches; a GPU takes that of tiny-llama-long in one. */
static const char more_batches[] = "more batches";

/* A row of the list of bugs. layer, stage: where the first introduced error must lie. */
static const struct bug {
    const char *postmortem, *model, *fault;
    int32_t layer;
    enum stage stage;
    const char *how, *middle; /* the same fault at another place, with the stage that it must be found at; NULL: none */
    int32_t middle_layer;
    const char *says; /* what the diagnosis must say, or NULL */
} bugs[] = {
    {"2026-01-19 gemma3-postfeedforwardnorm", "tiny-gemma3", "post-ffn-norm-skipped", 0, STAGE_post_ffn_norm,
     "reproduced", "post-ffn-norm-skipped@3", 3, NULL},
    {"2026-01-05 gemma2-f16-end-to-end: overflow", "tiny-gemma3-loud", "f16-overflow", 0, STAGE_layer_out, "reproduced",
     "f16-overflow@1.layer_out", 1, NULL},
    {"2026-01-05 gemma2-f16-end-to-end: half plumbed", "tiny-gemma2", "f16-half-plumbed", 0, STAGE_attn_out,
     "reproduced", "f16-half-plumbed@2", 2, NULL},
    {"2026-01-04 gemma2-activation-dtype-mismatch: kernel", "tiny-gemma2", "f16-kernel-on-f32", 0, STAGE_q_proj,
     "reproduced", "f16-kernel-on-f32@2.q_proj", 2, NULL},
    {"2026-01-04 gemma2-activation-dtype-mismatch: phase", "tiny-gemma2", "attention-phase", 0, STAGE_attn_out,
     "reproduced", "attention-phase@2", 2, NULL},
    {"2026-01-03 batched-decode-repetition", "tiny-llama", "params-evicted", LAYER_NONE, STAGE_embed, "relation", NULL,
     0, NULL},
    {"2025-12-31 pingpong-buffer-release", "tiny-gemma3", "pingpong-release", 1, STAGE_layer_out, "relation",
     "pingpong-release@3", 3, "q_proj"},
    {"2025-12-30 buffer-pool-trace-false-positives", "tiny-gemma3", "pool-padding", LAYER_NONE, NOWHERE, "silent", NULL,
     0, NULL},
    {"2025-12-25 gemma3-qknorm-offset", "tiny-gemma3", "qk-norm-no-offset", 0, STAGE_q_norm, "reproduced",
     "qk-norm-no-offset@3", 3, NULL},
    {"2025-12-25 gemma3-qknorm-offset: the wrong fix", "tiny-gemma3", "norm-double-offset", 0, STAGE_attn_norm,
     "reproduced", "norm-double-offset@4.attn_norm", 4, NULL},
    {"2025-12-25 gemma3-qknorm-offset: the wrong fix, GGUF", "same/gemma3-bf16.gguf", "norm-double-offset", 0,
     STAGE_attn_norm, "reproduced", "norm-double-offset@5.attn_norm", 5, NULL},
    {"2025-12-22 moe-explicit-layout", "tiny-gpt-oss", "moe-unbound-counts", 0, STAGE_moe_out, "relation",
     "moe-unbound-counts@2", 2, "zeros"},
    {"2025-12-21 gemma3-magnitude-gap: scale missing", "tiny-gemma3", "embed-scale-missing", LAYER_NONE, STAGE_embed,
     "reproduced", NULL, 0, "smaller by a factor"},
    {"2025-12-21 gemma3-magnitude-gap: scale unsynced", "tiny-gemma3", "scale-unsynced", LAYER_NONE, STAGE_embed,
     "relation", NULL, 0, "a part is scaled"},
    {"2025-12-20 bf16-2d-dispatch", "tiny-gemma3", "dispatch-2d-x-only", LAYER_NONE, STAGE_logits, "relation", NULL, 0,
     "was not done from dim"},
    {"2025-12-19 pipeline-verification", "tiny-llama-q4_1.gguf", "q4k-format@0.ffn_down", 0, STAGE_ffn_down,
     "reproduced", "q4k-format@2.ffn_down", 2, "larger by a factor"},
    {"2025-12-18 gemma3-q4k-garbage-output", "llama-q4_k-packed", "q4k-rowwise", 0, STAGE_q_proj, "reproduced",
     "q4k-rowwise@1.q_proj", 1, NULL},
    {"2025-12-18 hidden-state-underaccumulation", "tiny-gemma3", "residual-dropped", 0, STAGE_layer_out, "reproduced",
     "residual-dropped@3", 3, "smaller by a factor"},
    {"2025-12-17 softmax-uniform-buffer", "tiny-gemma3", "softmax-sizes-swapped", 0, STAGE_attn_out, "reproduced",
     "softmax-sizes-swapped@3", 3, NULL},
    {"2025-12-16 gemma3-debug", "llama-formats.gguf", "q4k-format@0.ffn_gate", 0, STAGE_ffn_gate, "reproduced", NULL, 0,
     NULL},
    {"fix: subgroup column mixing", "tiny-llama-q4_1.gguf", "subgroup-columns-mixed", 0, STAGE_q_proj, "relation",
     "subgroup-columns-mixed@2.q_proj", 2, "columns are mixed"},
    {"fix: wg_sums overflow", "tiny-llama", "wg-sums-short", 0, STAGE_attn_norm, "reproduced",
     "wg-sums-short@2.attn_norm", 2, NULL},
    {"fix: attention decode array", "tiny-llama-long", "attn-array-256", 0, STAGE_attn_out, "reproduced", NULL, 0,
     NULL},
    {"fix: gather dtype", "tiny-llama", "gather-dtype", LAYER_NONE, STAGE_embed, "reproduced", NULL, 0, NULL},
    {"fix: transposeB", "tiny-llama", "transpose-b", 0, STAGE_q_proj, "reproduced", "transpose-b@2.q_proj", 2, NULL},
    {"fix: router quantised", "tiny-gpt-oss-wide", "router-quantised", 0, STAGE_router_logits, "reproduced", NULL, 0,
     NULL},
    {"kernel test: scatter-add FAIL", "tiny-gpt-oss", "scatter-add-overwrites", 0, STAGE_moe_out, "reproduced",
     "scatter-add-overwrites@2", 2, NULL},
    {"triage: exploding values", "tiny-gemma3", "norm-no-offset", 0, STAGE_attn_norm, "reproduced",
     "norm-no-offset@3.attn_norm", 3, NULL},
    {"triage: single-dimension spike", "tiny-gemma3", "weight-spike", 0, STAGE_q_proj, "relation",
     "weight-spike@3.q_proj", 3, "only dim"},
    {"triage: NaN or Inf", "tiny-gemma3-loud", "attn-overflow", 0, STAGE_attn_out, "reproduced", "attn-overflow@1", 1,
     NULL},
    {"triage: repeating tokens", "tiny-llama", "kv-stale", 0, STAGE_attn_out, "reproduced", "kv-stale@2", 2, NULL},
    {"triage: wrong probabilities", "tiny-gemma2", "final-softcap-missing", LAYER_NONE, STAGE_logits_final,
     "reproduced", NULL, 0, NULL},
    {"triage: PAD wins", "tiny-gemma3-loud", "pad-not-masked", LAYER_NONE, STAGE_sample_token, "consistent", NULL, 0,
     "padding (id 54) is chosen"},
    {"resolution: attention scaling", "tiny-gemma3-odd", "query-scale", 0, STAGE_attn_out, "reproduced",
     "query-scale@2", 2, NULL},
    {"resolution: softcapping", "tiny-gemma2", "attn-softcap-missing", 0, STAGE_attn_out, "reproduced",
     "attn-softcap-missing@2", 2, NULL},
    {"resolution: sliding window, off by one", "tiny-gemma3", "window-off-by-one", 0, STAGE_attn_out, "reproduced",
     "window-off-by-one@3", 3, NULL},
    {"resolution: sliding window, layers swapped", "tiny-gemma3", "window-layers-swapped", 0, STAGE_attn_out,
     "reproduced", "window-layers-swapped@3", 3, NULL},
    {"rope local/global", "tiny-gemma3", "rope-theta-swapped", 0, STAGE_q_rope, "reproduced", "rope-theta-swapped@3", 3,
     NULL},
    {"gelu", "tiny-gemma3", "gelu-erf", 0, STAGE_ffn_act, "reproduced", "gelu-erf@3", 3, NULL},
    {"GGUF llama", "tiny-llama", "qk-permute-missing", 0, STAGE_q_proj, "relation", "qk-permute-missing@2", 2,
     "permutation"},
    {"layout", "tiny-llama-long", "heads-positions-exchanged", 0, STAGE_q_rope, "relation", NULL, 0, more_batches},
    {"layout, q_norm", "tiny-gemma3", "heads-positions-exchanged", 0, STAGE_q_norm, "relation",
     "heads-positions-exchanged@3", 3, "permutation"},
    {"wiring", "tiny-gemma3", "gate-up-swapped", 0, STAGE_ffn_gate, "relation", "gate-up-swapped@3", 3, "exchanged"},
    {"gpt-oss: sinks", "tiny-gpt-oss", "sinks-missing", 0, STAGE_attn_out, "reproduced", "sinks-missing@2", 2, NULL},
    {"gpt-oss: router", "tiny-gpt-oss", "topk-after-softmax", 0, STAGE_router_weights, "reproduced",
     "topk-after-softmax@2", 2, NULL},
    {"gpt-oss: activation", "tiny-gpt-oss", "swiglu-plain", 0, STAGE_moe_act, "reproduced", "swiglu-plain@2", 2, NULL},
    {"gpt-oss: gate and up", "tiny-gpt-oss", "gate-up-halves", 0, STAGE_moe_act, "reproduced", "gate-up-halves@2", 2,
     NULL},
    {"gpt-oss: mxfp4", "tiny-gpt-oss", "mxfp4-nibbles", 0, STAGE_moe_gate_up, "reproduced", "mxfp4-nibbles@2", 2, NULL},
    {"gpt-oss: mxfp4, GGUF", "same/gpt-oss-bf16.gguf", "mxfp4-nibbles", 0, STAGE_moe_gate_up, "reproduced",
     "mxfp4-nibbles@1", 1, NULL},
    {"gpt-oss: yarn", "tiny-gpt-oss", "yarn-off", 0, STAGE_q_rope, "reproduced", "yarn-off@2", 2, NULL},
    {"gpt-oss: biases", "tiny-gpt-oss", "expert-bias-missing", 0, STAGE_moe_gate_up, "reproduced",
     "expert-bias-missing@2", 2, NULL},
};
#define N_BUGS (sizeof(bugs) / sizeof(*bugs))

/* One engine for all tests; the model changes with the rows. */
static struct fault_check check;
static const char *model_open_now;

static void must(enum status status, const struct error *err)
{
    if (status) {
        fail_msg("status %d: %s", (int)status, err->text);
    }
}

static void open_small(const char *model)
{
    char path[512], golden[512];
    struct error err;
    if (model_open_now && strcmp(model_open_now, model) == 0) {
        return;
    }
    snprintf(path, sizeof(path), LOCKSTEP_SOURCE_DIR "/golden/%s", model);
    snprintf(golden, sizeof(golden), LOCKSTEP_SOURCE_DIR "/golden/%.*s.h5", (int)strcspn(model, "."), model);
    bool has_golden = strncmp(model, "tiny-", 5) == 0;
    must(fault_check_open(&check, path, has_golden ? golden : NULL, NULL, &err), &err);
    assert_int_equal(check.healthy.verdict.n_introduced, 0); /* the twin: the healthy engine raises no alarm */
    assert_int_equal(check.healthy.n_diagnoses, 0);
    model_open_now = model;
}

static void expect_bug(const struct bug *bug, const char *fault, int32_t layer)
{
    struct fault_outcome outcome;
    struct error err;
    must(fault_check_run(&check, fault, &outcome, &err), &err);
    print_message("    %s: %s, %s, %s\n", bug->model, fault, outcome.named, outcome.how);
    int64_t expected = bug->stage == NOWHERE ? -1 : plan_find(check.healthy.plan, layer, bug->stage);
    assert_int_equal(outcome.found, expected);
    assert_int_equal(outcome.planted, expected);
    assert_string_equal(outcome.how, bug->how);
    size_t name = strcspn(fault, "@");
    bool silent = strcmp(bug->how, "silent") == 0;
    assert_true(silent ? !*outcome.named : strlen(outcome.named) == name && strncmp(outcome.named, fault, name) == 0);
    bool one_batch = bug->says == more_batches && strcmp(device_kind(LOCKSTEP_PROGRAM), "gpu") == 0;
    if (bug->says && !one_batch && !strstr(outcome.judged.diagnoses[0].text, bug->says)) {
        fail_msg("\"%s\" does not say \"%s\"", outcome.judged.diagnoses[0].text, bug->says);
    }
    assert_true(outcome.ok);
    fault_outcome_free(&outcome);
}

static void bug_is_found_and_named(void **state)
{
    const struct bug *bug = *state;
    open_small(bug->model);
    expect_bug(bug, bug->fault, bug->layer);
    if (bug->middle) {
        expect_bug(bug, bug->middle, bug->middle_layer);
    }
}

/* The index at which the undone part starts is the one that the relation gives. */
static void dispatch_tail_starts_where_it_says(void **state)
{
    (void)state;
    struct fault_outcome outcome;
    struct error err;
    open_small("tiny-llama-odd");
    must(fault_check_run(&check, "dispatch-2d-x-only", &outcome, &err), &err);
    const struct trace *trace = outcome.judged.list[0];
    const struct trace_stage *logits = trace_find(trace, LAYER_NONE, STAGE_logits);
    uint32_t first = logits->width, told;
    for (uint32_t p = 0; p < trace->n_positions; p++) {
        for (uint32_t d = 0; d < first; d++) {
            if (isnan(trace_row(logits, p)[d])) {
                first = d;
            }
        }
    }
    const char *text = strstr(outcome.judged.diagnoses[0].text, "from dim ");
    assert_non_null(text);
    assert_int_equal(sscanf(text, "from dim %u", &told), 1);
    assert_true(first > 0 && first < logits->width);
    assert_int_equal(told, first);
    fault_outcome_free(&outcome);
}

static void two_bugs_at_once(void **state)
{
    (void)state;
    static const struct {
        const char *model, *faults[2];
    } pairs[] = {
        {"tiny-gemma3", {"qk-norm-no-offset@2.q_norm", "gelu-erf@4"}},
        {"tiny-gemma3", {"weight-spike@3.ffn_down", "window-layers-swapped@1"}},
        {"tiny-gemma3", {"embed-scale-missing", "residual-dropped@3"}},
        {"tiny-gemma2", {"attn-softcap-missing@1", "final-softcap-missing"}},
        {"tiny-llama", {"kv-stale@1", "transpose-b@2.o_proj"}},
        {"tiny-llama", {"wg-sums-short@1.ffn_norm", "dispatch-2d-x-only"}},
        {"tiny-gpt-oss", {"moe-unbound-counts@1", "yarn-off@2.q_rope"}},
        {"tiny-gpt-oss", {"topk-after-softmax@1", "swiglu-plain@1"}},
    };
    for (size_t i = 0; i < sizeof(pairs) / sizeof(*pairs); i++) {
        struct fault_outcome outcome;
        struct error err;
        open_small(pairs[i].model);
        must(fault_check_together(&check, pairs[i].faults, 2, &outcome, &err), &err);
        print_message("    %s: %s and %s\n", pairs[i].model, pairs[i].faults[0], pairs[i].faults[1]);
        assert_int_equal(outcome.judged.verdict.n_introduced, 2);
        assert_true(outcome.ok);
        fault_outcome_free(&outcome);
        /* The twin: one alone is not two. */
        const char *twice[] = {pairs[i].faults[0], pairs[i].faults[1]};
        must(fault_check_together(&check, twice, 1, &outcome, &err), &err);
        assert_int_equal(outcome.judged.verdict.n_introduced, 1);
        fault_outcome_free(&outcome);
    }
}

/* The flag denies a norm whose tensor is there. tests/workbench/cli/inconsistent.c has more of the kind. */
static void denied_norm_is_refused(void **state)
{
    (void)state;
    char folder[256], path[512], target[512], text[65536], manifest[65536];
    struct outcome outcome;
    scratch_read(LOCKSTEP_SOURCE_DIR "/golden/same/gemma3-rdrr/manifest.json", text, sizeof(text));
    scratch_make(folder);
    for (int shard = 0; shard < 5; shard++) {
        char name[32];
        snprintf(name, sizeof(name), "shard_%05d.bin", shard);
        assert_int_equal(symlink(scratch_path(target, LOCKSTEP_SOURCE_DIR "/golden/same/gemma3-rdrr", name),
                                 scratch_path(path, folder, name)),
                         0);
    }
    char *flag = strstr(text, "\"postFeedforwardNorm\": true");
    assert_non_null(flag);
    size_t n = (size_t)snprintf(manifest, sizeof(manifest), "%.*s\"postFeedforwardNorm\": false%s", (int)(flag - text),
                                text, flag + strlen("\"postFeedforwardNorm\": true"));
    scratch_write(scratch_path(path, folder, "manifest.json"), manifest, n);
    RUN(&outcome, 3, "info", folder);
    expect_one_line(outcome.err, "inference.normalization.postFeedforwardNorm");
    assert_non_null(strstr(outcome.err, "post_feedforward_layernorm.weight"));
    outcome_free(&outcome);
    scratch_write(scratch_path(path, folder, "manifest.json"), text, strlen(text)); /* the twin */
    RUN(&outcome, 0, "info", folder);
    outcome_free(&outcome);
    scratch_remove(folder);
}

/* Slower than its range is a failure: tests/workbench/cli/bench.c holds every number to baselines.json; here one of
 * them, and its twin.
 */
static void slower_than_the_baseline_is_a_failure(void **state)
{
    (void)state;
    struct outcome outcome;
    json_error_t error;
    RUN(&outcome, 0, "bench", "golden/tiny-gemma3", "-p", "4", "-n", "2", "--json", "-");
    json_t *bench = parse_report(&outcome);
    json_t *baselines = json_load_file(LOCKSTEP_SOURCE_DIR "/tests/baselines.json", 0, &error);
    assert_non_null(baselines);
    json_t *model = json_object_get(json_object_get(baselines, "models"), "golden/tiny-gemma3");
    json_t *range = json_object_get(json_object_get(model, device_kind(LOCKSTEP_PROGRAM)), "dispatches_per_token");
    double least = json_number_value(json_array_get(range, 0)), most = json_number_value(json_array_get(range, 1));
    double found = json_number_value(json_object_get(bench, "dispatches_per_token"));
    assert_true(found >= least && found <= most);
    assert_false(2 * found <= most);
    json_decref(bench);
    json_decref(baselines);
    outcome_free(&outcome);
}

/* The arena is copied before the submit: the sentinels survive, the engine failed, and nothing is judged. */
static void readback_early_is_a_failure(void **state)
{
    (void)state;
    struct fault_outcome planted;
    struct outcome outcome;
    struct error err;
    RUN(&outcome, 6, "diff", "golden/tiny-llama", "--golden", "golden/tiny-llama.h5", "--fault", "readback-early");
    expect_one_line(outcome.err, "not captured");
    expect_no_text(outcome.out, "diverged");
    outcome_free(&outcome);
    open_small("tiny-llama");
    must(fault_check_run(&check, "readback-early", &planted, &err), &err);
    assert_true(planted.failed && planted.ok && planted.found == -1);
    assert_string_equal(planted.how, "consistent");
    fault_outcome_free(&planted);
}

/* FFN down explodes: it is told at once, and of the healthy engine nothing is. */
static void exploding_ffn_down_is_an_anomaly(void **state)
{
    (void)state;
    for (int planted = 0; planted < 2; planted++) {
        const char *const arguments[] = {"debug",
                                         "golden/tiny-llama-q4_1.gguf",
                                         "--golden",
                                         "golden/tiny-llama-q4_1.h5",
                                         planted ? "--fault" : NULL,
                                         "q4k-format@3.ffn_down",
                                         NULL};
        struct outcome outcome;
        program_run(&outcome, LOCKSTEP_PROGRAM, "continue\n", arguments);
        assert_int_equal(outcome.status, 0);
        expect_text(outcome.out, "the run is over");
        const char *at = strstr(outcome.out, "ANOMALY layer=3 stage=ffn_down token=");
        assert_true((strstr(outcome.out, "ANOMALY") != NULL) == (bool)planted);
        assert_true(!planted || (at && strstr(at, " what=explosion ")));
        outcome_free(&outcome);
    }
}

/* Five values were read, all positive, and the row was taken for biased: statistics span whole rows. */
static void positive_bias_is_no_alarm(void **state)
{
    (void)state;
    open_small("tiny-gemma3");
    const struct comparison *healthy = &check.healthy;
    uint32_t n_misleading = 0;
    for (uint32_t s = 0; s < check.session->plan.n_steps; s++) {
        const struct step *step = &check.session->plan.steps[s];
        const struct trace_stage *stage = trace_find(healthy->list[0], step->layer, step->stage);
        double most = 0;
        for (uint32_t p = 0; p < healthy->list[0]->n_positions; p++) {
            const float *row = trace_row(stage, p);
            double of_five = 0, of_row = 0, least = INFINITY;
            for (uint32_t d = 0; d < stage->width; d++) {
                of_five = d < 5 ? fmax(of_five, fabs(row[d])) : of_five;
                least = d < 5 ? fmin(least, row[d]) : least;
                of_row = fmax(of_row, fabs(row[d]));
            }
            n_misleading += least > 0 && of_row > 2 * of_five;
            most = fmax(most, of_row);
        }
        assert_true(audit_finding(&healthy->audit, s, 0)->max_abs == most);
    }
    assert_true(n_misleading > 0); /* such rows are there */
    assert_false(healthy->verdict.diverged);
}

static int close_check(void **state)
{
    (void)state;
    fault_check_close(&check);
    return 0;
}

int main(void)
{
    static const struct CMUnitTest others[] = {
        cmocka_unit_test(dispatch_tail_starts_where_it_says),
        cmocka_unit_test(two_bugs_at_once),
        {"2026-01-19 gemma3-postfeedforwardnorm, at load", denied_norm_is_refused, NULL, NULL, NULL},
        {"2026-01-03 performance-gaps", slower_than_the_baseline_is_a_failure, NULL, NULL, NULL},
        {"CommandRecorder gotcha", readback_early_is_a_failure, NULL, NULL, NULL},
        {"2025-12-19 pipeline-verification, at the prompt", exploding_ffn_down_is_an_anomaly, NULL, NULL, NULL},
        {"2025-12-17 positive-bias-hidden-states", positive_bias_is_no_alarm, NULL, NULL, NULL},
    };
    struct CMUnitTest tests[N_BUGS + sizeof(others) / sizeof(*others)];
    for (size_t i = 0; i < N_BUGS; i++) {
        tests[i] = (struct CMUnitTest){bugs[i].postmortem, bug_is_found_and_named, NULL, NULL, (void *)&bugs[i]};
    }
    memcpy(tests + N_BUGS, others, sizeof(others));
    return cmocka_run_group_tests(tests, NULL, close_check);
}
