/* Command lines that nobody means, at each command: they end with one line and a status, never with a signal. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/support/folder_doc.h"
#include "tests/support/program.h"
#include "tests/support/scratch.h"

#define MODEL "golden/tiny-llama"

SCRATCH_FIXTURE

/* The commands that take a prompt. */
static const char *const prompted[] = {"trace", "run", "golden", "debug"};
#define N_PROMPTED (sizeof(prompted) / sizeof(prompted[0]))

/* Runs a command on the reference with one option more; it must refuse that with this status, in one line. */
static void expect_refused(const char *command, const char *model, const char *option, const char *value, int status,
                           const char *line)
{
    char path[512];
    (void)scratch_path(path, folder, "made.h5");
    const char *arguments[12] = {command, model, option, value};
    unsigned n = 4;
    if (strcmp(command, "golden") != 0) {
        arguments[n++] = "--on";
        arguments[n++] = "reference";
    }
    if (strcmp(command, "trace") == 0 || strcmp(command, "golden") == 0) {
        arguments[n++] = "-o";
        arguments[n++] = path;
    }
    struct outcome outcome;
    program_run(&outcome, LOCKSTEP_PROGRAM, "", arguments);
    if (outcome.status != status) {
        fail_msg("%s %s \"%s\": status %d, expected %d: %s", command, option, value, outcome.status, status,
                 outcome.err);
    }
    expect_one_line(outcome.err, line);
    assert_int_not_equal(access(path, F_OK), 0);
    outcome_free(&outcome);
}

/* The ids of a refused prompt were freed twice: by the function that refused them, and by the command. */
static void refused_ids_are_freed_once(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_PROMPTED; i++) {
        expect_refused(prompted[i], MODEL, "--ids", "", 2, "token ids");
        expect_refused(prompted[i], MODEL, "--ids", "1,2,", 2, "token ids");
        expect_refused(prompted[i], MODEL, "--ids", "1,99999999", 3, "token 99999999 at position 1");
        expect_refused(prompted[i], "golden/none", "--ids", "1", 3, "golden/none");
    }
}

/* A prompt that has no token, of a model whose tokenizer adds none by itself. */
static void an_empty_prompt_is_refused(void **state)
{
    (void)state;
    char path[512];
    struct folder_doc doc;
    struct outcome outcome;
    folder_doc_llama(&doc);
    folder_doc_write(&doc, folder);
    folder_doc_free(&doc);
    const char *const arguments[] = {"tests/make_tokenizer.py", "gpt-oss", scratch_path(path, folder, "tokenizer.json"),
                                     NULL};
    program_run(&outcome, LOCKSTEP_SOURCE_DIR "/.venv/bin/python3", "", arguments);
    assert_int_equal(outcome.status, 0);
    outcome_free(&outcome);
    for (size_t i = 0; i < N_PROMPTED; i++) {
        expect_refused(prompted[i], folder, "--prompt", "", 2, "no token in it");
    }
}

/* A part of an option's name, and two names in one word, are no options. The second was taken for one, and nothing
 * stored it. */
static void option_names_match_exactly(void **state)
{
    (void)state;
    static const struct {
        const char *command, *word;
    } cases[] = {
        {"diff", "--golden --trace"},
        {"diff", "--golden "},
        {"diff", "--gold"},
        {"diff", "--weights --fault"},
        {"diff", "--"},
        {"compare", "--drift --json"},
        {"trace", "--prompt --ids -n"},
        {"trace", "--device -o"},
        {"run", "--ids -n"},
        {"debug", "--device -x"},
        {"golden", "--attn-probs -o"},
        {"faults", "--check --json"},
        {"bench", "-p -n"},
        {"bench", "--kernels -v"},
        {"bench", "-v --fault"},
        {"audit", "--json --json"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct outcome outcome;
        const char *const arguments[] = {cases[i].command, cases[i].word, "x", "y", "z", NULL};
        program_run(&outcome, LOCKSTEP_PROGRAM, "", arguments);
        if (outcome.status != 2) {
            fail_msg("%s \"%s\": status %d: %s", cases[i].command, cases[i].word, outcome.status, outcome.err);
        }
        expect_one_line(outcome.err, cases[i].word);
        outcome_free(&outcome);
    }
}

/* An output that is read, or written twice, is refused before work begins; the file stays as it was. */
static void outputs_never_touch_inputs(void **state)
{
    char golden[512], config[512], link[512], twice[512];
    (void)state;
    scratch_write(scratch_path(golden, folder, "g.h5"), "golden\n", 7);
    scratch_write(scratch_path(config, folder, "config.json"), "{}\n", 3);
    scratch_path(link, folder, "link");
    scratch_path(twice, folder, "twice");
    assert_int_equal(symlink(golden, link), 0);
    const char *const cases[][9] = {
        {"diff", folder, "--golden", golden, "--md", golden, NULL},
        {"diff", folder, "--golden", golden, "--json", link, NULL},
        {"diff", folder, "--golden", golden, "--html", config, NULL},
        {"compare", golden, config, "--junit", golden, NULL},
        {"audit", folder, golden, "--json", twice, "--md", twice, NULL},
        {"batch", config, "--json", config, NULL},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct outcome outcome;
        program_run(&outcome, LOCKSTEP_PROGRAM, "", cases[i]);
        bool malformed = i == 5; /* an empty file of cases is refused first */
        assert_int_equal(outcome.status, malformed ? 3 : 2);
        expect_one_line(outcome.err, malformed ? "expected a list of cases"
                                     : i == 4  ? "is given twice"
                                               : "is one of the files");
        outcome_free(&outcome);
    }
    char text[16] = "";
    assert_int_equal(scratch_read(golden, text, sizeof(text)), 7);
    assert_string_equal(text, "golden\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(outputs_never_touch_inputs, set_up, tear_down),
        cmocka_unit_test_setup_teardown(refused_ids_are_freed_once, set_up, tear_down),
        cmocka_unit_test(option_names_match_exactly),
        cmocka_unit_test_setup_teardown(an_empty_prompt_is_refused, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
