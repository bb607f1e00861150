/* The prompt as a person uses it: on a pseudo-terminal, by a script, through a pipe. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "model/error.h"
#include "tests/support/program.h"
#include "tests/support/scratch.h"

#define MODEL "golden/tiny-gemma3"
#define GOLDEN "golden/tiny-gemma3.h5"

SCRATCH_FIXTURE

static const char *const on_reference[] = {"debug", MODEL, "--golden", GOLDEN, "--on", "reference", NULL};

/* Runs a script of commands with -x, on the reference. */
static void run_script(struct outcome *outcome, const char *script)
{
    char path[512];
    scratch_write(scratch_path(path, folder, "script"), script, strlen(script));
    const char *const arguments[] = {"debug", MODEL, "--golden", GOLDEN, "--on", "reference", "-x", path, NULL};
    program_run(outcome, LOCKSTEP_PROGRAM, "", arguments);
}

static void tab_completes(void **state)
{
    (void)state;
    struct terminal terminal;
    terminal_start(&terminal, LOCKSTEP_PROGRAM, folder, on_reference);
    terminal_expect(&terminal, "dbg> ");
    terminal_type(&terminal, "ste\tlay\t1\n");
    terminal_expect(&terminal, "step layer 1");
    terminal_expect(&terminal, "layer 1, positions 0-9 (prefill)");
    terminal_expect(&terminal, "layer_out");
    terminal_expect(&terminal, "dbg> ");
    /* No blank is added after a stage, as @LAYER may follow. */
    terminal_type(&terminal, "print ffn_d\t@0 3 0:2 from ref\t\n");
    terminal_expect(&terminal, "print ffn_down@0 3 0:2 from reference");
    terminal_expect(&terminal, "layer 0 ffn_down, token 3, dims 0 to 1 of 72");
    terminal_expect(&terminal, "dbg> ");
    terminal_type(&terminal, "faults qk-n\t\n");
    terminal_expect(&terminal, "qk-norm-no-offset: ");
    terminal_expect(&terminal, "dbg> ");
    /* After on and off, the names of faults are offered. */
    terminal_type(&terminal, "fault on qk-n\t\n");
    terminal_expect(&terminal, "fault on qk-norm-no-offset");
    terminal_expect(&terminal, "this session has no engine");
    terminal_expect(&terminal, "dbg> ");
    terminal_type(&terminal, "fault off weight-s\t\n");
    terminal_expect(&terminal, "fault off weight-spike");
    terminal_expect(&terminal, "dbg> ");
    terminal_type(&terminal, "set pre\tben\t\n");
    terminal_expect(&terminal, "set preset bench");
    terminal_expect(&terminal, "dbg> ");
    terminal_type(&terminal, "info mo\t\n");
    terminal_expect(&terminal, "hidden 72");
    terminal_expect(&terminal, "dbg> ");
    /* A word that nothing completes stays as it was typed, and is refused. */
    terminal_type(&terminal, "print zz\t\n");
    terminal_expect(&terminal, "lockstep: stage: \"zz\"");
    terminal_expect(&terminal, "dbg> ");
    terminal_type(&terminal, "quit\n");
    assert_int_equal(terminal_end(&terminal), 0);
}

static void history_outlives_the_program(void **state)
{
    (void)state;
    struct terminal terminal;
    terminal_start(&terminal, LOCKSTEP_PROGRAM, folder, on_reference);
    terminal_expect(&terminal, "dbg> ");
    terminal_type(&terminal, "stats embed\n");
    terminal_expect(&terminal, "did not run yet");
    terminal_expect(&terminal, "dbg> ");
    terminal_type(&terminal, "where\n");
    terminal_expect(&terminal, "before position 0 of 16");
    terminal_expect(&terminal, "dbg> ");
    terminal_type(&terminal, "\x10\x10\n"); /* Ctrl-P twice: the last line but one */
    terminal_expect(&terminal, "stats embed");
    terminal_expect(&terminal, "did not run yet");
    terminal_expect(&terminal, "dbg> ");
    terminal_type(&terminal, "\x04"); /* Ctrl-D ends */
    assert_int_equal(terminal_end(&terminal), 0);
    terminal_start(&terminal, LOCKSTEP_PROGRAM, folder, on_reference);
    terminal_expect(&terminal, "dbg> ");
    terminal_type(&terminal, "\x10\x10\n");
    terminal_expect(&terminal, "before position 0 of 16");
    terminal_expect(&terminal, "dbg> ");
    terminal_type(&terminal, "quit\n");
    assert_int_equal(terminal_end(&terminal), 0);
}

