/* What the prompt exchanges during a run: edited GLSL, the device, the golden, a stage's rows, checkpoint layers. */
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

/* Types lines into the program through a pipe. After a command that fails the next one runs. */
static void type_lines(struct outcome *outcome, const char *lines)
{
    const char *const arguments[] = {"debug", MODEL, "--golden", GOLDEN, NULL};
    program_converse(outcome, LOCKSTEP_PROGRAM, lines, arguments);
    assert_int_equal(outcome->status, 0);
}

/* The value in the n-th answer of `print STAGE 0 0`. */
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

/* reload shaders compiles edited GLSL and repeats the last step with it. GLSL that does not compile is reported by file
 * and line, and changes nothing. */
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
    assert_true(printed(outcome.out, 2) == printed(outcome.out, 1)); /* GLSL that does not compile changed nothing */
    assert_true(printed(outcome.out, 3) == printed(outcome.out, 0));
    expect_text(outcome.out, "<-- introduced by engine");
    const char *where = strstr(outcome.out, "2 of 118 stages ran; next is layer 0 q_proj");
    assert_non_null(where);
    expect_text(where + 1, "2 of 118 stages ran; next is layer 0 q_proj");
    expect_text(outcome.out, "no step introduced an error so far"); /* the repeated step forgot the error */
    snprintf(command, sizeof(command), "%s/line", folder);
    FILE *file = fopen(command, "r");
    unsigned number = 0;
    assert_true(file != NULL && fscanf(file, "%u", &number) == 1);
    fclose(file);
    snprintf(line, sizeof(line), "rms_norm.comp:%u: 'nonsense' : undeclared identifier", number);
    expect_text(outcome.err, line);
    expect_text(outcome.err, "float sum = nonsense;\n");
    const char *quoted = strstr(outcome.err, "float sum = nonsense;"), *caret = strchr(outcome.err, '^');
    assert_true(caret != NULL && caret > quoted && caret[1] == '\n' && caret[2] == '\0'); /* told once */
    const char *end = strchr(quoted, '\n');
    assert_int_equal(strstr(quoted, "nonsense") - quoted, caret - end - 1 - (quoted - (strstr(outcome.err, "\n") + 1)));
    outcome_free(&outcome);
}

/* After a patch from the golden or from a file, the stage has the same bits as there. */
static void a_stage_is_patched_from_a_trace(void **state)
{
    (void)state;
    char lines[2048];
    snprintf(lines, sizeof(lines),
             "step layer 0\nback layer\nprint ffn_down@2 0 0 from golden\npatch ffn_down@2 from golden\nstep layer 2\n"
             "print ffn_down@2 0 0 from engine\nback layer 1\npatch ffn_down@2 from %s\nstep layer 2\n"
             "print ffn_down@2 0 0 from engine\nload golden %s\nwhere\nload golden golden/tiny-llama.h5\n",
             GOLDEN, GOLDEN);
    struct outcome outcome;
    type_lines(&outcome, lines);
    assert_true(printed(outcome.out, 1) == printed(outcome.out, 0));
    assert_true(printed(outcome.out, 2) == printed(outcome.out, 0));
    expect_text(outcome.out, "the position stays\n");
    expect_one_line(outcome.err, "golden/tiny-llama.h5");
    outcome_free(&outcome);
}

static void another_device_goes_on(void **state)
{
    (void)state;
    struct outcome outcome;
    type_lines(&outcome, "step layer 1\nset device 0\nwhere\nset device 99\nwhere\nstep layer 5\nfirst\n");
    expect_text(outcome.out, "the engine runs on ");
    const char *where = strstr(outcome.out, "39 of 118 stages ran");
    if (where == NULL) {
        fprintf(stderr, "%s", outcome.out);
    }
    assert_non_null(where);
    expect_text(where + 1, "39 of 118 stages ran");
    expect_text(outcome.out, "no step introduced an error so far");
    expect_one_line(outcome.err, "99");
    outcome_free(&outcome);
}

/* The longest line of a plot, in characters. */
static size_t plot_width(const char *out)
{
    size_t widest = 0;
    const char *at = strstr(out, "token by dim\n");
    assert_non_null(at);
    for (at = strchr(at, '\n') + 1; strncmp(at, "token", 5) == 0; at = strchr(at, '\n') + 1) {
        size_t n = 0;
        for (const char *c = at; *c != '\n'; c++) {
            n += (*c & 0xc0) != 0x80;
        }
        widest = n > widest ? n : widest;
    }
    return widest;
}

