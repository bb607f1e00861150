/* What the prompt exchanges under a run: edited GLSL, another device, another golden, a stage's rows. */
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

static char folder[256];

static int set_up(void **state)
{
    (void)state;
    scratch_make(folder);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    scratch_remove(folder);
    return 0;
}

/* Types lines into the program through a pipe: a command that fails says so, and the next one runs. */
static void type_lines(struct outcome *outcome, const char *lines)
{
    const char *const arguments[] = {"debug", MODEL, "--golden", GOLDEN, NULL};
    program_run(outcome, LOCKSTEP_PROGRAM, lines, arguments);
    assert_int_equal(outcome->status, 0);
}

/* The number that follows the n-th "  0  " row of `print STAGE 0 0`. */
static double printed(const char *out, int n)
{
    const char *at = out;
    for (int i = 0; i <= n; i++) {
        at = strstr(at, "\n        0 ");
        assert_non_null(at);
        at++;
    }
    return strtod(at + strspn(at, " ") + 1, NULL);
}

static void shell(const char *command)
{
    assert_int_equal(system(command), 0);
}

/* Edited GLSL is compiled, and the stage where the run stands is made anew with it; what does not compile is shown with
 * file and line, and changes nothing. */
static void shaders_are_reloaded(void **state)
{
    (void)state;
    char command[4096], lines[4096], line[64];
    snprintf(command, sizeof(command),
             "cd %s && mkdir doubled bad && cp %s/shaders/* doubled && cp %s/shaders/* bad && "
             "sed -i 's/width, normalised(/width, 2.0 * normalised(/' doubled/rms_norm.comp && "
             "sed -i 's/float sum = 0.0;/float sum = nonsense;/' bad/rms_norm.comp && "
             "grep -n nonsense bad/rms_norm.comp > line",
             folder, LOCKSTEP_SOURCE_DIR, LOCKSTEP_SOURCE_DIR);
    shell(command);
    snprintf(lines, sizeof(lines),
             "step 2\nprint attn_norm@0 0 0 from engine\n"
             "set shaders %s/doubled\nreload shaders\nwhere\nprint attn_norm@0 0 0 from engine\n"
             "set shaders %s/bad\nreload shaders\nwhere\nprint attn_norm@0 0 0 from engine\n"
             "set shaders shaders\nreload shaders\nprint attn_norm@0 0 0 from engine\nstep layer 5\nfirst\n",
             folder, folder);
    struct outcome outcome;
    type_lines(&outcome, lines);
    assert_true(printed(outcome.out, 1) == 2 * printed(outcome.out, 0));
    assert_true(printed(outcome.out, 2) == printed(outcome.out, 1)); /* what does not compile changed nothing */
    assert_true(printed(outcome.out, 3) == printed(outcome.out, 0));
    expect_text(outcome.out, "<-- introduced by engine");
    const char *where = strstr(outcome.out, "2 of 118 stages ran; next is layer 0 q_proj");
    assert_non_null(where);
    expect_text(where + 1, "2 of 118 stages ran; next is layer 0 q_proj");
    expect_text(outcome.out, "no step introduced an error so far"); /* the reloaded stage's error was taken back */
    snprintf(command, sizeof(command), "%s/line", folder);
    FILE *file = fopen(command, "r");
    unsigned number = 0;
    assert_true(file != NULL && fscanf(file, "%u", &number) == 1);
    fclose(file);
    snprintf(line, sizeof(line), "rms_norm.comp:%u: 'nonsense' : undeclared identifier", number);
    expect_one_line(outcome.err, line);
    outcome_free(&outcome);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(shaders_are_reloaded, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
