/* diff, audit, compare and faults as scripts use them: exit statuses, the JSON report, one line for an error. Only the
 * last tests need a device. */
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

#define LLAMA "golden/tiny-llama"
#define GEMMA "golden/tiny-gemma3"

SCRATCH_FIXTURE

/* Writes tiny-gemma3's golden with one value replaced. */
static void write_changed_golden(char path[512], int32_t layer, enum stage stage, uint32_t position, uint32_t dim,
                                 float value)
{
    struct small_model small;
    small_open(&small, "tiny-gemma3", NULL);
    struct trace_stage *at = stage_at(&small.golden, layer, stage);
    at->rows[(uint64_t)position * at->width + dim] = value;
    assert_int_equal(trace_write(&small.golden, scratch_path(path, folder, "changed.h5"), NULL), STATUS_OK);
    small_close(&small);
}

static void goldens_pass_their_audit(void **state)
{
    (void)state;
    static const struct {
        const char *model, *golden;
        json_int_t stages;
    } goldens[] = {{LLAMA, LLAMA ".h5", 64}, {GEMMA, GEMMA ".h5", 118}};
    for (size_t i = 0; i < 2; i++) {
        struct outcome outcome;
        RUN(&outcome, 0, "audit", goldens[i].model, goldens[i].golden, "--json", "-");
        json_t *report = parse_report(&outcome), *coverage = json_object_get(report, "coverage"), *stage;
        size_t k;
        assert_string_equal(text_at(report, "format"), "lockstep-report");
        assert_int_equal(integer_at(report, "version"), 1);
        assert_string_equal(text_at(report, "verdict"), "parity");
        assert_string_equal(text_at(report, "outlier"), "none");
        assert_true(json_is_null(json_object_get(report, "first_divergence")));
        assert_int_equal(json_array_size(json_object_get(report, "introduced")), 0);
        assert_int_equal(json_array_size(json_object_get(report, "diagnosis")), 0);
        assert_true(json_is_null(json_object_get(report, "next")));
        assert_int_equal(integer_at(coverage, "expected"), goldens[i].stages);
        assert_int_equal(integer_at(coverage, "compared"), goldens[i].stages);
        assert_int_equal(json_array_size(json_object_get(coverage, "missing")), 0);
        assert_int_equal(json_array_size(json_object_get(report, "stages")), goldens[i].stages);
        json_array_foreach(json_object_get(report, "stages"), k, stage)
        {
            assert_true(json_real_value(json_object_get(stage, "max_ratio")) <= 1);
            assert_true(json_real_value(json_object_get(stage, "rms")) > 0);
            assert_int_equal(integer_at(stage, "nonfinite"), 0);
        }
        stage = json_array_get(json_object_get(report, "stages"), 0);
        assert_true(json_is_null(json_object_get(stage, "layer")));
        assert_string_equal(text_at(stage, "stage"), "embed");
        json_decref(report);
        outcome_free(&outcome);
    }
}

/* A golden with a NaN in one stage. */
static void nan_is_found_and_is_text_in_json(void **state)
{
    (void)state;
    char path[512];
    struct outcome outcome;
    write_changed_golden(path, 4, STAGE_ffn_act, 11, 70, NAN);
    RUN(&outcome, 1, "diff", GEMMA, "--golden", path, "--on", "reference", "--json", "-");
    json_t *report = parse_report(&outcome), *first = json_object_get(report, "first_divergence");
    assert_string_equal(text_at(report, "verdict"), "diverged");
    assert_string_equal(text_at(report, "outlier"), "golden-or-weights");
    assert_string_equal(text_at(first, "stage"), "ffn_act");
    assert_string_equal(text_at(first, "source"), "golden");
    assert_string_equal(text_at(first, "phase"), "decode");
    assert_int_equal(integer_at(first, "layer"), 4);
    assert_int_equal(integer_at(first, "token"), 11);
    assert_int_equal(integer_at(first, "dim"), 70);
    assert_string_equal(text_at(first, "actual"), "NaN");
    assert_string_equal(text_at(first, "ratio"), "Infinity");
    assert_int_equal(json_array_size(json_object_get(report, "introduced")), 1);
    json_decref(report);
    outcome_free(&outcome);
    RUN(&outcome, 1, "audit", GEMMA, path);
    expect_text(outcome.out, "diverged: trace, layer 4 ffn_act, token 11, outlier trace\n");
    expect_text(outcome.out, "\n  token     11 (id ");
    expect_text(outcome.out, "dim 70");
    expect_text(outcome.out, "\n  culprit   trace, or MODEL: it may have run with other weights or config\n");
    outcome_free(&outcome);
}