static void control_c_drops_the_line(void **state)
{
    (void)state;
    struct terminal terminal;
    terminal_start(&terminal, LOCKSTEP_PROGRAM, folder, on_reference);
    terminal_expect(&terminal, "dbg> ");
    terminal_type(&terminal, "print nonsense");
    terminal_expect(&terminal, "nonsense");
    terminal_type(&terminal, "\x03");
    terminal_expect(&terminal, "dbg> ");
    terminal_type(&terminal, "step\n");
    terminal_expect(&terminal, "embed");
    terminal_expect(&terminal, "dbg> ");
    assert_null(strstr(terminal.text, "expected")); /* no command complained */
    terminal_type(&terminal, "quit\n");
    assert_int_equal(terminal_end(&terminal), 0);
}

/* Each of these lines fails with one line and leaves the session as it was. */
static const struct {
    const char *line, *message;
} wrong_lines[] = {
    {"frobnicate", "frobnicate: unknown command"},
    {"st", "fits several commands: step, stats"},
    {"step sideways 2", "step: \"sideways\", expected: step [op|layer|token] [N]"},
    {"step layer 6", "\"6\", expected a number from 0 to 5"},
    {"step token 0", "\"0\", expected a number from 1"},
    {"step 1 2 3", "too many arguments, expected: step [op|layer|token] [N]"},
    {"continue now", "too many arguments, expected: continue alone"},
    {"print", "too few arguments, expected: print STAGE[@LAYER]"},
    {"print ffn_dwn", "\"ffn_dwn\", expected a stage"},
    {"print embed@1", "embed is outside the layers"},
    {"print layer_out@6", "\"6\", expected a number from 0 to 5"},
    {"print layer_out@99", "\"99\", expected a number from 0 to 5"},
    {"print layer_out@x", "\"x\", expected a number"},
    {"print attn_probs@0", "which no step of this model makes"},
    {"print embed", "embed: did not run yet"},
    {"print embed 0 0 from engine", "\"engine\", expected one of: reference, golden"},
    {"print embed 16 from golden", "\"16\", expected a number from -16 to 15"},
    {"print embed 0 72 from golden", "\"72\", expected a number from 0 to 71"},
    {"print embed 0 5:3 from golden", "\"3\", expected a number from 6 to 72"},
    {"print embed 0 0 0 golden", "\"0\" is one word too many"},
    {"print embed 0 0 0 from golden", "too many arguments, expected: print"},
    {"print \"embed", "a quote opens and does not close"},
    {"stats layer_out", "did not run yet"},
    {"diff", "nothing ran yet"},
    {"logits", "did not run for this token yet"},
    {"dump /nonexistent/x.h5", "nothing ran yet"},
    {"restart --prompt hello", "the model has none"},
    {"restart --ids 1,x", "expected token ids"},
    {"restart --ids 600", "token 600 at position 0"},
    {"restart --ids 1 -n 5000", "expected at most 1024"},
    {"faults nope", "\"nope\" is unknown"},
    {"info weather", "\"weather\", expected: info model|device|plan|memory|breakpoints"},
    {"help nope", "nope: unknown command"},
    {"source /nonexistent/script", "cannot be read"},
    {"py", "too few arguments, expected: py CODE"},
    {"py import sys; sys.exit(3)", "sys.exit(3), which ends the command and not the program"},
    {"py 1/0", "ZeroDivisionError"},
    {"py golden['nonsense']", "golden holds no nonsense"},
    {"run 0", "\"0\", expected a number from 1"},
    {"back", "nothing ran yet"},
    {"back layer 2", "nothing ran yet"},
    {"back sideways 2", "back: \"sideways\", expected: back [op|layer|token] [N]"},
    {"goto 99.ffn_down", "\"99\", expected a number from 0 to 5"},
    {"goto 3.nonsense", "\"nonsense\", expected a stage"},
    {"goto 3.ffn_down 16", "\"16\", expected a number from 0 to 15"},
    {"until tomorrow", "\"tomorrow\", expected: until diverge"},
    {"break", "too few arguments"},
    {"break 9.ffn_down", "\"9\", expected a number from 0 to 5"},
    {"break 3.ffn_down if", "\"if\", expected if nan, if maxabs>X or if ratio>X"},
    {"break 3.ffn_down if maxabs", "\"maxabs\", expected nan, maxabs>X or ratio>X"},
    {"break 3.ffn_down if maxabs>", "expected nan, maxabs>X or ratio>X"},
    {"break 3.ffn_down if weather>3", "expected nan, maxabs>X or ratio>X"},
    {"break diverge now", "\"now\", expected: break LAYER.STAGE"},
    {"list 0", "\"0\", expected a number from 1 to 118"},
    {"delete 7", "7 is no breakpoint"},
    {"patch ffn_down@3", "too few arguments, expected: patch"},
    {"patch ffn_down@3 from /nonexistent.h5", "/nonexistent.h5"},
    {"patch ffn_down@3 from golden/tiny-llama.h5", "golden/tiny-llama.h5"},
    {"patch ffn_down@3 from reference", "the reference is the side that is patched"},
    {"patch ffn_down@3 scale x", "\"x\", expected a number"},
    {"patch ffn_down@3 to 3", "\"to\", expected from reference|golden|FILE, or scale X"},
    {"patch ffn_down@9 scale 2", "\"9\", expected a number from 0 to 5"},
    {"unpatch", "nothing is patched there"},
    {"fault on nope", "\"nope\" is unknown"},
    {"fault maybe kv-stale", "\"maybe\", expected: fault on|off NAME"},
    {"fault on kv-stale", "this session has no engine"},
    {"reload coffee", "\"coffee\", expected: reload shaders"},
    {"reload shaders", "this session has no engine"},
    {"set colour red", "\"colour\", expected: set device|shaders|decode|width|pager|layers|preset|fuse|errors VALUE"},
    {"set decode x", "\"x\", expected a number"},
    {"set shaders /nonexistent", "no such folder"},
    {"set device 0", "this session has no engine"},
    {"load milk x", "\"milk\", expected: load golden FILE | hf FOLDER"},
    {"load golden /nonexistent.h5", "/nonexistent.h5"},
    {"load hf /nonexistent", "/nonexistent"},
    {"probe nonsense", "\"nonsense\", expected: probe add JSON | load FILE"},
    {"probe add {", "probe: JSON"},
    {"probe add {\"stage\": \"nope\"}", "\"nope\", expected a stage of this model"},
    {"probe add {\"stage\": \"layer_out\", \"dims\": [72]}", "debug.probes.dims: 72, expected a number from 0 to 71"},
    {"probe add {\"stage\": \"layer_out\", \"layers\": [17]}",
     "debug.probes.layers: 17, expected a number from 0 to 5"},
    {"probe add {\"debug\": {\"probse\": []}}", "unknown key \"probse\""},
    {"probe load /nonexistent", "/nonexistent: cannot be read"},
    {"trace weather", "\"weather\", expected attn, ffn"},
    {"log loud", "\"loud\", expected silent, info or verbose"},
    {"audit", "nothing ran yet"},
    {"plot layer_out", "nothing ran yet"},
    {"plot nonsense", "\"nonsense\", expected a stage"},
};
#define N_WRONG (sizeof(wrong_lines) / sizeof(wrong_lines[0]))

