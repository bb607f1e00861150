/* What scripts and pipes rely on: which lines fail, what a failure leaves, and the exit status. */
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

static const char *const debug[] = {"debug", MODEL, "--golden", GOLDEN, NULL};
static const char *const debug_experts[] = {"debug", "golden/tiny-gpt-oss", "--golden", "golden/tiny-gpt-oss.h5", NULL};
static const char *const debug_ids[] = {"debug", MODEL, "--ids", "3,17,99", "-n", "4", NULL};

/* A value that a setting does not know changes nothing: a pipe that goes on after errors goes on. */
static void an_unknown_value_changes_nothing(void **state)
{
    (void)state;
    struct outcome outcome;
    program_run(&outcome, LOCKSTEP_PROGRAM, "set errors continue\nset errors foo\nset fuse foo\nwhere\n", debug);
    assert_int_equal(outcome.status, 0);
    expect_text(outcome.err, "errors: \"foo\", expected continue or stop");
    expect_text(outcome.err, "fuse: \"foo\", expected on or off");
    expect_text(outcome.out, "before position 0");
    outcome_free(&outcome);
    program_run(&outcome, LOCKSTEP_PROGRAM, "set errors foo\nwhere\n", debug); /* the twin: it ends where it fails */
    assert_int_equal(outcome.status, STATUS_USAGE);
    expect_no_text(outcome.out, "before position 0");
    outcome_free(&outcome);
}

/* A pipe that goes on after errors still says by its status that an assert failed. */
static void a_failed_assert_fails_the_script(void **state)
{
    (void)state;
    struct outcome outcome;
    program_run(&outcome, LOCKSTEP_PROGRAM,
                "set errors continue\nrun 1\nassert ffn_down@2 ratio < 1\nassert ffn_down@2 ratio < 1e-9\nprint x\n"
                "assert ffn_down@2 ratio < 1\nwhere\n",
                debug);
    assert_int_equal(outcome.status, STATUS_DIVERGED);
    expect_text(outcome.out, "after positions 0-9");
    outcome_free(&outcome);
    program_run(&outcome, LOCKSTEP_PROGRAM, "set errors continue\nrun 1\nassert ffn_down@2 ratio < 1\nprint x\n",
                debug);
    assert_int_equal(outcome.status, 0); /* the twin: no assert failed */
    outcome_free(&outcome);
}

/* A copy of the shaders with one line of rms_norm.comp changed; the script reloads it. */
static void reload_with(struct outcome *outcome, const char *edit, const char *lines)
{
    char command[1024], script[1024];
    snprintf(command, sizeof(command),
             "mkdir -p %s/edited && cp %s/shaders/* %s/edited && sed -i '%s' %s/edited/rms_norm.comp", folder,
             LOCKSTEP_SOURCE_DIR, folder, edit, folder);
    assert_int_equal(system(command), 0);
    snprintf(script, sizeof(script), "step 2\nset shaders %s/edited\nreload shaders\n%s", folder, lines);
    program_converse(outcome, LOCKSTEP_PROGRAM, script, debug);
    assert_int_equal(outcome->status, 0);
}

/* An error before the first #line directive is told by the file and the line, too. */
static void a_directive_is_told_by_file_and_line(void **state)
{
    (void)state;
    struct outcome outcome;
    reload_with(&outcome, "s/^#version 450/#version 450\\n#bogus/", "");
    expect_text(outcome.err, "edited/rms_norm.comp:3: '#' : invalid directive: bogus\n  #bogus\n  ^\n");
    outcome_free(&outcome);
    reload_with(&outcome, "s/^#define ROW_SUM/#bogus 3/", "");
    expect_text(outcome.err, "edited/rms_norm.comp:10: '#' : invalid directive: bogus");
    outcome_free(&outcome);
    reload_with(&outcome, "s/^#version 450/#version 999/", "");
    expect_text(outcome.err, "edited/rms_norm.comp: version not supported");
    outcome_free(&outcome);
}

