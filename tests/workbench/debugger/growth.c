/* growth, stats, report, transcript, -x with --interactive: what a person looks at first, and takes away. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "model/error.h"
#include "tests/support/program.h"
#include "tests/support/scratch.h"

#define GEMMA "golden/tiny-gemma3"
#define GEMMA_GOLDEN "golden/tiny-gemma3.h5"
#define LLAMA "golden/tiny-llama"

SCRATCH_FIXTURE

/* Runs lines at the prompt; fault: NULL for none. */
static void converse(struct outcome *outcome, const char *lines, const char *fault)
{
    const char *const arguments[] = {"debug", GEMMA, "--golden", GEMMA_GOLDEN, fault != NULL ? "--fault" : NULL,
                                     fault,   NULL};
    program_converse(outcome, LOCKSTEP_PROGRAM, lines, arguments);
}

/* Requires that no line after `head` is wider than this. */
static void expect_narrow(const char *text, const char *head, size_t columns)
{
    for (const char *at = strstr(text, head); at != NULL && *at != '\0'; at += strcspn(at, "\n") + 1) {
        if (strcspn(at, "\n") > columns) {
            fail_msg("wider than %zu columns: %.*s", columns, (int)strcspn(at, "\n"), at);
        }
        if (strncmp(at, "dbg> set width", 14) == 0) {
            return;
        }
    }
}

static void growth_shows_where_sides_part(void **state)
{
    (void)state;
    struct outcome outcome;
    static const char lines[] = "growth\nrun 1\ngrowth\nset width 60\ngrowth\ngrowth attn_out -1\n";
    converse(&outcome, lines, NULL);
    expect_text(outcome.err, "growth: nothing ran yet");
    expect_text(outcome.out, "layer_out by layer, of like rows: tokens 0 to 9\n");
    expect_text(outcome.out, "layer    engine reference    golden    engine reference    golden  ratio   grew\n");
    expect_text(outcome.out, "the largest values of engine and golden grow alike\n");
    expect_text(outcome.out, "layer    engine reference    golden  ratio   grew\n"); /* 60 columns have no rms */
    expect_text(outcome.out, "attn_out by layer, of like rows: token 9\n");
    expect_no_text(outcome.out, "parts most");
    expect_narrow(outcome.out, "layer_out by layer", 80);
    expect_narrow(strstr(outcome.out, "set width 60") + 1, "layer_out by layer", 60);
    outcome_free(&outcome);
    /* The twin: a bug in layer 3 alone. */
    converse(&outcome, "run 1\ngrowth\ngrowth q_proj\ngrowth embed\ngrowth layer_out 10\n", "weight-spike@3");
    expect_text(outcome.out, "< engine/golden parts most at layer 3: 1.000 to ");
    expect_no_text(outcome.out, "layer_out grow alike");
    expect_text(outcome.err, "growth: embed is outside the layers");
    expect_text(outcome.err, "token: \"10\", expected a number from -10 to 9");
    outcome_free(&outcome);
}

/* The entry of a layer in the report's "growth". */
static json_t *layer_entry(json_t *growth, size_t i)
{
    return json_array_get(json_object_get(growth, "layers"), i);
}

static double number(json_t *entry, const char *key, const char *source)
{
    return json_number_value(json_object_get(json_object_get(entry, key), source));
}

static void diff_prints_it_too(void **state)
{
    (void)state;
    struct outcome outcome;
    char json[512];
    const char *const arguments[] = {"diff",
                                     GEMMA,
                                     "--golden",
                                     GEMMA_GOLDEN,
                                     "--growth",
                                     "--device",
                                     "0",
                                     "--fault",
                                     "weight-spike@3",
                                     "--json",
                                     scratch_path(json, folder, "report.json"),
                                     NULL};
    program_run(&outcome, LOCKSTEP_PROGRAM, "", arguments);
    assert_int_equal(outcome.status, 1);
    expect_text(outcome.out, "< engine/golden parts most at layer 3: 1.000 to ");
    expect_narrow(outcome.out, "layer_out by layer", 80);
    outcome_free(&outcome);
    json_t *root = json_load_file(json, 0, NULL), *growth = json_object_get(root, "growth");
    assert_string_equal(json_string_value(json_object_get(growth, "stage")), "layer_out");
    assert_int_equal(json_array_size(json_object_get(growth, "layers")), 8); /* embed, 6 layers, final_norm */
    assert_int_equal(json_integer_value(json_object_get(json_object_get(growth, "parts_most"), "layer")), 3);
    json_t *sound = layer_entry(growth, 3), *wrong = layer_entry(growth, 4);
    assert_true(fabs(number(sound, "max_abs", "engine") / number(sound, "max_abs", "golden") - 1) < 1e-5);
    assert_true(number(wrong, "max_abs", "engine") / number(wrong, "max_abs", "golden") > 1.01);
    assert_true(number(wrong, "rms", "reference") < number(wrong, "max_abs", "reference"));
    json_decref(root);
}

