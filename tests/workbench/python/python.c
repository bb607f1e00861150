/* Python inside the program: packages, numpy views of stages, tokenizers, and everything that must not end the program.
 */
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
#include "tests/support/folder_doc.h"
#include "tests/support/gguf_doc.h"
#include "tests/support/program.h"
#include "tests/support/scratch.h"

#define MODEL "golden/tiny-gemma3"
#define GOLDEN "golden/tiny-gemma3.h5"

SCRATCH_FIXTURE

/* Gives the prompt these lines, on the reference. */
static void run_lines(struct outcome *outcome, const char *program, const char *lines)
{
    const char *const arguments[] = {"debug", MODEL, "--golden", GOLDEN, "--on", "reference", NULL};
    program_run(outcome, program, lines, arguments);
}

/* HDF5 is linked statically and hidden, so that h5py's own lives in the same process: with a shared libhdf5 this import
 * fails ("Not a datatype"). The program's has been used before, for the golden. */
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

/* Arrays are the run's own memory: what runs later shows in those taken earlier, and they outlive a restart, another
 * golden and another engine. */
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

/* Live transformers, in each dtype, which the golden declares; it is judged as declared. */
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
    program_run(&outcome, LOCKSTEP_PROGRAM, lines, arguments);
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
    /* The twin: the same values, with nothing declared. */
    snprintf(lines, sizeof(lines),
             "py import h5py; f = h5py.File('%s', 'r+'); [f.attrs.pop(a) for a in list(f.attrs) if 'dtype' in a]; "
             "f.close()\nload golden %s\nstep layer 1\nfirst\n",
             dumped, dumped);
    program_run(&outcome, LOCKSTEP_PROGRAM, lines, arguments);
    expect_text(outcome.out, "first introduced error: golden, ");
    outcome_free(&outcome);
    assert_int_equal(unsetenv("ASAN_OPTIONS"), 0);
}

/* Whatever user code does, the command ends and the session goes on. */
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

/* The prompt of `where` shows which tokens a text became. */
static void expect_tokens(const char *model, const char *text, const char *tokens)
{
    const char *const arguments[] = {"debug", model, "--prompt", text, "--on", "reference", NULL};
    struct outcome outcome;
    program_run(&outcome, LOCKSTEP_PROGRAM, "where\n", arguments);
    assert_string_equal(outcome.err, "");
    expect_text(outcome.out, tokens);
    outcome_free(&outcome);
}

static void expect_refused_tokens(const char *model, int status, const char *message)
{
    const char *const arguments[] = {"run", model, "--prompt", "ab", "-n", "1", "--on", "reference", NULL};
    struct outcome outcome;
    program_run(&outcome, LOCKSTEP_PROGRAM, "", arguments);
    assert_int_equal(outcome.status, status);
    expect_one_line(outcome.err, message);
    outcome_free(&outcome);
}

/* A byte-level BPE of twelve tokens; \u0120 is a space, \u00c3 and \u00a9 are the bytes of e with an acute. */
static void add_tokenizer(struct gguf_doc *doc, const char *pre)
{
    static const char *const tokens[] = {"<s>", "a", "b",  "\u0120",  "ab",     "\u0120a",
                                         "1",   "2", "12", "\u0120b", "\u00c3", "\u00a9"};
    static const char *const merges[] = {"a b", "\u0120 a", "1 2", "\u0120 b"};
    gguf_doc_string(doc, "tokenizer.ggml.model", "gpt2");
    gguf_doc_string(doc, "tokenizer.ggml.pre", pre);
    gguf_doc_strings(doc, "tokenizer.ggml.tokens", tokens, 12);
    gguf_doc_strings(doc, "tokenizer.ggml.merges", merges, 4);
    struct gguf_doc_value *types = gguf_doc_value(doc, "tokenizer.ggml.token_type");
    types->type = 9;
    buffer_u32(&types->bytes, 5); /* i32 */
    buffer_u64(&types->bytes, 12);
    for (uint32_t i = 0; i < 12; i++) {
        buffer_u32(&types->bytes, i == 0 ? 3 : 1); /* control, normal */
    }
    gguf_doc_u32(doc, "tokenizer.ggml.bos_token_id", 0);
}