/* Takes the next line from *at and checks it. */
static void expect_next_line(const char **at, const char *message)
{
    size_t length = strcspn(*at, "\n");
    char line[2048];
    snprintf(line, sizeof(line), "%.*s", (int)length, *at);
    expect_text(line, message);
    assert_int_equal(strncmp(line, "lockstep: ", 10), 0);
    *at += length + ((*at)[length] == '\n');
}

static void wrong_input_is_one_line(void **state)
{
    (void)state;
    char input[32768] = "";
    for (size_t i = 0; i < N_WRONG; i++) {
        strcat(strcat(strcat(input, wrong_lines[i].line), "\n"), "where\n");
    }
    struct outcome outcome;
    program_converse(&outcome, LOCKSTEP_PROGRAM, input, on_reference);
    const char *err = outcome.err, *out = outcome.out;
    for (size_t i = 0; i < N_WRONG; i++) {
        expect_next_line(&err, wrong_lines[i].message);
        expect_text(out, "before position 0 of 16, nothing ran yet");
        out = strstr(out, "before position 0 of 16, nothing ran yet") + 1;
    }
    assert_string_equal(err, "");
    expect_no_text(out, "before position 0");
    assert_int_equal(outcome.status, 0);
    outcome_free(&outcome);
}

/* A line of a megabyte and a script that runs itself are refused; the session goes on. */
static void huge_and_endless_input(void **state)
{
    (void)state;
    char path[512], script[600];
    scratch_path(path, folder, "script");
    snprintf(script, sizeof(script), "source '%s'\n", path);
    scratch_write(path, script, strlen(script));
    enum { HUGE_LINE = 1 << 20 };
    char *input = xmalloc(HUGE_LINE + 2048);
    memset(input, 'x', HUGE_LINE);
    snprintf(input + HUGE_LINE, 2048, "\nprint %0500d\n%swhere\n", 7, script);
    struct outcome outcome;
    program_converse(&outcome, LOCKSTEP_PROGRAM, input, on_reference);
    const char *err = outcome.err;
    expect_next_line(&err, "unknown command");
    expect_next_line(&err, "expected a stage");
    expect_next_line(&err, "scripts are nested more than 8 deep");
    assert_string_equal(err, "");
    expect_text(outcome.out, "before position 0 of 16, nothing ran yet");
    assert_int_equal(outcome.status, 0);
    outcome_free(&outcome);
    free(input);
}

