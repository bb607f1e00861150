/* diff of a quantised model beside a golden of the unquantised one, as scripts use it: two pairs of golden/, a healthy
 * engine, a bug in the engine, --golden-model, and the prompt. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/recording.h"
#include "tests/support/report.h"
#include "tests/support/scratch.h"

#define MODEL "golden/tiny-llama-q4_1.gguf"
#define UNQUANTISED "golden/tiny-llama"

SCRATCH_FIXTURE

static double number_at(const json_t *object, const char *key)
{
    return json_number_value(json_object_get(object, key));
}

/* What the report of a healthy run says of each layer. */
static void expect_drift(const json_t *report, size_t n_layers, json_int_t positions)
{
    json_t *drift = json_object_get(report, "drift"), *layer, *next = json_object_get(report, "next_token");
    size_t i;
    assert_string_equal(text_at(report, "golden_weights"), "other-precision");
    assert_int_equal(json_array_size(drift), n_layers);
    json_array_foreach(drift, i, layer)
    {
        const json_t *quantisation = json_object_get(layer, "quantisation"), *own = json_object_get(layer, "own");
        const json_t *max_abs = json_object_get(layer, "max_abs");
        assert_int_equal(integer_at(layer, "layer"), i);
        assert_string_equal(text_at(layer, "stage"), "layer_out");
        assert_true(number_at(quantisation, "relative_rms") > 0.01 && number_at(quantisation, "relative_rms") < 0.5);
        assert_true(number_at(quantisation, "cosine") > 0.9 && number_at(quantisation, "cosine") < 0.9999);
        assert_true(number_at(own, "relative_rms") < 1e-5 && number_at(own, "cosine") > 0.999999);
        assert_true(number_at(max_abs, "engine") > 0 && number_at(max_abs, "reference") > 0 &&
                    number_at(max_abs, "golden") > 0);
    }
    assert_int_equal(integer_at(next, "of"), positions);
    assert_true(integer_at(next, "agree") > 0 && integer_at(next, "agree") <= positions);
}

static void healthy(const char *model, const char *golden, size_t n_layers, json_int_t positions)
{
    struct outcome outcome;
    RUN(&outcome, 0, "diff", model, "--golden", golden, "--json", "-");
    json_t *report = parse_report(&outcome);
    assert_string_equal(text_at(report, "verdict"), "parity");
    assert_string_equal(text_at(report, "outlier"), "none");
    assert_int_equal(json_array_size(json_object_get(report, "introduced")), 0);
    expect_drift(report, n_layers, positions);
    json_decref(report);
    outcome_free(&outcome);
    RUN(&outcome, 0, "diff", model, "--golden", golden, "--all");
    expect_text(outcome.out, "\nGolden weights: MODEL's in another precision. ");
    expect_text(outcome.out, "cannot be told from these.\n");
    expect_text(outcome.out, "\nDrift by layer. ");
    expect_text(outcome.out, "\n  The likeliest next token is the golden's at ");
    expect_text(outcome.out, "parity: every op of engine, reference and golden");
    expect_no_text(outcome.out, "likeliest next is"); /* that is not what rounding in the engine does */
    outcome_free(&outcome);
}

static void a_golden_of_the_unquantised_model(void **state)
{
    (void)state;
    char golden[512];
    struct outcome outcome;
    healthy(MODEL, UNQUANTISED ".h5", 4, 16); /* Q4_1, and Q8_0 */
    scratch_path(golden, folder, "unquantised.h5");
    RUN(&outcome, 0, "trace", "golden/same/llama-bf16", "--ids", "1,5,9,33,2,7,8", "--decode-ids", "11,12,40", "--on",
        "reference", "-o", golden);
    outcome_free(&outcome);
    healthy("golden/same/llama-q4_k-rdrr", golden, 2, 10); /* Q4_K in every layout */
}