/* One bit of MODEL's weights is flipped: both our sides run with it, and only the golden fails. */
static void flipped_bit_is_golden_or_weights(void **state)
{
    (void)state;
    char model[512];
    struct outcome outcome;
    small_copy_flipped("tiny-gemma3", folder, "model.layers.3.self_attn.q_proj.weight", 77 * 72 + 5, 26);
    RUN(&outcome, 1, "diff", scratch_path(model, folder, "tiny-gemma3"), "--golden", GEMMA ".h5", "--on", "reference",
        "--json", "-");
    json_t *report = parse_report(&outcome), *first = json_object_get(report, "first_divergence");
    assert_string_equal(text_at(report, "outlier"), "golden-or-weights");
    assert_int_equal(integer_at(first, "layer"), 3);
    assert_string_equal(text_at(first, "stage"), "q_proj");
    assert_int_equal(integer_at(first, "dim"), 77);
    json_t *diagnosis = json_array_get(json_object_get(report, "diagnosis"), 0);
    assert_string_equal(text_at(diagnosis, "fault"), "one-weight");
    assert_string_equal(text_at(diagnosis, "how"), "relation");
    assert_non_null(strstr(text_at(diagnosis, "text"), "[77, 5]"));
    expect_text(text_at(report, "next"), "check this weight");
    expect_no_text(text_at(report, "next"), "check the norm's offset");
    assert_non_null(
        strstr(json_string_value(json_array_get(json_object_get(report, "notes"), 0)), "other weights than MODEL's"));
    json_decref(report);
    outcome_free(&outcome);
}

/* No line of the whole report is wider than 100 columns, and none ends with a blank. */
static void report_fits_a_terminal(void **state)
{
    (void)state;
    char path[512];
    struct outcome outcome;
    write_changed_golden(path, 2, STAGE_q_norm, 3, 40, 1e30f);
    RUN(&outcome, 1, "diff", GEMMA, "--golden", path, "--on", "reference", "--all");
    size_t length = 0;
    for (const char *at = outcome.out; *at; at++) {
        assert_true(*at != '\n' || at == outcome.out || at[-1] != ' ');
        length = *at == '\n' ? 0 : length + ((*at & 0xc0) != 0x80);
        assert_true(length <= 100);
    }
    expect_text(outcome.out, "layer_out");
    expect_text(outcome.out, "\nCoverage: 118 of 118 stages compared in reference and golden\n");
    expect_text(outcome.out, " times its bound\n");
    expect_text(outcome.out, "\n  culprit   golden, or MODEL: ");
    expect_text(outcome.out, "(reproduced: planting this bug gives the recorded values; relation: ");
    assert_string_equal(outcome.err, ""); /* no progress where standard error is no terminal */
    outcome_free(&outcome);
}

/* What follows the answer is asked for by name, or by --all. */
static void parts_of_the_report(void **state)
{
    (void)state;
    static const struct {
        const char *option;
        bool table, ledger, all;
    } cases[] = {{NULL, false, false, false},
                 {"--table", true, false, false},
                 {"--ledger", false, true, false},
                 {"--all", true, true, true}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct outcome outcome;
        RUN(&outcome, 0, "diff", LLAMA, "--golden", LLAMA ".h5", "--trace", LLAMA ".h5", cases[i].option);
        (cases[i].table ? expect_text : expect_no_text)(outcome.out, "Per op, worst layer (@N): ");
        (cases[i].ledger ? expect_text : expect_no_text)(outcome.out, "Gain ledger of the trace: ");
        (cases[i].all ? expect_text : expect_no_text)(outcome.out, "Coverage: 64 of 64 stages compared in ");
        (cases[i].all ? expect_text : expect_no_text)(outcome.out, "\nProvenance\n  lockstep  ");
        assert_ptr_equal(strstr(outcome.out, "parity: every op of trace, reference and golden"), outcome.out);
        outcome_free(&outcome);
    }
}