/* A golden of fewer positions than ran: statistics of both are of the positions that both hold. */
static void stats_are_of_like_rows(void **state)
{
    (void)state;
    char golden[512], lines[700];
    struct outcome outcome;
    const char *const record[] = {
        "trace", LLAMA, "--ids", "1,2,3", "--on", "reference", "-o", scratch_path(golden, folder, "golden.h5"), NULL};
    program_run(&outcome, LOCKSTEP_PROGRAM, "", record);
    assert_int_equal(outcome.status, 0);
    outcome_free(&outcome);
    snprintf(lines, sizeof(lines), "run 3\nstats layer_out@1\nload golden %s\nstats layer_out@1\ngrowth\n", golden);
    const char *const arguments[] = {"debug", LLAMA, "--ids", "1,2,3", "--on", "reference", NULL};
    program_converse(&outcome, LOCKSTEP_PROGRAM, lines, arguments);
    expect_text(outcome.out, "reference 5 rows, ");
    const char *after = strstr(outcome.out, "load golden");
    expect_text(after, "of the 3 rows that every side holds, of 5\n");
    expect_text(after, "reference 3 rows, ");
    expect_text(after, "golden    3 rows, ");
    expect_text(after, "of like rows: tokens 0 to 2\n");
    expect_no_text(after, "reference 5 rows, ");
    outcome_free(&outcome);
}

static size_t read_file(const char *name, char *bytes, size_t capacity)
{
    char path[512];
    return scratch_read(scratch_path(path, folder, name), bytes, capacity);
}

static void a_transcript_holds_both_ways(void **state)
{
    (void)state;
    static char text[65536];
    char file[512], lines[2048];
    struct outcome outcome;
    scratch_path(file, folder, "transcript");
    snprintf(
        lines, sizeof(lines),
        "transcript\nwhere\ntranscript %s\nstep op 1\nprint nonsense\npy print(6 * 7)\ntranscript\ntranscript off\n"
        "step op 2\ntranscript %s\nwhere\ntranscript off\ntranscript golden/tiny-llama/config.json\n",
        file, file);
    converse(&outcome, lines, NULL);
    read_file("transcript", text, sizeof(text));
    assert_int_equal(strncmp(text, "# lockstep transcript\ndbg> step op 1\noutside the layers", 53), 0);
    expect_text(text, "dbg> print nonsense\nlockstep: stage: \"nonsense\"");
    expect_text(text, "dbg> py print(6 * 7)\n42\n");
    expect_text(text, "3 of 118 stages ran");
    expect_no_text(text, "dbg> step op 2"); /* it was off */
    expect_text(outcome.out, "42\n");
    expect_text(outcome.out, "dbg> transcript\ntranscript: none\n");
    expect_text(outcome.err, "golden/tiny-llama/config.json: is no transcript");
    outcome_free(&outcome);
    /* On a terminal the terminal echoes; the file has what was typed. */
    struct terminal terminal;
    const char *const arguments[] = {"debug", LLAMA, "--ids", "1,2", "--on", "reference", NULL};
    terminal_start(&terminal, LOCKSTEP_PROGRAM, folder, arguments);
    terminal_expect(&terminal, "dbg> ");
    snprintf(lines, sizeof(lines), "transcript %s/typed\n", folder);
    terminal_type(&terminal, lines);
    terminal_expect(&terminal, "dbg> ");
    terminal_type(&terminal, "where\n");
    terminal_expect(&terminal, "before position 0");
    terminal_expect(&terminal, "dbg> ");
    terminal_type(&terminal, "quit\n");
    assert_int_equal(terminal_end(&terminal), 0);
    read_file("typed", text, sizeof(text));
    expect_text(text, "dbg> where\nbefore position 0 of 2, nothing ran yet\n");
    expect_text(text, "dbg> quit\n");
}