/* The same weights in another file, with another digest, are the same. */
static void the_same_weights(void **state)
{
    (void)state;
    char golden[512];
    struct outcome outcome;
    scratch_path(golden, folder, "unquantised.h5");
    RUN(&outcome, 0, "trace", "golden/same/llama-bf16", "--ids", "1,5,9", "--on", "reference", "-o", golden);
    outcome_free(&outcome);
    RUN(&outcome, 0, "diff", "golden/same/llama-bf16.gguf", "--golden", golden, "--on", "reference", "--json", "-");
    json_t *report = parse_report(&outcome);
    assert_string_equal(text_at(report, "golden_weights"), "same");
    assert_null(json_object_get(report, "drift"));
    assert_null(json_object_get(report, "next_token"));
    json_decref(report);
    outcome_free(&outcome);
    RUN(&outcome, 0, "audit", UNQUANTISED, UNQUANTISED ".h5", "--json", "-"); /* no golden */
    report = parse_report(&outcome);
    assert_null(json_object_get(report, "golden_weights"));
    json_decref(report);
    outcome_free(&outcome);
}

/* The twins: other weights are accused, with the tensor's name. */
static void other_weights(void **state)
{
    (void)state;
    char model[512];
    struct outcome outcome;
    small_copy_flipped("tiny-llama", folder, "model.layers.2.post_attention_layernorm.weight", 9, 20);
    scratch_path(model, folder, "tiny-llama");
    char golden[512];
    scratch_path(golden, folder, "flipped.h5");
    RUN(&outcome, 0, "trace", model, "--ids", "3,17,99,204,5", "--on", "reference", "-o", golden);
    outcome_free(&outcome);
    RUN(&outcome, 1, "diff", MODEL, "--golden", golden, "--on", "reference", "--json", "-");
    json_t *report = parse_report(&outcome), *accused = json_object_get(report, "golden_accused");
    assert_string_equal(text_at(report, "golden_weights"), "other");
    assert_string_equal(text_at(report, "outlier"), "golden-or-weights");
    assert_null(json_object_get(report, "drift"));
    assert_int_equal(json_array_size(accused), 1);
    assert_string_equal(text_at(json_array_get(accused, 0), "tensor"),
                        "model.layers.2.post_attention_layernorm.weight");
    assert_string_equal(text_at(json_object_get(report, "first_divergence"), "stage"), "ffn_norm");
    json_decref(report);
    outcome_free(&outcome);
    RUN(&outcome, 1, "diff", MODEL, "--golden", golden, "--on", "reference", "--all");
    expect_text(outcome.out, "\nGolden weights: others than MODEL's, ");
    expect_text(outcome.out, "model.layers.2.post_attention_layernorm.weight");
    expect_text(outcome.out, "diverged: golden, ");
    outcome_free(&outcome);
}

/* A bug in the engine is found and named beside such a golden, and the golden is not accused. */
static void a_bug_in_the_engine(void **state)
{
    (void)state;
    static const struct {
        const char *planted, *fault, *stage;
    } bugs[] = {
        {"residual-dropped@2", "residual-dropped", "layer_out"},
        {"kv-stale@1", "kv-stale", "attn_out"},
    };
    for (size_t i = 0; i < sizeof(bugs) / sizeof(bugs[0]); i++) {
        struct outcome outcome;
        RUN(&outcome, 1, "diff", MODEL, "--golden", UNQUANTISED ".h5", "--fault", bugs[i].planted, "--json", "-");
        json_t *report = parse_report(&outcome), *first = json_object_get(report, "first_divergence");
        assert_string_equal(text_at(report, "golden_weights"), "other-precision");
        assert_string_equal(text_at(report, "outlier"), "engine");
        assert_string_equal(text_at(first, "source"), "engine");
        assert_string_equal(text_at(first, "stage"), bugs[i].stage);
        assert_string_equal(text_at(json_array_get(json_object_get(report, "diagnosis"), 0), "fault"), bugs[i].fault);
        assert_int_equal(json_array_size(json_object_get(report, "drift")), 4);
        json_decref(report);
        outcome_free(&outcome);
    }
}