static void json_file_is_written_whole(void **state)
{
    (void)state;
    char path[512], missing[512];
    struct outcome outcome;
    json_error_t error;
    RUN(&outcome, 0, "audit", LLAMA, LLAMA ".h5", "--json", scratch_path(path, folder, "report.json"));
    expect_text(outcome.out, "parity: ");
    json_t *report = json_load_file(path, 0, &error);
    assert_non_null(report);
    json_decref(report);
    outcome_free(&outcome);
    RUN(&outcome, 5, "audit", LLAMA, LLAMA ".h5", "--json", scratch_path(missing, folder, "no/report.json"));
    expect_one_line(outcome.err, "no/report.json");
    outcome_free(&outcome);
    RUN(&outcome, 5, "audit", LLAMA, LLAMA ".h5", "--json", "/dev/full");
    expect_one_line(outcome.err, "/dev/full");
    outcome_free(&outcome);
}

/* Another trace's tokens, another model's trace, and a file that is no trace are refused. */
static void wrong_input(void **state)
{
    (void)state;
    char path[512];
    struct small_model small;
    struct outcome outcome;
    small_open(&small, "tiny-llama", NULL);
    small.golden.tokens[7] = 1 + small.golden.tokens[7] % 100;
    assert_int_equal(trace_write(&small.golden, scratch_path(path, folder, "tokens.h5"), NULL), STATUS_OK);
    small_close(&small);
    RUN(&outcome, 3, "diff", LLAMA, "--golden", LLAMA ".h5", "--trace", path);
    expect_one_line(outcome.err, "tokens.h5: /tokens: position 7 is token");
    outcome_free(&outcome);
    RUN(&outcome, 1, "audit", LLAMA, path);
    expect_text(outcome.out, "diverged: trace, embed, token 7, ");
    expect_text(outcome.out, "\n  token     7 (id ");
    outcome_free(&outcome);
    RUN(&outcome, 1, "compare", LLAMA ".h5", path); /* only the common beginning is compared */
    expect_text(outcome.out, "the first 7 tokens are the same, and are compared");
    expect_text(outcome.out, " are bit-identical\n");
    outcome_free(&outcome);
    RUN(&outcome, 3, "audit", LLAMA, GEMMA ".h5");
    expect_one_line(outcome.err, "n_layers: is 6, expected 4");
    outcome_free(&outcome);
    scratch_write(scratch_path(path, folder, "text.h5"), "no trace\n", 9);
    RUN(&outcome, 3, "diff", LLAMA, "--golden", path);
    expect_one_line(outcome.err, "text.h5: HDF5");
    outcome_free(&outcome);
    RUN(&outcome, 3, "audit", LLAMA, "no-such-file.h5");
    expect_one_line(outcome.err, "no-such-file.h5: cannot be opened");
    outcome_free(&outcome);
}

static void wrong_usage(void **state)
{
    (void)state;
    struct outcome outcome;
    RUN(&outcome, 2, "diff", LLAMA);
    expect_one_line(outcome.err, "--golden");
    outcome_free(&outcome);
    RUN(&outcome, 2, "diff", LLAMA, "--golden", LLAMA ".h5", "--on", "gpu");
    expect_one_line(outcome.err, "--on");
    outcome_free(&outcome);
    RUN(&outcome, 2, "diff", LLAMA, "--golden", LLAMA ".h5", "--on", "reference", "--fault", "kv-stale");
    expect_one_line(outcome.err, "--fault");
    outcome_free(&outcome);
    RUN(&outcome, 2, "diff", LLAMA, "--golden", LLAMA ".h5", "--trace", LLAMA ".h5", "--on", "engine");
    expect_one_line(outcome.err, "--on");
    outcome_free(&outcome);
}

/* A trace in the engine's place is at parity; with one wrong value it is the outlier. */
static void foreign_trace(void **state)
{
    (void)state;
    char path[512];
    struct outcome outcome;
    RUN(&outcome, 0, "diff", GEMMA, "--golden", GEMMA ".h5", "--trace", GEMMA ".h5");
    expect_text(outcome.out, "trace");
    expect_text(outcome.out, "reference");
    expect_text(outcome.out, "golden");
    outcome_free(&outcome);
    write_changed_golden(path, 1, STAGE_o_proj, 2, 30, 4);
    RUN(&outcome, 1, "diff", GEMMA, "--golden", GEMMA ".h5", "--trace", path, "--json", "-");
    json_t *report = parse_report(&outcome);
    assert_string_equal(text_at(report, "outlier"), "trace");
    assert_string_equal(text_at(json_object_get(report, "first_divergence"), "stage"), "o_proj");
    json_decref(report);
    outcome_free(&outcome);
}