/* A plot in the terminal is as wide as set; a plot to a file needs matplotlib. */
static void plots(void **state)
{
    (void)state;
    char lines[1024], path[512];
    struct outcome outcome;
    static const int widths[] = {40, 70};
    for (int i = 0; i < 2; i++) {
        snprintf(lines, sizeof(lines), "step layer 1\nset width %d\nplot layer_out@1\n", widths[i]);
        type_lines(&outcome, lines);
        size_t width = plot_width(outcome.out);
        assert_true(width <= (size_t)widths[i] && width >= (size_t)widths[i] - 5);
        outcome_free(&outcome);
    }
    scratch_path(path, folder, "plot.png");
    snprintf(lines, sizeof(lines), "step layer 1\nplot layer_out@1 %s\n", path);
    type_lines(&outcome, lines);
    if (strstr(outcome.err, "matplotlib") != NULL) {
        print_message("matplotlib is not installed: plotting to a file is skipped\n");
        outcome_free(&outcome);
        skip();
    }
    assert_string_equal(outcome.err, "");
    outcome_free(&outcome);
    unsigned char head[2048];
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    size_t n = fread(head, 1, sizeof(head), file);
    fclose(file);
    assert_true(n > 1024);
    assert_memory_equal(head, "\x89PNG\r\n\x1a\n", 8);
}

/* reload runs everything again with the edited shaders, as far as the position goes, repeats the last command, and ends
 * at the same position. norms.comp makes attn_norm in the schedule of run and diff; rms_norm.comp does not. */
static void the_last_step_runs_again(void **state)
{
    (void)state;
    char command[4096], lines[4096];
    snprintf(command, sizeof(command),
             "cd %s && mkdir twice && cp %s/shaders/* twice && "
             "sed -i 's/width, normalised(/width, 2.0 * normalised(/' twice/norms.comp",
             folder, LOCKSTEP_SOURCE_DIR);
    shell(command);
    snprintf(lines, sizeof(lines),
             "step layer 1\nstep layer 3\nprint attn_norm@1 0 0 from engine\nprint attn_norm@3 0 0 from engine\n"
             "set shaders %s/twice\nreload shaders\nwhere\nprint attn_norm@1 0 0 from engine\n"
             "print attn_norm@3 0 0 from engine\ninfo model\n",
             folder);
    struct outcome outcome;
    type_lines(&outcome, lines);
    assert_string_equal(outcome.err, "");
    expect_text(outcome.out, "again: step layer 3\n");
    expect_text(strstr(outcome.out, "again: "), "engine introduces an error at layer 2 attn_norm");
    expect_text(strstr(outcome.out, "again: "), "77 of 118 stages ran; next is layer 4 attn_norm");
    assert_true(printed(outcome.out, 2) != printed(outcome.out, 0)); /* of a layer before those that ran last */
    assert_true(printed(outcome.out, 3) != printed(outcome.out, 1));
    outcome_free(&outcome);
}

/* With set layers fewer stages are copied to the host, with the same bits. Looking at another layer recomputes it; so
 * does going back into one. */
static void checkpoint_layers(void **state)
{
    (void)state;
    char lines[4096], a[512], b[512], more[512];
    scratch_path(a, folder, "a.h5");
    scratch_path(more, folder, "more.h5");
    scratch_path(b, folder, "b.h5");
    snprintf(lines, sizeof(lines),
             "continue\ndump %s layer_out\nset layers 1,3\nshow\nrun\nprint q_proj@2\n"
             "print q_proj@2 9 0 from reference\nprint q_proj@3 9 0 from engine\nback token 2\nback op 30\n"
             "goto 4.ffn_act 12\ngoto 2.q_rope 11\nstep op 2\nbreak 0.v_proj if nan\nstep layer 5\n"
             "print v_proj@0 9 0 from engine\nset layers all\nback token 9\nset layers 9\nset layers x\n"
             "continue\ndump %s layer_out\ndump %s layer_out,q_proj\n",
             a, b, more);
    struct outcome outcome;
    type_lines(&outcome, lines);
    expect_text(outcome.out, "layers   1 3; only these are read back");
    expect_text(outcome.out, "positions 0-9 (prefill): 54 stages, worst ratio engine");
    expect_text(outcome.out, "layer 2 was not read back: recomputed, and read back from now on\n");
    expect_no_text(outcome.out, "layer 3 was not read back");
    expect_text(outcome.err, "back: that is before the first stage that ran\n");
    expect_text(outcome.err, "9, expected a number from 0 to 5");
    expect_text(outcome.err, "\"x\", expected all, or a list like 3,17");
    outcome_free(&outcome);
    const char *const compare[] = {"compare", a, b, NULL}, *const twin[] = {"compare", a, more, NULL};
    program_run(&outcome, LOCKSTEP_PROGRAM, "", compare);
    assert_int_equal(outcome.status, 0);
    outcome_free(&outcome);
    program_run(&outcome, LOCKSTEP_PROGRAM, "", twin);
    assert_int_equal(outcome.status, 1);
    outcome_free(&outcome);
}

