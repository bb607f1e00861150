/* Python inside the program: packages, numpy views of stages, and mistakes that must not end the program. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <glob.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "model/error.h"
#include "tests/support/program.h"
#include "tests/support/scratch.h"

#define MODEL "golden/tiny-gemma3"
#define GOLDEN "golden/tiny-gemma3.h5"

SCRATCH_FIXTURE

/* Runs these lines at the prompt, on the reference. */
static void run_lines(struct outcome *outcome, const char *program, const char *lines)
{
    const char *const arguments[] = {"debug", MODEL, "--golden", GOLDEN, "--on", "reference", NULL};
    program_converse(outcome, program, lines, arguments);
}

/* The program's HDF5 is linked statically and hidden, so that h5py's own works in the same process. With a shared
 * libhdf5 this import fails ("Not a datatype"). The program has used its own before, to read the golden. */
static void h5py_lives_beside_our_hdf5(void **state)
{
    (void)state;
    char lines[2048];
    struct outcome outcome;
    snprintf(lines, sizeof(lines),
             "continue\n"
             "dump %s/a.h5\n"
             "py import h5py\n"
             "py f = h5py.File('%s/a.h5'); g = h5py.File('" GOLDEN "')\n"
             "py print('steps', len(f['tokens']), f['tokens'][:].tolist() == g['tokens'][:].tolist(), "
             "f['layers/5/q_norm'].shape)\n"
             "py print('same', (f['layers/5/q_norm'][:] == reference['q_norm', 5]).all())\n"
             "py h5py.File('%s/b.h5', 'w')['x'] = numpy.arange(3)\n"
             "dump %s/c.h5 embed\n",
             folder, folder, folder, folder);
    run_lines(&outcome, LOCKSTEP_PROGRAM, lines);
    expect_text(outcome.out, "steps 16 True (16, 128)");
    expect_text(outcome.out, "same True");
    expect_text(outcome.out, "c.h5: 1 stages of 16 positions");
    expect_one_line(outcome.err, "py: NameError: name 'numpy' is not defined");
    assert_int_equal(outcome.status, 0);
    outcome_free(&outcome);
}

static void stages_are_views(void **state)
{
    (void)state;
    struct outcome outcome;
    run_lines(&outcome, LOCKSTEP_PROGRAM,
              "py engine is None, reference, golden\n"
              "step token\n"
              "py import numpy as np\n"
              "py a = reference['layer_out', 2]; b = reference['layer_out', 2]; a.shape, a.dtype.name\n"
              "py print('shared', np.shares_memory(a, b), a.flags.writeable)\n"
              "print layer_out@2 9 5\n"
              "py print('value %.9g' % a[9, 5])\n"
              "py print('golden', golden['logits'].shape, ('logits', ) in golden, 'logits' in golden)\n"
              "py print('close', float(abs(a - golden['layer_out', 2][:10]).max()) < 1e-4)\n"
              "py a[0, 0] = 1\n"
              "py reference['layer_out', 6]\n"
              "py copy = a.copy()\n"
              "restart\n"
              "py print('kept', (a == copy).all(), reference)\n");
    expect_text(outcome.out, "(True, <reference: 0 stages, 0 positions>, <golden: 118 stages, 16 positions>)");
    expect_text(outcome.out, "((10, 72), 'float32')");
    expect_text(outcome.out, "shared True False");
    const char *value = strstr(outcome.out, "value ");
    assert_non_null(value);
    char printed[64];
    snprintf(printed, sizeof(printed), "%s", value + 6);
    printed[strcspn(printed, "\n")] = '\0';
    expect_text(strstr(outcome.out, "layer 2 layer_out, token 9, dims 5 to 5 of 72"), printed);
    expect_text(outcome.out, "golden (16, 512) False True");
    expect_text(outcome.out, "close True");
    expect_text(outcome.out, "kept True <reference: 0 stages, 0 positions>");
    expect_text(outcome.err, "py: ValueError: assignment destination is read-only\n");
    expect_text(outcome.err, "py: KeyError: 'reference holds no layer_out of layer 6'\n");
    assert_int_equal(outcome.status, 0);
    outcome_free(&outcome);
}

/* Arrays share the run's memory: later steps show in arrays taken earlier. Arrays outlive a restart, another golden and
 * another engine. */
static void views_follow_the_run(void **state)
{
    (void)state;
    const char *const arguments[] = {"debug", MODEL, "--golden", GOLDEN, NULL};
    struct outcome outcome;
    program_run(
        &outcome, LOCKSTEP_PROGRAM,
        "step layer 1\n"
        "py import numpy as np; e = engine['q_proj', 0]; n = engine['layer_out', 0]; g = golden['embed']\n"
        "back layer 0\n"
        "fault on weight-spike@0.q_proj\n"
        "py copy = e.copy()\n"
        "restart\n"
        "step layer 1\n"
        "py f = engine['q_proj', 0]; print('another', np.shares_memory(e, f), (e == copy).all(), (e == f).all())\n"
        "back layer 0\nback layer\nstep op 3\n"
        "py print('same memory', np.shares_memory(f, engine['q_proj', 0]))\n"
        "load golden golden/tiny-gemma3.h5\n"
        "set device 0\n"
        "py print('golden', np.shares_memory(g, golden['embed']), (g == golden['embed']).all(), tokens[:3])\n"
        "restart --ids 5,6,7 -n 1\nstep layer 0\n"
        "py print('alive', e.sum() == copy.sum(), g.shape, f.shape, tokens[:3], model['n_layers'])\n",
        arguments);
    assert_string_equal(outcome.err, "");
    expect_text(outcome.out, "another False True False\n");
    expect_text(outcome.out, "same memory True\n");
    expect_text(outcome.out, "golden False True [3, 17, 99]\n");
    expect_text(outcome.out, "alive True (16, 72) (10, 128) [5, 6, 7] 6\n");
    assert_int_equal(outcome.status, 0);
    outcome_free(&outcome);
}

