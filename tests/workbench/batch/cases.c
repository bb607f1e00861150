/* Tests of the cases of `lockstep batch`: what is read, what is refused and how, and the exit status. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/support/program.h"
#include "tests/support/scratch.h"

SCRATCH_FIXTURE

#define GOLDEN LOCKSTEP_SOURCE_DIR "/golden/"
#define LLAMA "\"model\": \"" GOLDEN "tiny-llama\", \"golden\": \"" GOLDEN "tiny-llama.h5\""

/* Writes a file of cases and runs it. */
static void batch(struct outcome *outcome, const char *name, const char *text)
{
    char path[512];
    scratch_write(scratch_path(path, folder, name), text, strlen(text));
    const char *const arguments[] = {"batch", path, NULL};
    program_run(outcome, LOCKSTEP_PROGRAM, "", arguments);
}

static void expect_outcome(const char *name, const char *text, int status, const char *words)
{
    struct outcome outcome;
    batch(&outcome, name, text);
    assert_int_equal(outcome.status, status);
    expect_text(status == 3 && outcome.err[0] != '\0' ? outcome.err : outcome.out, words);
    outcome_free(&outcome);
}

/* Each names the file, the case and the field, and runs nothing. */
static void refuses_a_malformed_file(void **state)
{
    (void)state;
    expect_outcome("a.json", "{\"case\": [", 3, "line 1: ']' expected");
    expect_outcome("b.json", "{\"cases\": []}", 3, "b.json: case: expected a list of cases");
    expect_outcome("c.json", "{\"case\": []}", 3, "c.json: case: expected a list of cases");
    expect_outcome("d.json", "{\"case\": [{" LLAMA "}, {\"golden\": \"g.h5\"}]}", 3, "case 2: model: is missing");
    expect_outcome("e.json", "{\"case\": [{\"model\": \"m\"}]}", 3, "case 1: golden: is missing");
    expect_outcome("f.json", "{\"case\": [{" LLAMA ", \"faults\": \"x\"}]}", 3, "case 1: faults: is no key of a case");
    expect_outcome("g.json", "{\"case\": [{" LLAMA ", \"expect\": \"good\"}]}", 3,
                   "case 1: expect: \"good\", expected");
    expect_outcome("h.json", "{\"case\": [{" LLAMA ", \"fault\": [1]}]}", 3, "case 1: fault: expected a text");
    expect_outcome("i.json", "{\"case\": [{" LLAMA "}, {" LLAMA "}]}", 3,
                   "case 2: name: \"tiny-llama.h5\" is the name");
    expect_outcome("j.json", "{\"case\": [3]}", 3, "case 1: expected an object");
    expect_outcome("m.json", "{\"case\": [{\"model\": \"m\", \"trace\": \"t\", \"fault\": \"kv-stale\"}]}", 3,
                   "case 1: fault: needs a golden");
    expect_outcome("k.toml", "[[case]\n", 3, "k.toml: ");
    expect_outcome("l.toml", "[[case]]\nmodel = 1979-05-27\n", 3, "l.toml: ");
}

/* The status says the worst that was not expected: diverged, then undecided, then an error. */
static void says_what_was_not_expected(void **state)
{
    (void)state;
    expect_outcome("a.toml", "[[case]]\nmodel = \"" GOLDEN "tiny-llama\"\ngolden = \"" GOLDEN "tiny-llama.h5\"\n", 0,
                   "1 case: 1 parity, 0 diverged, 0 undecided, 0 error; all as expected");
    expect_outcome("b.json", "{\"case\": [{" LLAMA ", \"expect\": \"diverged\"}]}", 1, "parity    tiny-llama.h5");
    expect_outcome("c.json", "{\"case\": [{" LLAMA ", \"fault\": \"kv-stale\", \"expect\": \"diverged\"}]}", 0,
                   "kv-stale");
    expect_outcome("d.json",
                   "{\"case\": [{" LLAMA ", \"fault\": \"kv-stale\"}, {\"model\": \"m\", \"trace\": \"t.h5\"}]}", 1,
                   "2 not as expected");
    expect_outcome("e.json", "{\"case\": [{" LLAMA "}, {\"model\": \"m\", \"trace\": \"t.h5\"}]}", 3, "NOT EXPECTED");
    expect_outcome("f.json", "{\"case\": [{\"model\": \"m\", \"trace\": \"t.h5\", \"expect\": \"error\"}]}", 0,
                   "cannot be");
    expect_outcome("g.json", "{\"case\": [{" LLAMA ", \"on\": \"gpu\"}]}", 3, "\"gpu\", expected engine, reference");
}

/* A golden that is no file, and one that has no end, are errors of their cases alone; a folder's name is no pattern. */
static void odd_files_stop_nothing(void **state)
{
    char fifo[512], text[2048], odd[512], command[2048];
    struct outcome outcome;
    (void)state;
    assert_int_equal(mkfifo(scratch_path(fifo, folder, "fifo.h5"), 0600), 0);
    snprintf(text, sizeof(text),
             "{\"case\": [{\"model\": \"" GOLDEN "tiny-llama\", \"golden\": \"%s\", \"expect\": \"error\"}, "
             "{\"model\": \"" GOLDEN "tiny-llama\", \"golden\": \"/dev/zero\", \"expect\": \"error\"}, {" LLAMA "}]}",
             fifo);
    expect_outcome("odd.json", text, 0, "3 cases: 1 parity, 0 diverged, 0 undecided, 2 error; all as expected");
    scratch_path(odd, folder, "g[ab]");
    snprintf(command, sizeof(command), "mkdir '%s' && cp -r " GOLDEN "tiny-llama " GOLDEN "tiny-llama.h5 '%s'", odd,
             odd);
    assert_int_equal(system(command), 0);
    const char *const arguments[] = {"batch", odd, NULL};
    program_run(&outcome, LOCKSTEP_PROGRAM, "", arguments);
    assert_int_equal(outcome.status, 0);
    expect_text(outcome.out, "1 case: 1 parity");
    outcome_free(&outcome);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refuses_a_malformed_file),
        cmocka_unit_test(says_what_was_not_expected),
        cmocka_unit_test(odd_files_stop_nothing),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