/* Reads a page up to its provenance, which has times and command lines. Returns whether it is there. */
static bool read_page(const char *name, char *text, size_t capacity)
{
    char page[512];
    if (access(scratch_path(page, folder, name), R_OK) != 0) {
        return false;
    }
    read_file(name, text, capacity);
    char *provenance = strstr(text, "Arithmetic, provenance");
    if (provenance != NULL) {
        *provenance = '\0';
    }
    return true;
}

static void report_is_the_page_of_diff(void **state)
{
    (void)state;
    static char of_diff[65536], of_prompt[65536];
    char page[512], lines[2048];
    struct outcome outcome;
    const char *const diff[] = {"diff",     GEMMA,
                                "--golden", GEMMA_GOLDEN,
                                "--fault",  "weight-spike@3",
                                "--md",     scratch_path(page, folder, "diff.md"),
                                NULL};
    program_run(&outcome, LOCKSTEP_PROGRAM, "", diff);
    int status = outcome.status;
    outcome_free(&outcome);
    if (status == STATUS_ABSENT) {
        print_message("a Python package for pages is missing: not shown\n");
        skip();
    }
    snprintf(lines, sizeof(lines),
             "report %s/nothing.txt\nreport %s/prompt.md\npatch ffn_down@1 scale 2\nreport %s/early.md\nstep layer 1\n"
             "report %s/middle.md\nrun 1\nstep layer 2\nreport %s/patched.html\nunpatch\n",
             folder, folder, folder, folder, folder);
    converse(&outcome, lines, "weight-spike@3");
    expect_text(outcome.err, "nothing.txt: expected a name that ends in .html or .md");
    expect_text(outcome.err, "report: nothing ran yet");
    expect_text(outcome.out, "prompt.md: the page of diff\n");
    expect_text(outcome.out, "middle.md: a page of what ran\n");
    expect_text(outcome.out, "patched.html: a page of what ran\n");
    outcome_free(&outcome);
    assert_true(read_page("diff.md", of_diff, sizeof(of_diff)));
    assert_true(read_page("prompt.md", of_prompt, sizeof(of_prompt)));
    assert_string_equal(of_diff, of_prompt);
    assert_false(read_page("early.md", of_prompt, sizeof(of_prompt)));
    /* The twin: of another run the page is another, and says what it is of. */
    static char html[1 << 20];
    read_file("patched.html", html, sizeof(html));
    expect_text(html, "of what ran at the prompt: 11 of 16 positions");
    expect_text(html, "layer 1 ffn_down is patched");
}

static void a_script_may_lead_to_the_prompt(void **state)
{
    (void)state;
    char script[512];
    struct outcome outcome;
    scratch_write(scratch_path(script, folder, "script"), "step op 2\n", 10);
    const char *const stays[] = {"debug",     LLAMA, "--ids", "1,2",           "--on",
                                 "reference", "-x",  script,  "--interactive", NULL};
    program_run(&outcome, LOCKSTEP_PROGRAM, "where\n", stays);
    expect_text(outcome.out, "dbg> step op 2\n");
    expect_text(outcome.out, "dbg> where\npositions 0-1 (prefill) of 2, 2 of");
    outcome_free(&outcome);
    scratch_write(script, "print nonsense\n", 15);
    program_run(&outcome, LOCKSTEP_PROGRAM, "where\n", stays); /* a script that fails leads there as well */
    expect_text(outcome.err, "script: line 1: stage: \"nonsense\"");
    expect_text(outcome.out, "dbg> where\nbefore position 0 of 2");
    assert_int_equal(outcome.status, 0);
    outcome_free(&outcome);
    const char *const ends[] = {"debug", LLAMA, "--ids", "1,2", "--on", "reference", "-x", script, NULL};
    program_run(&outcome, LOCKSTEP_PROGRAM, "where\n", ends); /* the twin */
    expect_no_text(outcome.out, "dbg> where");
    assert_int_equal(outcome.status, 2);
    outcome_free(&outcome);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(growth_shows_where_sides_part, set_up, tear_down),
        cmocka_unit_test_setup_teardown(diff_prints_it_too, set_up, tear_down),
        cmocka_unit_test_setup_teardown(stats_are_of_like_rows, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_transcript_holds_both_ways, set_up, tear_down),
        cmocka_unit_test_setup_teardown(report_is_the_page_of_diff, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_script_may_lead_to_the_prompt, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