static const char *write_gguf(struct gguf_doc *doc, char path[512], const char *name)
{
    struct buffer bytes = gguf_doc_bytes(doc, &(size_t){0});
    scratch_write(scratch_path(path, folder, name), bytes.bytes, bytes.size);
    buffer_free(&bytes);
    gguf_doc_free(doc);
    return path;
}

static void a_gguf_has_its_tokenizer(void **state)
{
    (void)state;
    char path[512];
    struct gguf_doc doc;
    gguf_doc_llama(&doc);
    add_tokenizer(&doc, "smollm");
    write_gguf(&doc, path, "smollm.gguf");
    expect_tokens(path, "ab 12", "tokens 4 3 6 7\n");         /* digits one by one, whatever the merges say */
    expect_tokens(path, "a <s>b ab", "tokens 1 3 0 2 3 4\n"); /* <s> is a control token */
    expect_tokens(path, "\u00e9", "tokens 10 11\n");
    gguf_doc_llama(&doc);
    add_tokenizer(&doc, "gpt-2");
    struct gguf_doc_value *add_bos = gguf_doc_value(&doc, "tokenizer.ggml.add_bos_token");
    add_bos->type = 7; /* bool */
    buffer_add(&add_bos->bytes, "\1", 1);
    write_gguf(&doc, path, "gpt2.gguf");
    expect_tokens(path, "ab 12", "tokens 0 4 3 8\n");
}

static void unknown_tokenizers_are_refused(void **state)
{
    (void)state;
    char path[512];
    struct gguf_doc doc;
    gguf_doc_llama(&doc);
    add_tokenizer(&doc, "viking");
    expect_refused_tokens(write_gguf(&doc, path, "viking.gguf"), 3, "tokenizer.ggml.pre: found 'viking', known are");
    gguf_doc_llama(&doc);
    add_tokenizer(&doc, "smollm");
    gguf_doc_string(&doc, "tokenizer.ggml.model", "rwkv");
    expect_refused_tokens(write_gguf(&doc, path, "rwkv.gguf"), 3, "tokenizer.ggml.model: found 'rwkv'");
    static const char *const merges[] = {"a b", "a z"};
    gguf_doc_llama(&doc);
    add_tokenizer(&doc, "smollm");
    gguf_doc_strings(&doc, "tokenizer.ggml.merges", merges, 2);
    expect_refused_tokens(write_gguf(&doc, path, "merges.gguf"), 3, "tokenizer.ggml.merges: entry 1 is");
    expect_refused_tokens(MODEL, 4, "tokenizer: the model has none, expected token ids");
}

static void a_folder_has_its_tokenizer(void **state)
{
    (void)state;
    static const char json[] =
        "{\"version\": \"1.0\", \"added_tokens\": [], \"normalizer\": null, \"post_processor\": null,"
        " \"decoder\": null, \"pre_tokenizer\": {\"type\": \"Whitespace\"}, \"model\": {\"type\":"
        " \"WordLevel\", \"unk_token\": \"?\", \"vocab\": {\"?\": 0, \"hello\": 3, \"world\": 17}}}";
    char path[512];
    struct folder_doc doc;
    folder_doc_llama(&doc);
    folder_doc_write(&doc, folder);
    folder_doc_free(&doc);
    scratch_write(scratch_path(path, folder, "tokenizer.json"), json, strlen(json));
    expect_tokens(folder, "hello big world", "tokens 3 0 17\n");
    scratch_write(path, json, strlen(json) / 2);
    expect_refused_tokens(folder, 3, "tokenizer.json");
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

/* A project folder elsewhere: its .venv is not there, then has no packages. Without Python the rest works. */
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
        cmocka_unit_test_setup_teardown(a_gguf_has_its_tokenizer, set_up, tear_down),
        cmocka_unit_test_setup_teardown(unknown_tokenizers_are_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_folder_has_its_tokenizer, set_up, tear_down),
        cmocka_unit_test_setup_teardown(numbers_keep_their_point, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_missing_environment_is_named, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