/* Looking at a layer that was not read back recomputes and judges it, so that `first` names the step that introduced
 * the error, no longer the end of a span. The twin: after the engine was exchanged, the layer cannot be recomputed. */
static void a_layer_is_recomputed(void **state)
{
    (void)state;
    struct outcome outcome;
    type_lines(&outcome, "set layers 4\nfault on qk-norm-no-offset@2\nrun\nfirst\nstats q_norm@2\nfirst\n"
                         "fault on layernorm-for-rmsnorm@1\nprint q_norm@1\naudit q_norm@1\nshow\nwhere\n");
    const char *first = strstr(outcome.out, "diverged: engine, layer 2 k_rope, token 0");
    assert_non_null(first);
    expect_text(first, "layer 2 was not read back: recomputed, and read back from now on\n");
    expect_text(first, "diverged: engine, layer 2 q_norm, token 0");
    expect_text(first, "layers   4 2; only these are read back");
    expect_text(outcome.err,
                "lockstep: layer 1: was not read back, and the engine has changed since it ran (v_proj differs)");
    expect_no_text(outcome.out, "layer 1 was not read back: recomputed");
    outcome_free(&outcome);
}

/* The choice of a token is judged, too: `until` stops where padding is chosen, and `first` names the bug. The twin:
 * without the fault nothing is reported. */
static void a_choice_is_judged(void **state)
{
    (void)state;
    for (int planted = 1; planted >= 0; planted--) {
        struct outcome outcome;
        const char *const arguments[] = {"debug",
                                         "golden/tiny-gemma3-loud",
                                         "--golden",
                                         "golden/tiny-gemma3-loud.h5",
                                         planted ? "--fault" : NULL,
                                         "pad-not-masked",
                                         NULL};
        program_run(&outcome, LOCKSTEP_PROGRAM, "until diverge\nfirst\nback token 1\nfirst\ncontinue\n", arguments);
        const char *again = strstr(outcome.out, "dbg> back token 1");
        if (planted) {
            expect_text(outcome.out, "dbg> until diverge\n");
            expect_text(outcome.out, "  engine introduces an error at sample_token, token 12, dim 0: 54, expected 4, ");
            expect_text(outcome.out, "\ndiverged: engine, sample_token, token 12, outlier engine\n");
            expect_text(strstr(outcome.out, "dbg> first"), "\ndiverged: engine, sample_token, token 12, ");
            expect_text(outcome.out, "  symptom   pad-not-masked (consistent: a symptom, not a proof): Padding (id");
            expect_text(outcome.out, "  check     check that pad_token_id is masked before the choice");
            expect_text(again, "no step introduced an error so far");
            expect_text(again, "engine introduces an error at sample_token, token 12");
        } else {
            expect_text(outcome.out, "no step introduced an error");
            expect_no_text(outcome.out, "sample_token");
        }
        outcome_free(&outcome);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_layer_is_recomputed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_choice_is_judged, set_up, tear_down),
        cmocka_unit_test_setup_teardown(shaders_are_reloaded, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_stage_is_patched_from_a_trace, set_up, tear_down),
        cmocka_unit_test_setup_teardown(another_device_goes_on, set_up, tear_down),
        cmocka_unit_test_setup_teardown(plots, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_last_step_runs_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(checkpoint_layers, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
