/* Sessions: saved, the program ended, resumed. The place, the rows and every answer are the same, bit for bit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "model/error.h"
#include "tests/support/program.h"
#include "tests/support/scratch.h"

#define GEMMA "golden/tiny-gemma3"
#define GEMMA_GOLDEN "golden/tiny-gemma3.h5"
#define LLAMA "golden/tiny-llama"

SCRATCH_FIXTURE

/* What is asked of a session before it is saved away, and after it is resumed. FOLDER: where dumps go. */
static const char questions[] = "where\nstats layer_out@2\nprint k_rope@1 -1 0:4\ngrowth\nfirst\ndiff\n"
                                "dump FOLDER/here.h5\ndump FOLDER/reference.h5 from reference\n"
                                "step layer\nstep op 3\ncontinue\nfirst\ndiff layer_out\ndiagnose\n"
                                "info breakpoints\nprobes\nshow\nlogits 2\ndump FOLDER/end.h5\n";
static const char *const dumps[] = {"here.h5", "reference.h5", "end.h5"};

static const struct session_case {
    const char *arguments[8]; /* of debug, NULL-terminated */
    const char *script;       /* what leads to the place */
    bool has_rows;            /* the session has rows beside it: the engine would not make them again */
} cases[] = {
    {{GEMMA, "--golden", GEMMA_GOLDEN},
     "break 3.ffn_down if maxabs>1000\nprobe add {\"stage\": \"layer_out\", \"layers\": [2], \"dims\": [3]}\nrun 1\n"
     "step token 2\ngoto 2.ffn_down 11\n",
     false},
    {{GEMMA, "--golden", GEMMA_GOLDEN},
     "run 1\ngoto 2.ffn_down\npatch attn_out@2 from reference\nstep layer 2\nstep op 4\n",
     true},
    {{GEMMA, "--golden", GEMMA_GOLDEN}, "patch ffn_down@1 scale 1.7\nrun 2\nstep layer 3\n", false},
    {{GEMMA, "--golden", GEMMA_GOLDEN}, "patch ffn_down@1 from " GEMMA_GOLDEN "\nrun 2\nstep layer 3\n", false},
    {{GEMMA, "--golden", GEMMA_GOLDEN}, "run 1\nfault on qk-norm-no-offset@1\nstep token 1\nstep layer 2\n", true},
    {{GEMMA, "--golden", GEMMA_GOLDEN}, "set layers 2\nset fuse off\nrun 2\nstep layer 3\n", false},
    {{GEMMA, "--golden", GEMMA_GOLDEN}, "set kernel q_proj matmul_tile\nset width 200\nrun 2\nback op 7\n", false},
    {{LLAMA, "--golden", LLAMA ".h5", "--fault", "gelu-for-silu"}, "until diverge\n", false},
    {{LLAMA, "--ids", "1,2,3,4"}, "run 3\nstep layer 1\n", false},
    {{LLAMA, "--ids", "1,2,3,4", "-n", "3", "--weights", "f16"}, "run\n", false},
    {{LLAMA, "--trace", "golden/wrong/gelu-for-silu.h5"}, "run 2\nstep layer 1\n", false},
    {{LLAMA, "--golden", LLAMA ".h5", "--on", "reference"}, "break 1.ffn_down\n", false},
};
#define N_CASES (sizeof(cases) / sizeof(cases[0]))

/* The questions, with their dumps in scratch/NAME; malloc'ed. */
static char *ask_in(const char *name)
{
    char *text = xcalloc(sizeof(questions) + 4096, 1), *end = text;
    const char *at = questions;
    for (const char *found; (found = strstr(at, "FOLDER/")) != NULL; at = found + strlen("FOLDER/")) {
        end += sprintf(end, "%.*s%s/%s-", (int)(found - at), at, folder, name);
    }
    strcpy(end, at);
    return text;
}