/* Joins lines that were broken between words: a further one is indented by two blanks. */
static void unwrap(char *text)
{
    char *to = text;
    for (const char *from = text; *from != '\0'; from++) {
        bool broken = from[0] == '\n' && from[1] == ' ' && from[2] == ' ' && from[3] != ' ';
        *to++ = broken ? ' ' : *from;
        from += broken ? 2 : 0;
    }
    *to = '\0';
}

/* All ops pass, and yet another token is the likeliest: one line names both tokens, how close they are, and rounding as
 * the cause. The twins: without rounding there is no such line; with a stage missing, the line says so. */
static void a_choice_that_rounding_decides(void **state)
{
    (void)state;
    static const enum stage rounded[] = {STAGE_logits, STAGE_logits_final};
    char path[512];
    struct outcome outcome;
    for (int lacks = 0; lacks < 2; lacks++) {
        struct trace trace;
        assert_int_equal(trace_read(&trace, "golden/tiny-gemma2-odd.h5", NULL), STATUS_OK);
        for (int i = 0; i < 2; i++) {
            struct trace_stage *stage = trace_find(&trace, LAYER_NONE, rounded[i]);
            assert_true(float_type("bfloat16", &stage->arith.u_storage, &stage->arith.eta));
            for (uint64_t k = 0; k < (uint64_t)trace.n_positions * stage->width; k++) {
                uint32_t bits;
                memcpy(&bits, &stage->rows[k], sizeof(bits));
                bits = (bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000u;
                memcpy(&stage->rows[k], &bits, sizeof(bits));
            }
        }
        if (lacks) {
            struct trace_stage *stage = trace_find(&trace, 1, STAGE_o_proj);
            memset(stage->recorded, 0, trace.n_positions);
            stage->n_recorded = 0;
        }
        assert_int_equal(trace_write(&trace, scratch_path(path, folder, "rounded.h5"), NULL), STATUS_OK);
        trace_free(&trace);
        RUN(&outcome, 0, "diff", "golden/tiny-gemma2-odd", "--golden", "golden/tiny-gemma2-odd.h5", "--trace", path);
        expect_text(outcome.out, "\n  --all     2 notes, among them: the next token is not the golden's\n");
        outcome_free(&outcome);
        RUN(&outcome, 0, "diff", "golden/tiny-gemma2-odd", "--golden", "golden/tiny-gemma2-odd.h5", "--trace", path,
            "--all");
        unwrap(outcome.out);
        expect_text(outcome.out, "Note: after token 2 the likeliest next is ");
        expect_text(outcome.out, lacks ? "though every op that could be judged passes: what bfloat16 rounds adds up to "
                                       : "though every op passes: what bfloat16 rounds adds up to ");
        expect_text(outcome.out, "; try a golden in float32\nNote: the same after 3 other tokens in ");
        if (lacks) {
            expect_text(outcome.out, ", or a stage that is missing (see Coverage) is wrong");
        }
        outcome_free(&outcome);
    }
    RUN(&outcome, 0, "diff", "golden/tiny-gemma2-odd", "--golden", "golden/tiny-gemma2-odd.h5", "--trace",
        "golden/tiny-gemma2-odd.h5", "--all");
    expect_no_text(outcome.out, "the likeliest next is");
    outcome_free(&outcome);
}

/* A healthy engine that rounds without a word: its arithmetic is named, and with --strict it is a divergence. */
static void undeclared_arithmetic(void **state)
{
    (void)state;
    struct outcome outcome;
    const char *engine = "golden/real/llama.cpp-flash-attention.h5", *float32 = "golden/real/onnxruntime.h5";
    RUN(&outcome, 0, "audit", LLAMA, engine);
    expect_text(outcome.out, "  rounding  attention q, k, v, sums in f16 (inferred)\n");
    outcome_free(&outcome);
    RUN(&outcome, 1, "audit", LLAMA, engine, "--strict", "--json", "-");
    json_t *report = parse_report(&outcome);
    assert_string_equal(text_at(json_array_get(json_object_get(report, "diagnosis"), 0), "kind"), "precision");
    json_decref(report);
    outcome_free(&outcome);
    RUN(&outcome, 0, "audit", LLAMA, float32, "--strict"); /* the twin */
    expect_no_text(outcome.out, "rounding  ");
    outcome_free(&outcome);
}

static void compare(void **state)
{
    struct outcome widths;
    RUN(&widths, 3, "compare", LLAMA ".h5", "golden/tiny-gemma2.h5");
    expect_one_line(widths.err, "rows have 64 values, expected 96");
    outcome_free(&widths);
    (void)state;
    char path[512];
    struct outcome outcome;
    RUN(&outcome, 0, "compare", GEMMA ".h5", GEMMA ".h5");
    expect_text(outcome.out, "118 of 118 (layer, stage) pairs are bit-identical");
    outcome_free(&outcome);
    write_changed_golden(path, 1, STAGE_o_proj, 2, 30, 4);
    RUN(&outcome, 1, "compare", GEMMA ".h5", path, "--json", "-");
    json_t *report = parse_report(&outcome), *stage;
    size_t i, n_differing = 0;
    assert_false(json_is_true(json_object_get(report, "identical")));
    json_array_foreach(json_object_get(report, "stages"), i, stage)
    {
        if (json_is_true(json_object_get(stage, "identical"))) {
            continue;
        }
        n_differing++;
        assert_string_equal(text_at(stage, "stage"), "o_proj");
        assert_int_equal(integer_at(stage, "layer"), 1);
        assert_int_equal(integer_at(stage, "token"), 2);
        assert_int_equal(integer_at(stage, "dim"), 30);
        assert_true(json_real_value(json_object_get(stage, "cosine")) < 1);
    }
    assert_int_equal(n_differing, 1);
    json_decref(report);
    outcome_free(&outcome);
    write_changed_golden(path, 1, STAGE_o_proj, 2, 30, NAN);
    RUN(&outcome, 0, "compare", path, path); /* the same bits */
    outcome_free(&outcome);
    RUN(&outcome, 1, "compare", path, GEMMA ".h5");
    expect_text(outcome.out, "layer 1 o_proj                      inf");
    outcome_free(&outcome);
    char logits[512], norms[512]; /* nothing is in both */
    scratch_path(logits, folder, "logits.h5");
    scratch_path(norms, folder, "norms.h5");
    RUN(&outcome, 0, "trace", LLAMA, "--on", "reference", "--ids", "1,2,3", "--stages", "logits_final", "-o", logits);
    outcome_free(&outcome);
    RUN(&outcome, 0, "trace", LLAMA, "--on", "reference", "--ids", "1,2,3", "--stages", "attn_norm", "-o", norms);
    outcome_free(&outcome);
    RUN(&outcome, 7, "compare", logits, norms);
    expect_text(outcome.out, "undecided: no row is recorded in both traces");
    outcome_free(&outcome);
    RUN(&outcome, 0, "compare", logits, logits);
    outcome_free(&outcome);
    RUN(&outcome, 7, "audit", LLAMA, logits, "--json", "-");
    report = parse_report(&outcome);
    assert_string_equal(text_at(report, "verdict"), "undecided");
    json_decref(report);
    outcome_free(&outcome);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(goldens_pass_their_audit, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_choice_that_rounding_decides, set_up, tear_down),
        cmocka_unit_test_setup_teardown(nan_is_found_and_is_text_in_json, set_up, tear_down),
        cmocka_unit_test_setup_teardown(flipped_bit_is_golden_or_weights, set_up, tear_down),
        cmocka_unit_test_setup_teardown(report_fits_a_terminal, set_up, tear_down),
        cmocka_unit_test(parts_of_the_report),
        cmocka_unit_test_setup_teardown(json_file_is_written_whole, set_up, tear_down),
        cmocka_unit_test_setup_teardown(wrong_input, set_up, tear_down),
        cmocka_unit_test_setup_teardown(wrong_usage, set_up, tear_down),
        cmocka_unit_test_setup_teardown(foreign_trace, set_up, tear_down),
        cmocka_unit_test_setup_teardown(undeclared_arithmetic, set_up, tear_down),
        cmocka_unit_test_setup_teardown(compare, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