/* transformers records goldens at the prompt; a bfloat16 one declares its dtype and passes by it. */
static void transformers_runs_inside(void **state)
{
    (void)state;
    char lines[4096], dumped[512];
    scratch_path(dumped, folder, "bf16.h5");
    snprintf(lines, sizeof(lines),
             "step layer 1\nload hf %s\ncontinue\nfirst\nload hf %s bfloat16\nfirst\ndump %s from golden\n"
             "load golden %s\naudit\nload hf %s int8\n",
             MODEL, MODEL, dumped, dumped, MODEL);
    const char *const arguments[] = {"debug", MODEL, "--on", "reference", "--ids", "3,17,99,204", "-n", "2", NULL};
    struct outcome outcome;
    assert_int_equal(setenv("ASAN_OPTIONS", "detect_leaks=0", 0), 0); /* torch's leaks are not ours */
    program_converse(&outcome, LOCKSTEP_PROGRAM, lines, arguments);
    if (strstr(outcome.err, "no such Python package in .venv") != NULL) {
        print_message("torch or transformers is not installed: not shown\n");
        outcome_free(&outcome);
        skip();
    }
    expect_one_line(outcome.err, "dtype: \"int8\", expected float32, float16 or bfloat16");
    expect_text(outcome.out, "golden: 4 positions by transformers");
    expect_text(outcome.out, "bfloat16 eager; the position stays");
    expect_text(outcome.out, "no step introduced an error so far");
    expect_text(outcome.out, "golden    118 stages pass, 0 fail");
    outcome_free(&outcome);
    /* The twin: the same values without the declaration fail. */
    snprintf(lines, sizeof(lines),
             "py import h5py; f = h5py.File('%s', 'r+'); [f.attrs.pop(a) for a in list(f.attrs) if 'dtype' in a]; "
             "f.close()\nload golden %s\nstep layer 1\nfirst\n",
             dumped, dumped);
    program_converse(&outcome, LOCKSTEP_PROGRAM, lines, arguments);
    expect_text(outcome.out, "diverged: golden, embed, token 0, ");
    outcome_free(&outcome);
    assert_int_equal(unsetenv("ASAN_OPTIONS"), 0);
}