static void script_stops_at_the_first_failure(void **state)
{
    (void)state;
    struct outcome outcome;
    run_script(&outcome, "# a comment\n\nstep # the first op\nprint nonsense\nwhere\n");
    assert_int_equal(outcome.status, 2);
    expect_one_line(outcome.err, "script: line 4: stage: \"nonsense\"");
    expect_text(outcome.out, "dbg> step # the first op\noutside the layers, positions 0-9 (prefill)");
    expect_no_text(outcome.out, "dbg> where");
    outcome_free(&outcome);
    run_script(&outcome, "step\nquit\nprint nonsense\n");
    assert_int_equal(outcome.status, 0);
    assert_string_equal(outcome.err, "");
    outcome_free(&outcome);
    const char *const absent[] = {"debug", MODEL, "--on", "reference", "-x", "/nonexistent/script", NULL};
    program_run(&outcome, LOCKSTEP_PROGRAM, "", absent);
    assert_int_equal(outcome.status, 3);
    expect_one_line(outcome.err, "/nonexistent/script: cannot be read");
    outcome_free(&outcome);
}

static void nested_scripts_have_a_limit(void **state)
{
    (void)state;
    char path[512], script[600];
    scratch_path(path, folder, "script");
    snprintf(script, sizeof(script), "where\nsource '%s'\n", path);
    struct outcome outcome;
    run_script(&outcome, script);
    assert_int_equal(outcome.status, 2);
    expect_one_line(outcome.err, "scripts are nested more than 8 deep");
    outcome_free(&outcome);
}