/* Takes out the lines that hold a text: what columns mean is said once a session. */
static void drop_lines(char *text, const char *holding)
{
    for (char *found; (found = strstr(text, holding)) != NULL;) {
        char *begin = found, *end = found + strcspn(found, "\n");
        while (begin > text && begin[-1] != '\n') {
            begin--;
        }
        end += *end == '\n';
        memmove(begin, end, strlen(end) + 1);
    }
}

/* What was printed from the first question on, with the dumps' names alike; malloc'ed. */
static char *answers(const char *out, const char *name)
{
    char *text = xcalloc(strlen(out) + 1, 1), *end = text, prefix[600];
    const char *at = strstr(out, "dbg> where");
    snprintf(prefix, sizeof(prefix), "%s/%s-", folder, name);
    ASSERT(at != NULL);
    for (const char *found; (found = strstr(at, prefix)) != NULL; at = found + strlen(prefix)) {
        end += sprintf(end, "%.*s", (int)(found - at), at);
    }
    strcpy(end, at);
    drop_lines(text, "; above 1 is a bug");
    drop_lines(text, "rms of the difference / rms of the golden");
    return text;
}

static void remove_dumps(void)
{
    char command[600];
    snprintf(command, sizeof(command), "rm -f '%s'/*", folder);
    ASSERT(system(command) == 0);
}

static bool same_files(const char *name)
{
    char command[1400];
    snprintf(command, sizeof(command), "test ! -e '%s/before-%s' || cmp -s '%s/before-%s' '%s/after-%s'", folder, name,
             folder, name, folder, name);
    return system(command) == 0;
}

/* Runs a case to its place, saves it there as scratch/session.json, and asks. */
static char *answers_before(const struct session_case *one)
{
    const char *arguments[16] = {"debug"};
    char *questions_here = ask_in("before"), *lines = xcalloc(strlen(questions_here) + 4096, 1);
    struct outcome outcome;
    for (size_t i = 0; one->arguments[i] != NULL; i++) {
        arguments[i + 1] = one->arguments[i];
    }
    sprintf(lines, "%ssave %s/session.json\n%s", one->script, folder, questions_here);
    program_converse(&outcome, LOCKSTEP_PROGRAM, lines, arguments);
    expect_text(outcome.out, "session.json: this session");
    char *text = answers(outcome.out, "before");
    outcome_free(&outcome);
    free(lines);
    free(questions_here);
    return text;
}

/* The same of a new program that resumes it. */
static char *answers_after(void)
{
    char path[512], *lines = ask_in("after");
    struct outcome outcome;
    const char *const arguments[] = {"debug", "--resume", scratch_path(path, folder, "session.json"), NULL};
    program_run(&outcome, LOCKSTEP_PROGRAM, lines, arguments); /* errors continue, as saved */
    expect_no_text(outcome.err, "note:");
    char *text = answers(outcome.out, "after");
    outcome_free(&outcome);
    free(lines);
    return text;
}

static void resumed_as_it_was(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_CASES; i++) {
        char path[512];
        remove_dumps();
        char *before = answers_before(&cases[i]), *after = answers_after();
        if (strcmp(before, after) != 0) {
            fail_msg("case %zu (%s): before\n%s\nafter\n%s", i, cases[i].script, before, after);
        }
        for (size_t d = 0; d < sizeof(dumps) / sizeof(dumps[0]); d++) {
            if (!same_files(dumps[d])) {
                fail_msg("case %zu (%s): %s differs", i, cases[i].script, dumps[d]);
            }
        }
        FILE *rows = fopen(scratch_path(path, folder, "session.json.engine.h5"), "rb");
        assert_int_equal(rows != NULL, cases[i].has_rows);
        if (rows != NULL) {
            fclose(rows);
        }
        free(before);
        free(after);
    }
}

/* Changes a file of the scratch folder by a sed script. */
static void change(const char *name, const char *sed)
{
    char command[1400];
    snprintf(command, sizeof(command), "sed -i '%s' '%s/%s'", sed, folder, name);
    ASSERT(system(command) == 0);
}