/* A mistake in user code ends the command; the session goes on. */
static void mistakes_end_the_command(void **state)
{
    (void)state;
    static const struct {
        const char *code, *message;
    } rows[] = {
        {"1/0", "py: ZeroDivisionError: division by zero"},
        {"import sys; sys.exit(7)", "py: sys.exit(7), which ends the command"},
        {"raise SystemExit", "py: sys.exit(None)"},
        {"def f(", "py: SyntaxError"},
        {"import no_such_package", "py: no_such_package: no such Python package in .venv; ./demo installs"},
        {"raise ValueError('first\\nsecond')", "py: ValueError: first"},
        {"raise KeyboardInterrupt", "py: interrupted"},
        {"exit()", "py: sys.exit(None)"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char lines[256];
        struct outcome outcome;
        snprintf(lines, sizeof(lines), "py kept = 40 + 2\npy %s\npy kept\nwhere\n", rows[i].code);
        run_lines(&outcome, LOCKSTEP_PROGRAM, lines);
        expect_one_line(outcome.err, rows[i].message);
        expect_text(outcome.out, "py kept\n42\n");
        expect_text(outcome.out, "before position 0 of 16");
        assert_int_equal(outcome.status, 0);
        outcome_free(&outcome);
    }
}

static void control_c_ends_python_code(void **state)
{
    (void)state;
    struct terminal terminal;
    const char *const arguments[] = {"debug", MODEL, "--golden", GOLDEN, "--on", "reference", NULL};
    terminal_start(&terminal, LOCKSTEP_PROGRAM, folder, arguments);
    terminal_expect(&terminal, "dbg> ");
    terminal_type(&terminal, "py print('lo' + 'op', flush=True); exec('while True: pass')\n");
    terminal_expect(&terminal, "loop");
    terminal_type(&terminal, "\x03");
    terminal_expect(&terminal, "lockstep: py: interrupted");
    terminal_expect(&terminal, "dbg> ");
    terminal_type(&terminal, "py 40 + 2\n");
    terminal_expect(&terminal, "\n42");
    terminal_type(&terminal, "quit\n");
    assert_int_equal(terminal_end(&terminal), 0);
}

/* A locale with a decimal comma that Python code chooses changes no number that lockstep prints or reads. */
static void numbers_keep_their_point(void **state)
{
    (void)state;
    char command[1024], numeric[512];
    snprintf(command, sizeof(command), "localedef -i de_DE -f UTF-8 %s/de_DE.UTF-8 >/dev/null 2>&1", folder);
    (void)!system(command); /* warns, and its status says so */
    if (access(scratch_path(numeric, folder, "de_DE.UTF-8/LC_NUMERIC"), R_OK) != 0) {
        print_message("a German locale cannot be made: not shown\n");
        skip();
    }
    assert_int_equal(setenv("LOCPATH", folder, 1), 0);
    struct outcome outcome;
    run_lines(
        &outcome, LOCKSTEP_PROGRAM,
        "step 2\nprint attn_norm@0 0 0 from reference\npy import locale\n"
        "py locale.setlocale(locale.LC_ALL, 'de_DE.UTF-8'); print('while', locale.localeconv()['decimal_point'])\n"
        "py print('after', locale.localeconv()['decimal_point'])\n"
        "print attn_norm@0 0 0 from reference\nbreak ffn_down@1 if maxabs>1.5\ninfo breakpoints\n");
    unsetenv("LOCPATH");
    expect_text(outcome.out, "while ,\n"); /* the twin: it would be another number */
    expect_text(outcome.out, "after .\n");
    expect_text(outcome.out, "maxabs>1.5");
    const char *before = strstr(outcome.out, "\n        0 "),
               *after = before ? strstr(before + 1, "\n        0 ") : NULL;
    assert_non_null(after);
    assert_int_equal(strncmp(before, after, strcspn(before + 1, "\n")), 0);
    outcome_free(&outcome);
}

static void copy_program(const char *to)
{
    scratch_copy(LOCKSTEP_PROGRAM, to);
    assert_int_equal(chmod(to, 0700), 0);
}

/* A project folder elsewhere: first it has no .venv, then one without packages. The error says so, and everything that
 * needs no Python works. */
static void a_missing_environment_is_named(void **state)
{
    (void)state;
    char program[512], path[512];
    assert_int_equal(mkdir(scratch_path(path, folder, "build"), 0700), 0);
    copy_program(scratch_path(program, folder, "build/lockstep"));
    assert_int_equal(symlink(LOCKSTEP_SOURCE_DIR "/golden", scratch_path(path, folder, "golden")), 0);
    struct outcome outcome;
    run_lines(&outcome, program, "step\npy 1\nwhere\n");
    expect_one_line(outcome.err, "/.venv/bin/python3: no Python environment, expected the one that ./demo makes");
    expect_text(outcome.out, "1 of 118 stages ran");
    outcome_free(&outcome);

    static const char *const folders[] = {".venv", ".venv/bin", ".venv/lib"};
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(mkdir(scratch_path(path, folder, folders[i]), 0700), 0);
    }
    assert_int_equal(symlink("/usr/bin/python3", scratch_path(path, folder, ".venv/bin/python3")), 0);
    scratch_write(scratch_path(path, folder, ".venv/pyvenv.cfg"), "home = /usr/bin\n", 16);
    run_lines(&outcome, program, "py 1\n");
    expect_one_line(outcome.err, "made by another Python, expected 3.");
    outcome_free(&outcome);

    /* An empty environment of the right version. */
    glob_t found;
    assert_int_equal(glob(LOCKSTEP_SOURCE_DIR "/.venv/lib/python3.*", 0, NULL, &found), 0);
    char name[128];
    snprintf(name, sizeof(name), ".venv/lib/%s", strrchr(found.gl_pathv[0], '/') + 1);
    globfree(&found);
    assert_int_equal(mkdir(scratch_path(path, folder, name), 0700), 0);
    strcat(name, "/site-packages");
    assert_int_equal(mkdir(scratch_path(path, folder, name), 0700), 0);
    run_lines(&outcome, program, "py 1\n");
    expect_one_line(outcome.err, "numpy: no such Python package in .venv; ./demo installs");
    outcome_free(&outcome);
    const char *const golden[] = {"golden", MODEL, "--ids", "1", "-o", scratch_path(path, folder, "g.h5"), NULL};
    program_run(&outcome, program, "", golden);
    assert_int_equal(outcome.status, 4);
    expect_one_line(outcome.err, "no such Python package in .venv");
    outcome_free(&outcome);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(h5py_lives_beside_our_hdf5, set_up, tear_down),
        cmocka_unit_test_setup_teardown(stages_are_views, set_up, tear_down),
        cmocka_unit_test_setup_teardown(views_follow_the_run, set_up, tear_down),
        cmocka_unit_test_setup_teardown(transformers_runs_inside, set_up, tear_down),
        cmocka_unit_test_setup_teardown(mistakes_end_the_command, set_up, tear_down),
        cmocka_unit_test_setup_teardown(control_c_ends_python_code, set_up, tear_down),
        cmocka_unit_test_setup_teardown(numbers_keep_their_point, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_missing_environment_is_named, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