/* Steps of any size add up to the expected positions. */
static void steps_add_up(void **state)
{
    (void)state;
    struct outcome outcome;
    run_script(&outcome, "step\nwhere\nstep op 3\nwhere\nstep layer\nwhere\nstep layer 4\nwhere\nstep token\nwhere\n"
                         "step layer 0\nwhere\nstep token 2\nwhere\ncontinue\nwhere\n");
    assert_int_equal(outcome.status, 0);
    static const char *const places[] = {
        "1 of 118 stages ran; next is layer 0 attn_norm",
        "4 of 118 stages ran; next is layer 0 v_proj",
        "20 of 118 stages ran; next is layer 1 attn_norm",
        "96 of 118 stages ran; next is layer 5 attn_norm",
        "after positions 0-9 (prefill) of 16, all 118 stages ran",
        "position 10 (decode) of 16, 20 of 118 stages ran; next is layer 1 attn_norm",
        "after position 11 (decode) of 16",
        "after position 15 (decode) of 16",
    };
    const char *at = outcome.out;
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        expect_text(at, places[i]);
        at = strstr(at, places[i]);
    }
    expect_text(outcome.out, "tokens 3 17 99 204 5 61 300 7 42 11 23 400 8 77 150 [9]");
    expect_no_text(outcome.out, "introduce");
    outcome_free(&outcome);
    run_script(&outcome, "continue\nstep\n");
    assert_int_equal(outcome.status, 2);
    expect_one_line(outcome.err, "the run is over, all 16 positions ran");
    outcome_free(&outcome);
}

/* Before, within and after a batch: the step that runs next, those around it, and their inputs. */
static void list_shows_the_steps_around(void **state)
{
    (void)state;
    struct outcome outcome;
    run_script(&outcome, "list 2\nstep op 19\nlist 4\ncontinue\nlist 1\nhelp list\n");
    assert_int_equal(outcome.status, 0);
    static const char *const lines[] = {
        "dbg> list 2\n  next embed ",
        "\n       layer 0 attn_norm        rms_norm            72  from embed\n",
        "dbg> list 4\n  ran  layer 0 ffn_down ",
        "\n  ran  layer 0 post_ffn_norm ",
        "\n  next layer 0 layer_out        add                 72  from attn_resid, post_ffn_norm\n",
        "\n       layer 1 attn_norm        rms_norm            72  from layer_out@0\n",
        "dbg> list 1\n  ran  logits_final ",
        "list [N]\n    List the N steps around the position",
    };
    const char *at = outcome.out;
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        expect_text(at, lines[i]);
        at = strstr(at, lines[i]);
    }
    outcome_free(&outcome);
}

/* dump writes what `trace` records of the same tokens. The twin: another token gives another trace. */
static void dump_is_the_trace(void **state)
{
    (void)state;
    char dumped[512], traced[512], script[600];
    scratch_path(dumped, folder, "dumped.h5");
    scratch_path(traced, folder, "traced.h5");
    struct outcome outcome;
    snprintf(script, sizeof(script), "continue\ndump %s\n", dumped);
    run_script(&outcome, script);
    expect_text(outcome.out, "118 stages of 16 positions, of the reference");
    outcome_free(&outcome);
    static const char *const decoded[] = {"23,400,8,77,150,9", "23,400,8,77,150,8"};
    for (int i = 0; i < 2; i++) {
        const char *const trace[] = {"trace",        MODEL,      "--ids", "3,17,99,204,5,61,300,7,42,11",
                                     "--decode-ids", decoded[i], "--on",  "reference",
                                     "-o",           traced,     NULL};
        program_run(&outcome, LOCKSTEP_PROGRAM, "", trace);
        assert_int_equal(outcome.status, 0);
        outcome_free(&outcome);
        const char *const compare[] = {"compare", dumped, traced, NULL};
        program_run(&outcome, LOCKSTEP_PROGRAM, "", compare);
        assert_int_equal(outcome.status == 0, i == 0);
        outcome_free(&outcome);
    }
}

/* dump writes only the stages asked for, and only the rows that ran. */
static void dump_takes_a_part(void **state)
{
    (void)state;
    char part[512], script[1200];
    scratch_path(part, folder, "part.h5");
    struct outcome outcome;
    snprintf(script, sizeof(script), "step layer 1\ndump %s layer_out,q_rope\ndump %s.2 layer_out,nonsense\n", part,
             part);
    run_script(&outcome, script);
    assert_int_equal(outcome.status, 2);
    expect_text(outcome.out, "4 stages of 10 positions, of the reference");
    expect_one_line(outcome.err, "line 3: stages @10: \"nonsense\"");
    outcome_free(&outcome);
    snprintf(script, sizeof(script), "step\ndump %s/no/such/folder.h5\n", folder);
    run_script(&outcome, script);
    assert_int_equal(outcome.status, 5);
    outcome_free(&outcome);
}