/* The twin: one number of the session changed, one breakpoint, and the answers are others. */
static void another_session_answers_otherwise(void **state)
{
    (void)state;
    static const char *const changes[] = {"s/\"next\": [0-9]*/\"next\": 40/", "s/\"limit\": 1000.0/\"limit\": 999.0/",
                                          "s/^ *3$/4/"};
    for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
        remove_dumps();
        char *before = answers_before(&cases[0]);
        change("session.json", changes[i]);
        char path[512], *lines = ask_in("after");
        struct outcome outcome;
        const char *const arguments[] = {"debug", "--resume", scratch_path(path, folder, "session.json"), NULL};
        program_run(&outcome, LOCKSTEP_PROGRAM, lines, arguments);
        bool refused = outcome.status != 0 && outcome.out[0] == '\0';
        char *after = refused ? xcalloc(1, 1) : answers(outcome.out, "after");
        assert_string_not_equal(before, after);
        outcome_free(&outcome);
        free(lines);
        free(before);
        free(after);
    }
}

/* Rows are compared with those that were saved, by their digest: another one is told, and the session goes on. */
static void other_rows_are_told(void **state)
{
    (void)state;
    char path[512];
    struct outcome outcome;
    free(answers_before(&cases[8]));
    change("session.json", "s/\"rows_sha256\": \"[0-9a-f]/\"rows_sha256\": \"x/");
    const char *const arguments[] = {"debug", "--resume", scratch_path(path, folder, "session.json"), NULL};
    program_run(&outcome, LOCKSTEP_PROGRAM, "where\n", arguments);
    expect_text(outcome.err, "note: the engine does not make the rows that were saved: device, driver, or shaders");
    expect_text(outcome.err, "note: the reference does not make the rows");
    expect_text(outcome.out, "next is layer 2 attn_norm");
    assert_int_equal(outcome.status, 0);
    outcome_free(&outcome);
}

/* Resumes the session file and expects one line. */
static void expect_refused(const char *name, const char *text)
{
    char path[512];
    struct outcome outcome;
    const char *const arguments[] = {"debug", "--resume", scratch_path(path, folder, name), NULL};
    program_run(&outcome, LOCKSTEP_PROGRAM, "where\n", arguments);
    expect_one_line(outcome.err, text);
    assert_int_equal(outcome.status, 3);
    outcome_free(&outcome);
}

static void what_changed_is_told(void **state)
{
    (void)state;
    char command[1600], golden[512], session[512], script[1400];
    struct outcome outcome;
    snprintf(command, sizeof(command), "cp " GEMMA_GOLDEN " '%s' && cp -r " GEMMA " '%s/model'",
             scratch_path(golden, folder, "golden.h5"), folder);
    ASSERT(system(command) == 0);
    char model[512];
    scratch_path(model, folder, "model");
    scratch_path(session, folder, "session.json");
    snprintf(script, sizeof(script), "run 1\ngoto 2.ffn_down\npatch attn_out@2 from golden\nstep layer 2\nsave %s\n",
             session);
    const char *const arguments[] = {"debug", model, "--golden", golden, NULL};
    program_run(&outcome, LOCKSTEP_PROGRAM, script, arguments);
    assert_int_equal(outcome.status, 0);
    outcome_free(&outcome);
    snprintf(command, sizeof(command), "cp '%s/session.json.engine.h5' '%s/rows.h5' && cp '%s' '%s/kept.h5'", folder,
             folder, golden, folder);
    ASSERT(system(command) == 0);
    snprintf(command, sizeof(command), "cp golden/tiny-llama.h5 '%s'", golden);
    ASSERT(system(command) == 0);
    expect_refused("session.json", "golden.h5: golden: changed since");
    snprintf(command, sizeof(command), "cp '%s/kept.h5' '%s'; rm '%s/session.json.engine.h5'", folder, golden, folder);
    ASSERT(system(command) == 0);
    expect_refused("session.json", "session.json.engine.h5: cannot be read");
    snprintf(command, sizeof(command), "cp '%s/rows.h5' '%s/session.json.engine.h5'", folder, folder);
    ASSERT(system(command) == 0);
    change("model/config.json", "s/\"rms_norm_eps\": 1e-06/\"rms_norm_eps\": 2e-06/");
    expect_refused("session.json", "model: config: changed since");
    change("session.json", "s/lockstep-session/lockstep-report/");
    expect_refused("session.json", "is no session of this version");
    change("session.json", "1,$d");
    expect_refused("session.json", "session: ");
    expect_refused("nothing.json", "nothing.json: session: unable to open");
}

