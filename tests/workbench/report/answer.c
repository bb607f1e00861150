/* The answer: what `diff` prints first. Ten faults of ten kinds are planted, one by one and all at once; each time the
 * first line names source, layer, stage and token, and all fits 22 lines of 80 columns. */
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
#include "workbench/diagnose/extent.h"
#include "workbench/report/text_lines.h"
#include "workbench/report/wrapped_text.h"

#define LLAMA "golden/tiny-llama"
#define GEMMA "golden/tiny-gemma3"

SCRATCH_FIXTURE

/* Whether a text has at most `most` lines, none over `width` columns, none that ends with a blank, and whole words. */
static bool fits(const char *text, uint32_t most, size_t width)
{
    uint32_t n = 0;
    while (*text != '\0') {
        const char *end = strchr(text, '\n');
        if (end == NULL || end == text || end[-1] == ' ') {
            return false;
        }
        char *line = strndup(text, (size_t)(end - text));
        bool narrow = text_columns(line) <= width;
        free(line);
        if (!narrow || ++n > most) {
            return false;
        }
        text = end + 1;
    }
    return n > 0;
}

/* Whether all words of `part` stand in `text` one after the other, however its lines are broken. */
static bool holds_words(const char *text, const char *part)
{
    for (const char *begin = text; *begin != '\0'; begin++) {
        const char *at = begin, *word = part;
        while (*word != '\0') {
            if (*word == ' ' && (*at == ' ' || *at == '\n')) {
                at += strspn(at, " \n");
                word += strspn(word, " ");
            } else if (*word++ != *at++) {
                word = NULL;
                break;
            }
        }
        if (word != NULL) {
            return true;
        }
    }
    return false;
}

/* The checks themselves fail where they must. */
static void the_checks_fail(void **state)
{
    (void)state;
    char line[96], lines[64] = "";
    memset(line, 'x', sizeof(line));
    strcpy(line + 80, "\n");
    assert_true(fits(line, 22, 80));
    strcpy(line + 80, "x\n");
    assert_false(fits(line, 22, 80)); /* 81 columns */
    strcpy(line + 76, "\xc3\xa4\n");
    assert_true(fits(line, 22, 77)); /* a character of two bytes takes one column */
    assert_false(fits("a \nb\n", 22, 80));
    assert_false(fits("cut", 22, 80));
    assert_false(fits("", 22, 80));
    for (int i = 0; i < 23; i++) {
        assert_int_equal(fits(lines, 22, 80), i > 0);
        strcat(lines, "x\n");
    }
    assert_false(fits(lines, 22, 80)); /* 23 lines */
    assert_true(holds_words("one\n   two three", "two three"));
    assert_true(holds_words("one\n   two three", "one two"));
    assert_false(holds_words("one\n   three", "one two three"));
}

/* A fault of its own kind, where it is found, and its first line. */
static const struct planted {
    const char *model, *fault, *first;
} planted[] = {
    {GEMMA, "embed-scale-missing", "diverged: engine, embed, token 0, outlier engine\n"},
    {GEMMA, "qk-norm-no-offset@3", "diverged: engine, layer 3 q_norm, token 0, outlier engine\n"},
    {GEMMA, "softmax-sizes-swapped@4", "diverged: engine, layer 4 attn_out, token 0, outlier engine\n"},
    {GEMMA, "kv-stale@2", "diverged: engine, layer 2 attn_out, token 10, outlier engine\n"},
    {GEMMA, "residual-dropped@1", "diverged: engine, layer 1 layer_out, token 0, outlier engine\n"},
    {GEMMA, "weight-spike@5", "diverged: engine, layer 5 q_proj, token 0, outlier engine\n"},
    {GEMMA, "post-ffn-norm-skipped@2", "diverged: engine, layer 2 post_ffn_norm, token 0, outlier engine\n"},
    {GEMMA, "wg-sums-short@3.ffn_norm", "diverged: engine, layer 3 ffn_norm, token 0, outlier engine\n"},
    {LLAMA, "gelu-for-silu@1", "diverged: engine, layer 1 ffn_act, token 0, outlier engine\n"},
    {LLAMA, "mask-off-by-one@2", "diverged: engine, layer 2 attn_out, token 0, outlier engine\n"},
};
#define N_PLANTED (sizeof(planted) / sizeof(*planted))

/* What every answer must hold, labels and all. */
static void expect_answer(const char *text)
{
    static const char *const labels[] = {"op",      "token", "fails", "expected", "actual", "before",
                                         "culprit", "cause", "next",  "then",     "ran",    "--all"};
    for (size_t i = 0; i < sizeof(labels) / sizeof(*labels); i++) {
        char label[32];
        snprintf(label, sizeof(label), "\n  %-10s", labels[i]);
        expect_text(text, label);
    }
    expect_text(text, " times its bound\n");
}