/* The prompt decodes the same tokens as `run`. */
static void decodes_as_run_does(void **state)
{
    (void)state;
    struct outcome outcome;
    const char *const run[] = {"run", MODEL, "--ids", "3,17,99", "-n", "4", "--on", "reference", NULL};
    program_run(&outcome, LOCKSTEP_PROGRAM, "", run);
    assert_int_equal(outcome.status, 0);
    expect_text(outcome.out, "ids: ");
    char tokens[128];
    snprintf(tokens, sizeof(tokens), "tokens 3 17 99 %s", strstr(outcome.out, "ids: ") + 5);
    tokens[strcspn(tokens, "\n")] = '\0';
    outcome_free(&outcome);
    run_script(&outcome, "restart --ids 3,17,99 -n 4\nstep token 4\nwhere\n");
    assert_int_equal(outcome.status, 0);
    for (char *c = outcome.out; *c != '\0'; c++) { /* drops the brackets around the current position */
        if (*c == '[' || *c == ']') {
            memmove(c, c + 1, strlen(c));
        }
    }
    expect_text(outcome.out, tokens);
    outcome_free(&outcome);
}

/* A bug planted in the engine is marked where it is introduced, and named. The twin: without it nothing is marked. */
static void first_names_the_bug(void **state)
{
    (void)state;
    char path[512];
    static const char script[] = "step layer 3\nfirst\n";
    scratch_write(scratch_path(path, folder, "script"), script, strlen(script));
    const char *const faulty[] = {"debug", MODEL, "--golden", GOLDEN, "--fault", "qk-norm-no-offset@3",
                                  "-x",    path,  NULL};
    const char *const healthy[] = {"debug", MODEL, "--golden", GOLDEN, "-x", path, NULL};
    struct outcome outcome;
    program_run(&outcome, LOCKSTEP_PROGRAM, "", faulty);
    assert_int_equal(outcome.status, 0);
    expect_text(outcome.out, "engine introduces an error at layer 3 q_norm");
    expect_text(outcome.out, "<-- introduced by engine\n");
    expect_text(outcome.out, "diverged: engine, layer 3 q_norm");
    expect_text(outcome.out, "qk-norm-no-offset (reproduced)");
    outcome_free(&outcome);
    program_run(&outcome, LOCKSTEP_PROGRAM, "", healthy);
    assert_int_equal(outcome.status, 0);
    expect_text(outcome.out, "no step introduced an error so far");
    expect_no_text(outcome.out, "<--");
    outcome_free(&outcome);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(tab_completes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(history_outlives_the_program, set_up, tear_down),
        cmocka_unit_test_setup_teardown(control_c_drops_the_line, set_up, tear_down),
        cmocka_unit_test_setup_teardown(wrong_input_is_one_line, set_up, tear_down),
        cmocka_unit_test_setup_teardown(huge_and_endless_input, set_up, tear_down),
        cmocka_unit_test_setup_teardown(script_stops_at_the_first_failure, set_up, tear_down),
        cmocka_unit_test_setup_teardown(nested_scripts_have_a_limit, set_up, tear_down),
        cmocka_unit_test_setup_teardown(steps_add_up, set_up, tear_down),
        cmocka_unit_test_setup_teardown(list_shows_the_steps_around, set_up, tear_down),
        cmocka_unit_test_setup_teardown(dump_is_the_trace, set_up, tear_down),
        cmocka_unit_test_setup_teardown(dump_takes_a_part, set_up, tear_down),
        cmocka_unit_test_setup_teardown(decodes_as_run_does, set_up, tear_down),
        cmocka_unit_test_setup_teardown(first_names_the_bug, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