/* After GLSL that did not compile, the shaders before run on, another engine has them as well, and show says so. */
static void a_failed_reload_changes_nothing(void **state)
{
    (void)state;
    struct outcome outcome;
    reload_with(&outcome, "s/void main/void mian/", "show\nfault on weight-spike@2.ffn_down\nstep layer 1\nfirst\n");
    expect_text(outcome.err, "edited/rms_norm.comp: ");
    expect_text(outcome.out, "shaders  built in; reload shaders compiles ");
    expect_text(outcome.out, "weight-spike@2.ffn_down is planted");
    expect_text(outcome.out, "no step introduced an error so far");
    outcome_free(&outcome);
    reload_with(&outcome, "s/void main/void main/", "show\n");
    expect_text(outcome.out, "shaders  compiled from ");
    outcome_free(&outcome);
}

/* A patch must not name experts that the model does not have: whoever reads them would read past the weights. */
static void experts_are_those_of_the_model(void **state)
{
    (void)state;
    struct outcome outcome;
    program_converse(&outcome, LOCKSTEP_PROGRAM, "patch router_indices@0 scale 100\nshow\n", debug_experts);
    expect_one_line(outcome.err, "whole numbers from 0 to 7");
    expect_text(outcome.out, "patches  none");
    outcome_free(&outcome);
    program_converse(&outcome, LOCKSTEP_PROGRAM, "patch router_indices@0 from golden\nstep layer 0\nshow\n",
                     debug_experts); /* the twin */
    expect_text(outcome.out, "patches  layer 0 router_indices");
    outcome_free(&outcome);
}

/* restart -n N alone runs the same prompt again, and decodes N tokens. */
static void a_prompt_is_run_again_for_longer(void **state)
{
    (void)state;
    struct outcome outcome;
    program_converse(&outcome, LOCKSTEP_PROGRAM, "restart -n 2\ncontinue\nwhere\n", debug_ids);
    assert_string_equal(outcome.err, "");
    expect_text(outcome.out, "after position 4 (decode) of 5");
    outcome_free(&outcome);
    program_converse(&outcome, LOCKSTEP_PROGRAM, "restart -n 2\n", debug); /* a golden's tokens are what they are */
    expect_one_line(outcome.err, "-n: the tokens are a file's, expected --prompt TEXT or --ids 1,2,3");
    outcome_free(&outcome);
}

/* Layers that were not read back are there for Python, and a fault that is planted in the middle of one does not reach
 * what ran of it. */
static void unread_layers_are_there(void **state)
{
    (void)state;
    struct outcome outcome;
    program_converse(&outcome, LOCKSTEP_PROGRAM,
                     "set layers 0\nrun 1\npy engine[\"ffn_down\", 2].shape\npy engine[\"ffn_down\", 20]\n", debug);
    expect_text(outcome.out, "(10, 72)");
    expect_one_line(outcome.err, "holds no ffn_down of layer 20");
    outcome_free(&outcome);
    program_converse(&outcome, LOCKSTEP_PROGRAM,
                     "set layers 0\ngoto 2.ffn_norm\nfault on weight-spike@2.o_proj\nstep layer 2\nfirst\n", debug);
    assert_string_equal(outcome.err, "");
    expect_text(outcome.out, "no step introduced an error so far");
    expect_no_text(outcome.out, "introduced by engine");
    outcome_free(&outcome);
    program_converse(&outcome, LOCKSTEP_PROGRAM,
                     "set layers 0\ngoto 2.attn_norm\nfault on weight-spike@2.o_proj\nstep layer 2\nfirst\n", debug);
    expect_text(outcome.out, "weight-spike"); /* the twin: planted before o_proj ran */
    expect_text(outcome.out, "introduced by engine");
    outcome_free(&outcome);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_unknown_value_changes_nothing),
        cmocka_unit_test(a_failed_assert_fails_the_script),
        cmocka_unit_test_setup_teardown(a_directive_is_told_by_file_and_line, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_failed_reload_changes_nothing, set_up, tear_down),
        cmocka_unit_test(experts_are_those_of_the_model),
        cmocka_unit_test(a_prompt_is_run_again_for_longer),
        cmocka_unit_test(unread_layers_are_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