static void each_fault_alone(void **state)
{
    (void)state;
#ifdef __SANITIZE_ADDRESS__ /* each takes half a minute then */
    const size_t n_planted = 3;
#else
    const size_t n_planted = N_PLANTED;
#endif
    for (size_t i = 0; i < n_planted; i++) {
        struct outcome outcome;
        char golden[64], name[64], goto_it[64];
        snprintf(golden, sizeof(golden), "%s.h5", planted[i].model);
        RUN(&outcome, 1, "diff", planted[i].model, "--golden", golden, "--fault", planted[i].fault);
        assert_ptr_equal(strstr(outcome.out, planted[i].first), outcome.out);
        if (!fits(outcome.out, 22, 80)) {
            fail_msg("%s does not fit:\n%s", planted[i].fault, outcome.out);
        }
        expect_answer(outcome.out);
        snprintf(name, sizeof(name), "\n  cause     %.*s (re", (int)strcspn(planted[i].fault, "@"), planted[i].fault);
        expect_text(outcome.out, name);
        /* The command that is printed can be pasted. */
        const char *next = strstr(outcome.out, "\n  next      ") + strlen("\n  next      ");
        size_t length = (size_t)(strstr(next, "\n  then ") - next);
        char *command = strndup(next, length);
        const char *then = next + length + strlen("\n  then      ");
        snprintf(goto_it, sizeof(goto_it), "%.*s\n", (int)strcspn(then, "\n"), then);
        const char *const words[] = {"-c", command, NULL};
        struct outcome prompt;
        program_run(&prompt, "/bin/sh", goto_it, words);
        assert_int_equal(prompt.status, 0);
        assert_string_equal(prompt.err, "");
        free(command);
        outcome_free(&prompt);
        outcome_free(&outcome);
    }
}

/* All eight of one model at once: one line a bug. */
static void all_faults_at_once(void **state)
{
    (void)state;
    struct outcome outcome;
    RUN(&outcome, 1, "diff", GEMMA, "--golden", GEMMA ".h5", "--fault", planted[0].fault, "--fault", planted[1].fault,
        "--fault", planted[2].fault, "--fault", planted[3].fault, "--fault", planted[4].fault, "--fault",
        planted[5].fault, "--fault", planted[6].fault, "--fault", planted[7].fault, "--fault",
        "norm-no-offset@1.attn_norm", "--fault", "layernorm-for-rmsnorm@4.attn_norm");
    if (!fits(outcome.out, 22, 80)) {
        fail_msg("does not fit:\n%s", outcome.out);
    }
    assert_ptr_equal(strstr(outcome.out, planted[0].first), outcome.out);
    static const char *const also[] = {"qk-norm-no-offset (reproduced) at layer 3 q_norm, k_norm",
                                       "softmax-sizes-swapped (reproduced) at layer 4 attn_out",
                                       "kv-stale (reproduced) at layer 2 attn_out",
                                       "residual-dropped (reproduced) at layer 1 layer_out",
                                       "weight-spike (relation) at layer 5 q_proj",
                                       "post-ffn-norm-skipped (reproduced) at layer 2 post_ffn_norm",
                                       "wg-sums-short (reproduced) at layer 3 ffn_norm",
                                       "norm-no-offset (reproduced) at layer 1 attn_norm",
                                       "layernorm-for-rmsnorm (reproduced) at layer 4 attn_norm"};
    for (size_t i = 0; i < sizeof(also) / sizeof(*also); i++) {
        char line[128];
        snprintf(line, sizeof(line), "\n  also      engine: %s\n", also[i]);
        expect_text(outcome.out, line);
    }
    outcome_free(&outcome);
}

/* A diagnosis of the JSON report. */
static json_t *diagnosis_at(json_t *report, size_t i)
{
    return json_array_get(json_object_get(report, "diagnosis"), i);
}