/* An error in the golden that is far below the rounding of its weights. */
static void golden_model(void **state)
{
    (void)state;
    char golden[512];
    struct outcome outcome;
    struct small_model small;
    small_open(&small, "tiny-llama", NULL);
    struct trace_stage *stage = stage_at(&small.golden, 1, STAGE_ffn_gate);
    stage->rows[(uint64_t)3 * stage->width + 20] += 1e-4F;
    trace_remove_stage(&small.golden, stage_at(&small.golden, 1, STAGE_ffn_act));
    assert_int_equal(trace_write(&small.golden, scratch_path(golden, folder, "wrong.h5"), NULL), STATUS_OK);
    small_close(&small);
    RUN(&outcome, 0, "diff", MODEL, "--golden", UNQUANTISED ".h5", "--golden-model", UNQUANTISED, "--on", "reference",
        "--all");
    expect_text(outcome.out, "\nGolden weights: MODEL's in another precision. ");
    outcome_free(&outcome);
    RUN(&outcome, 1, "diff", MODEL, "--golden", golden, "--golden-model", UNQUANTISED, "--on", "reference", "--json",
        "-");
    json_t *report = parse_report(&outcome), *first = json_object_get(report, "first_divergence");
    assert_string_equal(text_at(report, "outlier"), "golden-or-weights");
    assert_string_equal(text_at(first, "stage"), "ffn_gate");
    assert_int_equal(integer_at(first, "token"), 3);
    assert_int_equal(integer_at(first, "dim"), 20);
    json_decref(report);
    outcome_free(&outcome);
    /* The model must be the golden's. */
    RUN(&outcome, 3, "diff", MODEL, "--golden", UNQUANTISED ".h5", "--golden-model", MODEL, "--on", "reference");
    expect_one_line(outcome.err, "weights_sha256: ");
    outcome_free(&outcome);
    RUN(&outcome, 3, "diff", MODEL, "--golden", UNQUANTISED ".h5", "--golden-model", "golden/none", "--on",
        "reference");
    expect_one_line(outcome.err, "golden/none");
    outcome_free(&outcome);
}

/* Runs lines at the prompt. */
static void at_prompt(struct outcome *outcome, const char *golden, const char *lines)
{
    char script[512];
    FILE *file = fopen(scratch_path(script, folder, "script.dbg"), "w");
    assert_non_null(file);
    fputs(lines, file);
    fclose(file);
    RUN(outcome, 0, "debug", MODEL, "--golden", golden, "--on", "reference", "-x", script);
}

static void the_prompt_does_not_stop_at_it(void **state)
{
    (void)state;
    struct outcome outcome;
    at_prompt(&outcome, UNQUANTISED ".h5", "until diverge\naudit\naudit o_proj@2\nfirst\n");
    expect_text(outcome.out, "\nno step introduced an error\n");
    expect_text(outcome.out, "golden    64 stages pass, 0 fail, ");
    expect_text(outcome.out, ": weights of another precision\n");
    outcome_free(&outcome);
    /* The twin: a golden with an error of its own stops it. */
    char golden[512];
    struct small_model small;
    small_open(&small, "tiny-llama", NULL);
    struct trace_stage *stage = stage_at(&small.golden, 1, STAGE_q_rope);
    stage->rows[(uint64_t)3 * stage->width + 20] += 0.01F;
    assert_int_equal(trace_write(&small.golden, scratch_path(golden, folder, "wrong.h5"), NULL), STATUS_OK);
    small_close(&small);
    at_prompt(&outcome, golden, "until diverge\n");
    expect_text(outcome.out, "diverged: golden, layer 1 q_rope, token 3");
    outcome_free(&outcome);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_golden_of_the_unquantised_model, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_same_weights, set_up, tear_down),
        cmocka_unit_test_setup_teardown(other_weights, set_up, tear_down),
        cmocka_unit_test(a_bug_in_the_engine),
        cmocka_unit_test_setup_teardown(golden_model, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_prompt_does_not_stop_at_it, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