/* At the prompt: a session takes the place of another; one that cannot be opened leaves it as it was. */
static void resume_at_the_prompt(void **state)
{
    (void)state;
    char session[512], lines[4096];
    struct outcome outcome;
    scratch_path(session, folder, "session.json");
    snprintf(lines, sizeof(lines),
             "step layer 2\npy kept = engine[\"embed\"]\nsave %s\nstep token\nresume /nonexistent\nwhere\nresume %s\n"
             "resume %s\npy kept.shape\nsave golden/tiny-llama/config.json\nstep layer 3\nwhere\n",
             session, session, session);
    const char *const arguments[] = {"debug", GEMMA, "--golden", GEMMA_GOLDEN, NULL};
    program_converse(&outcome, LOCKSTEP_PROGRAM, lines, arguments);
    expect_text(outcome.err, "/nonexistent: session: unable to open");
    expect_text(outcome.err, "golden/tiny-llama/config.json: is no session");
    expect_text(outcome.out, "after positions 0-9 (prefill) of 16, all 118 stages ran");
    expect_text(outcome.out, "58 of 118 stages ran; next is layer 3 attn_norm");
    expect_text(outcome.out, "77 of 118 stages ran; next is layer 4 attn_norm");
    expect_text(outcome.out, "(10, 72)");
    outcome_free(&outcome);
}

/* On a terminal, as a person does it: save, quit, and the next day go on. */
static void on_a_terminal(void **state)
{
    (void)state;
    char session[512], line[600];
    struct terminal terminal;
    scratch_path(session, folder, "session.json");
    const char *const begin[] = {"debug", GEMMA, "--golden", GEMMA_GOLDEN, "--on", "reference", NULL};
    terminal_start(&terminal, LOCKSTEP_PROGRAM, folder, begin);
    terminal_expect(&terminal, "dbg> ");
    terminal_type(&terminal, "goto 2.ffn_down\n");
    terminal_expect(&terminal, "next is layer 2 post_ffn_norm");
    terminal_expect(&terminal, "dbg> ");
    snprintf(line, sizeof(line), "save %s\n", session);
    terminal_type(&terminal, line);
    terminal_expect(&terminal, "this session");
    terminal_expect(&terminal, "dbg> ");
    terminal_type(&terminal, "quit\n");
    assert_int_equal(terminal_end(&terminal), 0);
    const char *const again[] = {"debug", "--resume", session, NULL};
    terminal_start(&terminal, LOCKSTEP_PROGRAM, folder, again);
    terminal_expect(&terminal, "dbg> ");
    terminal_type(&terminal, "where\n");
    terminal_expect(&terminal, "next is layer 2 post_ffn_norm");
    terminal_expect(&terminal, "dbg> ");
    terminal_type(&terminal, "quit\n");
    assert_int_equal(terminal_end(&terminal), 0);
    const char *const both[] = {"debug", GEMMA, "--resume", session, NULL};
    struct outcome outcome;
    program_run(&outcome, LOCKSTEP_PROGRAM, "", both);
    expect_one_line(outcome.err, "--resume: given with " GEMMA);
    assert_int_equal(outcome.status, 2);
    outcome_free(&outcome);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(resumed_as_it_was, set_up, tear_down),
        cmocka_unit_test_setup_teardown(another_session_answers_otherwise, set_up, tear_down),
        cmocka_unit_test_setup_teardown(other_rows_are_told, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_changed_is_told, set_up, tear_down),
        cmocka_unit_test_setup_teardown(resume_at_the_prompt, set_up, tear_down),
        cmocka_unit_test_setup_teardown(on_a_terminal, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