/* One bug in every layer is one diagnosis, with its layers; the text is whole where there is room. */
static void one_bug_is_told_once(void **state)
{
    (void)state;
    struct outcome outcome;
    RUN(&outcome, 1, "diff", LLAMA, "--golden", LLAMA ".h5", "--fault", "softmax-sizes-swapped", "--json", "-");
    json_t *report = parse_report(&outcome), *entry, *first = diagnosis_at(report, 0);
    size_t i, n = 0;
    json_array_foreach(json_object_get(report, "diagnosis"), i, entry)
    {
        n += strcmp(text_at(entry, "fault"), "softmax-sizes-swapped") == 0;
    }
    assert_int_equal(n, 1);
    assert_int_equal(json_array_size(json_object_get(report, "introduced")), 4);
    json_t *layers = json_pack("[iiii]", 0, 1, 2, 3);
    assert_true(json_equal(json_object_get(first, "layers"), layers));
    assert_string_equal(json_string_value(json_array_get(json_object_get(first, "next"), 0)), "goto 0.attn_out 0");
    json_t *provenance = json_object_get(report, "provenance");
    assert_string_equal(json_string_value(json_array_get(json_object_get(provenance, "command"), 1)), "diff");
    assert_int_equal(strlen(text_at(json_object_get(provenance, "model"), "sha256")), 64);
    assert_true(json_is_string(json_object_get(provenance, "device")));
    assert_int_equal(json_array_size(json_object_get(provenance, "tokens")), 16);
    outcome_free(&outcome);
    RUN(&outcome, 1, "diff", LLAMA, "--golden", LLAMA ".h5", "--fault", "softmax-sizes-swapped", "--all");
    expect_text(outcome.out, "softmax-sizes-swapped (reproduced), layers 0-3: ");
    expect_text(outcome.out, "Per op, worst layer (@N): ");
    assert_true(holds_words(outcome.out, text_at(first, "text")));
    json_decref(layers);
    json_decref(report);
    outcome_free(&outcome);
    /* The twin: two bugs at one stage stay two. */
    RUN(&outcome, 1, "diff", LLAMA, "--golden", LLAMA ".h5", "--fault", "softmax-sizes-swapped@0", "--fault",
        "mask-off-by-one@2", "--json", "-");
    report = parse_report(&outcome);
    assert_int_equal(json_array_size(json_object_get(diagnosis_at(report, 0), "layers")), 1);
    n = 0;
    json_array_foreach(json_object_get(report, "diagnosis"), i, entry)
    {
        n += strcmp(text_at(entry, "fault"), "mask-off-by-one") == 0 && integer_at(entry, "layer") == 2;
    }
    assert_int_equal(n, 1);
    json_decref(report);
    outcome_free(&outcome);
}

/* Parity: at most five lines, without and with a file of other weights, and with stages missing. */
static void parity_is_short(void **state)
{
    (void)state;
    static const char *const traces[] = {LLAMA ".h5", "golden/wrong/nothing.h5"};
    for (size_t i = 0; i < 2; i++) {
        struct outcome outcome;
        RUN(&outcome, 0, "audit", LLAMA, traces[i]);
        if (!fits(outcome.out, 5, 80)) {
            fail_msg("does not fit:\n%s", outcome.out);
        }
        assert_ptr_equal(strstr(outcome.out, "parity: every "), outcome.out);
        expect_text(outcome.out, "\n  coverage  ");
        expect_text(outcome.out, "\n  ran       ");
        outcome_free(&outcome);
        RUN(&outcome, 0, "audit", LLAMA, traces[i], "--all");
        assert_false(fits(outcome.out, 5, 80));
        expect_text(outcome.out, "\nCoverage: ");
        expect_text(outcome.out, "\nProvenance\n");
        outcome_free(&outcome);
    }
}

/* A path of any length can be pasted: a backslash ends each line that goes on. */
static void long_commands_can_be_pasted(void **state)
{
    (void)state;
    static const char command[] =
        "printf %s\\\\n /a/path\\ with\\ blanks/that-goes-on-and-on-and-on-and-on-and-on-and-on-and-on-and-on-and-on-"
        "and-on-\\$until-no-line-holds-it --golden /another/one-that-alone-fits-a-line-of-eighty-columns --last";
    struct text_lines lines = {0};
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    lines_add_command(&lines, "next", command);
    lines_print(&lines, out);
    fclose(out);
    assert_true(fits(text, 22, 80));
    struct outcome outcome;
    const char *const words[] = {"-c", text + strlen("  next"), NULL};
    program_run(&outcome, "/bin/sh", "", words);
    assert_string_equal(outcome.out,
                        "/a/path with blanks/that-goes-on-and-on-and-on-and-on-and-on-and-on-and-on-and-on-"
                        "and-on-and-on-$until-no-line-holds-it\n--golden\n"
                        "/another/one-that-alone-fits-a-line-of-eighty-columns\n--last\n");
    outcome_free(&outcome);
    lines_free(&lines);
    free(text);
}

