/* A program uses the files that lie around itself: in a copied, a moved and an installed tree, never in the one that it
 * was built from. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "model/error.h"
#include "tests/support/program.h"
#include "tests/support/scratch.h"

SCRATCH_FIXTURE

static void shell(const char *format, const char *argument)
{
    char command[2048];
    snprintf(command, sizeof(command), format, folder, argument);
    assert_int_equal(system(command), 0);
}

/* The program in folder/place (an absolute path needs no folder), with these lines at its prompt. */
static void debug(struct outcome *outcome, const char *place, const char *lines)
{
    char program[512];
    const char *const arguments[] = {"debug", LOCKSTEP_SOURCE_DIR "/golden/tiny-llama", "--golden",
                                     LOCKSTEP_SOURCE_DIR "/golden/tiny-llama.h5", NULL};
    program_converse(outcome, place[0] == '/' ? place : scratch_path(program, folder, place), lines, arguments);
}

/* The program in folder/place finds shaders in folder/root. */
static void finds(const char *place, const char *root)
{
    char expected[512];
    struct outcome outcome;
    debug(&outcome, place, "show\n");
    assert_int_equal(outcome.status, 0);
    snprintf(expected, sizeof(expected), "reload shaders compiles %s/%s/shaders", folder, root);
    expect_text(outcome.out, expected);
    outcome_free(&outcome);
}

/* A checkout with its build folder, as `cp -r` makes one; the tests' own files stand for what is large in it. */
static void copy_checkout(void)
{
    shell("cd %s && mkdir -p copy/build && cp -r %s/shaders copy", LOCKSTEP_SOURCE_DIR);
    shell("cd %s && ln -s %s/golden copy/golden", LOCKSTEP_SOURCE_DIR);
    shell("cd %s && cp %s copy/build/lockstep && echo ../ >copy/build/source-folder.txt", LOCKSTEP_PROGRAM);
}

static void a_copied_and_a_moved_checkout_use_their_own(void **state)
{
    (void)state;
    copy_checkout();
    finds("copy/build/lockstep", "copy");

    /* The twin: a fault in the copy's shaders is the copy's alone. */
    shell("sed -i 's/float sum = 0.0;/float sum = nonsense;/' %s/copy/shaders/rms_norm.comp%s", "");
    struct outcome outcome;
    debug(&outcome, "copy/build/lockstep", "reload shaders\n");
    expect_text(outcome.err, "'nonsense' : undeclared identifier");
    outcome_free(&outcome);
    debug(&outcome, LOCKSTEP_PROGRAM, "reload shaders\n");
    expect_text(outcome.out, "shaders compiled from " LOCKSTEP_SOURCE_DIR "/shaders\n");
    assert_string_equal(outcome.err, "");
    outcome_free(&outcome);

    shell("cd %s && mv copy moved%s", "");
    finds("moved/build/lockstep", "moved");
    shell("cd %s && mkdir outside && mv moved/build/* outside && echo ../moved >outside/source-folder.txt%s", "");
    finds("outside/lockstep", "moved");
    shell("cd %s && mkdir outside/tests && mv outside/lockstep outside/tests%s", "");
    finds("outside/tests/lockstep", "moved");
}

/* PREFIX/share/lockstep comes before whatever the folders above hold, and its environment is venv. */
static void an_installation_uses_its_own(void **state)
{
    (void)state;
    copy_checkout();
    shell("cd %s/copy/build && mkdir -p bin share/lockstep && mv lockstep bin && cp -r ../shaders ../golden "
          "share/lockstep%s",
          "");
    finds("copy/build/bin/lockstep", "copy/build/share/lockstep");

    struct outcome outcome;
    debug(&outcome, "copy/build/bin/lockstep", "py 1\n");
    expect_one_line(outcome.err,
                    "/share/lockstep/venv/bin/python3: no Python environment, expected the one that this makes: "
                    "python3 -m venv --clear ");
    expect_text(outcome.err, "/share/lockstep/requirements.txt");
    outcome_free(&outcome);
}

/* With no files around it the program says what it expects, and does what needs none. */
static void a_program_alone_says_so(void **state)
{
    (void)state;
    shell("cd %s && mkdir alone && cp %s alone/lockstep", LOCKSTEP_PROGRAM);
    struct outcome outcome;
    debug(&outcome, "alone/lockstep", "reload shaders\nstep 1\nwhere\n");
    expect_one_line(outcome.err, "golden/ and shaders/ not found, expected them in ../share/lockstep");
    expect_text(outcome.out, "1 of 64 stages ran");
    outcome_free(&outcome);

    char program[512];
    const char *const arguments[] = {"faults", "--check", NULL};
    program_run(&outcome, scratch_path(program, folder, "alone/lockstep"), "", arguments);
    assert_int_equal(outcome.status, STATUS_ABSENT);
    outcome_free(&outcome);
}

/* Whether a program holds the name of a file in the source folder. Where that is /lockstep, the end of another name, as
 * in ~/.local/state/lockstep/history, is none. */
static bool names_the_source_folder(const char *file)
{
    char command[2048];
    snprintf(command, sizeof(command),
             "strip -g -o %s/stripped %s && ! LC_ALL=C grep -qaP '(?<![\\w.-])\\Q%s/\\E' %s/stripped", folder, file,
             LOCKSTEP_SOURCE_DIR, folder);
    return system(command) != 0;
}

/* Debugging information aside, which the sanitizers add to. The twin is this test itself, which does name it. */
static void no_path_is_built_in(void **state)
{
    (void)state;
#ifdef __SANITIZE_ADDRESS__
    skip();
#endif
    assert_false(names_the_source_folder(LOCKSTEP_PROGRAM));
    assert_true(names_the_source_folder("/proc/$PPID/exe"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_copied_and_a_moved_checkout_use_their_own, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_installation_uses_its_own, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_program_alone_says_so, set_up, tear_down),
        cmocka_unit_test_setup_teardown(no_path_is_built_in, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