/* Which rows fail, in words. phases and failed: a character a position. */
static void rows_in_words(void **state)
{
    (void)state;
    static const struct {
        const char *phase, *failed, *text;
    } cases[] = {
        {"ppppdd", "xxxxxx", "all"},
        {"ppppdd", "xxxx..", "prefill"},
        {"ppppdd", "....xx", "decode"},
        {"ppppdd", ".xxxxx", "all but position 0"},
        {"ppppdd", "...xxx", "from 3"},
        {"ppppdd", ".xxx..", "prefill but position 0"},
        {"ppppdd", "..xx..", "prefill from 2"},
        {"ppppddd", ".....xx", "from 5"},
        {"ppppdd", "..x...", "position 2"},
        {"ppppdd", ".....x", "position 5"},
        {"ppppdd", "x.xx.x", "position 0, 2-3, 5"},
        {"ppppdd", "xx....", "positions 0-1"},
        {"pppppppppppppppppppppppppppppppppp", "x.x.x.x.x.x.x.x.x.x.x.x.x.x.x.x.x.", "17 of 34"},
        {"ppppdd", "......", ""},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        uint32_t position[64], n = (uint32_t)strlen(cases[i].phase);
        uint8_t phase[64], failed[64];
        char text[48];
        for (uint32_t p = 0; p < n; p++) {
            position[p] = p;
            phase[p] = cases[i].phase[p] == 'd' ? PHASE_DECODE : PHASE_PREFILL;
            failed[p] = cases[i].failed[p] == 'x';
        }
        extent_rows(&(struct judged_rows){n, position, phase, failed}, text);
        assert_string_equal(text, cases[i].text);
    }
}

/* Dims are a part of the row only where chance does not explain the rest. */
static void dims_by_chance(void **state)
{
    (void)state;
    struct extent extent;
    uint8_t failed[128] = {0};
    failed[40] = 1;
    extent_dims(&extent, failed, 128);
    assert_true(extent.first_dim == 40 && extent.end_dim == 41);
    memset(failed, 1, 64);
    extent_dims(&extent, failed, 128);
    assert_true(extent.first_dim == 0 && extent.end_dim == 64);
    memset(failed, 0, 128);
    for (int d = 3; d < 128; d += 4) { /* one of four: the three before the first say nothing */
        failed[d] = 1;
    }
    extent_dims(&extent, failed, 128);
    assert_true(extent.first_dim == 0 && extent.end_dim == 0);
    failed[127] = failed[123] = 0;
    for (int d = 96; d < 128; d++) { /* the last 32 do */
        failed[d] = 0;
    }
    extent_dims(&extent, failed, 128);
    assert_true(extent.first_dim == 0 && extent.end_dim == 96);
}

/* Heads: of a trace in which the second head of an attention's output is wrong from position 3 on. */
static void one_head_fails(void **state)
{
    (void)state;
    struct small_model small;
    struct outcome outcome;
    char path[512];
    small_open(&small, "tiny-llama", NULL);
    struct trace_stage *stage = stage_at(&small.golden, 1, STAGE_attn_out);
    int32_t step = plan_find(&small.plan, 1, STAGE_attn_out);
    uint32_t dim = small.plan.steps[step].params.attention.dim;
    for (uint32_t p = 3; p < small.golden.n_positions; p++) {
        for (uint32_t d = dim; d < 2 * dim; d++) {
            stage->rows[(uint64_t)p * stage->width + d] *= 1.5f;
        }
    }
    assert_int_equal(trace_write(&small.golden, scratch_path(path, folder, "head.h5"), NULL), STATUS_OK);
    small_close(&small);
    RUN(&outcome, 1, "audit", LLAMA, path, "--json", "-");
    json_t *report = parse_report(&outcome), *first = diagnosis_at(report, 0);
    json_t *heads = json_pack("[i]", 1), *dims = json_pack("[ii]", (int)dim, (int)(2 * dim));
    assert_string_equal(text_at(first, "rows"), "from 3");
    assert_true(json_equal(json_object_get(first, "heads"), heads));
    assert_true(json_equal(json_object_get(first, "dims"), dims));
    json_decref(heads);
    json_decref(dims);
    json_decref(report);
    outcome_free(&outcome);
    RUN(&outcome, 1, "audit", LLAMA, path);
    expect_text(outcome.out, " rows: from 3; head 1 alone; dims ");
    outcome_free(&outcome);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_checks_fail),
        cmocka_unit_test(rows_in_words),
        cmocka_unit_test(dims_by_chance),
        cmocka_unit_test(long_commands_can_be_pasted),
        cmocka_unit_test(parity_is_short),
        cmocka_unit_test(one_bug_is_told_once),
        cmocka_unit_test(each_fault_alone),
        cmocka_unit_test(all_faults_at_once),
        cmocka_unit_test_setup_teardown(one_head_fails, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
