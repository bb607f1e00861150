/* What is made from the tables of commands and options: help, man page and completion. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/support/report.h"
#include "tests/support/scratch.h"
#include "workbench/cli/command_table.h"

SCRATCH_FIXTURE

/* Fails unless every line is at most 80 columns wide and has no blank at its end. Returns the number of lines. */
static unsigned expect_narrow(const char *text)
{
    unsigned n_lines = 0;
    while (*text != '\0') {
        size_t length = strcspn(text, "\n");
        if (length > 80 || (length > 0 && text[length - 1] == ' ')) {
            fail_msg("%zu columns: %.*s", length, (int)length, text);
        }
        n_lines++;
        text += length + (text[length] == '\n');
    }
    return n_lines;
}

static void overview_fits_a_screen(void **state)
{
    (void)state;
    static const char *const ways[] = {"--help", "-h", "help"};
    uint32_t n_commands;
    const struct command *commands = command_list(&n_commands);
    for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
        struct outcome outcome;
        RUN(&outcome, 0, ways[i]);
        assert_true(expect_narrow(outcome.out) < 60);
        for (uint32_t k = 0; k < n_commands; k++) {
            char line[128];
            snprintf(line, sizeof(line), "\n  %-10s %s\n", commands[k].name, commands[k].summary);
            expect_text(outcome.out, line);
        }
        for (int group = 0; group < GROUP_COUNT; group++) {
            char head[64];
            snprintf(head, sizeof(head), "\n\n%s\n", command_group_name((enum command_group)group));
            expect_text(outcome.out, head);
        }
        outcome_free(&outcome);
    }
}

/* Each command's page has a line for each of its options and for no other's, and `help COMMAND` is that page. */
static void each_command_describes_its_options(void **state)
{
    (void)state;
    uint32_t n_commands;
    const struct command *commands = command_list(&n_commands);
    for (uint32_t i = 0; i < n_commands; i++) {
        struct outcome page, same;
        RUN(&page, 0, commands[i].name, "--help");
        RUN(&same, 0, "help", commands[i].name);
        assert_string_equal(page.out, same.out);
        (void)expect_narrow(page.out);
        unsigned n_options = 0, n_lines = 0;
        struct option option;
        for (size_t at = 0; command_next_option(&commands[i], &at, &option); n_options++) {
            char entry[64];
            snprintf(entry, sizeof(entry), "\n  %s%s%s", option.name, option.value ? " " : "",
                     option.value ? option.value : "");
            expect_text(page.out, entry);
        }
        for (const char *at = strstr(page.out, "\n  -"); at != NULL; at = strstr(at + 1, "\n  -")) {
            n_lines++;
        }
        assert_int_equal(n_lines, n_options);
        outcome_free(&page);
        outcome_free(&same);
    }
}

/* An option can mean something else in a command: its row there says what. */
static void a_command_can_change_an_options_meaning(void **state)
{
    (void)state;
    struct outcome outcome;
    RUN(&outcome, 0, "diff", "--help");
    expect_text(outcome.out, "--on engine|reference|engine,reference");
    expect_no_text(outcome.out, "--seed");
    outcome_free(&outcome);
    RUN(&outcome, 0, "golden", "--help");
    expect_text(outcome.out, "\n  -o G.h5             The golden file to write.\n");
    outcome_free(&outcome);
    RUN(&outcome, 0, "trace", "--help");
    expect_text(outcome.out, "\n  -o T.h5             The trace file to write.\n");
    outcome_free(&outcome);
}

/* An error of usage says how the command is used, on the same line. */
static void errors_show_the_usage(void **state)
{
    (void)state;
    static const char usage[] = "expected: lockstep audit MODEL TRACE.h5 ";
    struct outcome outcome;
    RUN(&outcome, 2, "audit", "x");
    expect_one_line(outcome.err, "audit: 1 of 2 words given, ");
    expect_text(outcome.err, usage);
    outcome_free(&outcome);
    RUN(&outcome, 2, "audit", "x", "y", "z");
    expect_one_line(outcome.err, "z: one word too many, ");
    expect_text(outcome.err, usage);
    outcome_free(&outcome);
    RUN(&outcome, 2, "audit", "x", "y", "--seed", "1");
    expect_one_line(outcome.err, "--seed: unknown option, ");
    expect_text(outcome.err, usage);
    outcome_free(&outcome);
    RUN(&outcome, 2, "bench", "a", "b");
    expect_one_line(outcome.err, " or lockstep bench --kernels [WORDS] [-v] ");
    outcome_free(&outcome);
    RUN(&outcome, 2, "trace", "x", "-n", "many");
    expect_one_line(outcome.err, "-n: \"many\", expected a count");
    outcome_free(&outcome);
    RUN(&outcome, 2, "info", "x", "--json", "a", "--json", "b");
    expect_one_line(outcome.err, "--json: given twice");
    outcome_free(&outcome);
    RUN(&outcome, 2, "info", "x", "--json");
    expect_one_line(outcome.err, "--json: nothing follows it");
    outcome_free(&outcome);
    RUN(&outcome, 2, "help", "nope");
    expect_one_line(outcome.err, "nope: unknown command");
    outcome_free(&outcome);
    RUN(&outcome, 2, "--completion", "fish");
    expect_one_line(outcome.err, "expected bash or zsh");
    outcome_free(&outcome);
    RUN(&outcome, 2, "--completion");
    expect_one_line(outcome.err, "expected: --completion bash|zsh");
    outcome_free(&outcome);
}

/* Writes what the program prints for these options to a file, and some text behind it. */
static void write_printed(char path[512], const char *name, const char *option, const char *value, const char *more)
{
    struct outcome outcome;
    RUN(&outcome, 0, option, value);
    FILE *file = fopen(scratch_path(path, folder, name), "w");
    assert_non_null(file);
    fprintf(file, "%s%s", outcome.out, more);
    assert_int_equal(fclose(file), 0);
    outcome_free(&outcome);
}

/* Runs a script of bash with a path as $1. */
static void run_bash(struct outcome *outcome, const char *script, const char *path)
{
    program_run(outcome, "/bin/bash", "", (const char *const[]){"-c", script, "bash", path, NULL});
}

/* roff has nothing to say of the page; of the twin, which has a request that there is not, it has. */
static void man_page_is_sound_roff(void **state)
{
    (void)state;
    static const char *const scripts[] = {
        "command -v groff >/dev/null || exit 77; groff -man -ww -z -Tutf8 \"$1\"",
        "command -v man >/dev/null && command -v groff >/dev/null || exit 77; "
        "LC_ALL=C.UTF-8 MANROFFSEQ= man --warnings -l \"$1\" >/dev/null",
    };
    char page[512], twin[512];
    unsigned n_tried = 0;
    write_printed(page, "lockstep.1", "--man", NULL, "");
    write_printed(twin, "twin.1", "--man", NULL, ".NOSUCH request\n");
    for (size_t i = 0; i < sizeof(scripts) / sizeof(scripts[0]); i++) {
        struct outcome outcome;
        run_bash(&outcome, scripts[i], page);
        if (outcome.status != 77) {
            n_tried++;
            assert_int_equal(outcome.status, 0);
            assert_string_equal(outcome.err, "");
            outcome_free(&outcome);
            run_bash(&outcome, scripts[i], twin);
            expect_text(outcome.err, "NOSUCH");
        }
        outcome_free(&outcome);
    }
    if (n_tried == 0) {
        skip();
    }
}

/* The page has each command and option, with "-" as a character that can be copied. */
static void man_page_has_all(void **state)
{
    (void)state;
    uint32_t n_commands;
    const struct command *commands = command_list(&n_commands);
    struct outcome outcome;
    RUN(&outcome, 0, "--man");
    for (uint32_t i = 0; i < n_commands; i++) {
        char head[64];
        snprintf(head, sizeof(head), "\n.SS \"%s\"\n", commands[i].name);
        expect_text(outcome.out, head);
    }
    expect_text(outcome.out, "\n\\fB\\-\\-decode\\-ids\\fR \\fI4,5\\fR\n");
    expect_text(outcome.out, "\n.SH EXIT STATUS\n");
    outcome_free(&outcome);
}

/* Completes a command line in bash; the last word is what was typed so far. Prints the candidates, one a line. */
#define COMPLETE                                                                         \
    "source \"$1\"; COMP_WORDS=(%s); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _lockstep; " \
    "printf '%%s\\n' \"${COMPREPLY[@]}\""

static void bash_completes(void **state)
{
    (void)state;
    static const struct {
        const char *words, *found, *not_found;
    } cases[] = {
        {"lockstep ''", "audit\n", "golden/"},
        {"lockstep d", "diff\ndebug\ndevices\n", "audit"},
        {"lockstep --c", "--completion\n", "--man"},
        {"lockstep help au", "audit\n", "diff"},
        {"lockstep diff -", "--golden\n", "--seed"},
        {"lockstep diff m --go", "--golden\n", "--trace"},
        {"lockstep diff golden/tiny-gemma3.", "golden/tiny-gemma3.h5\n", "tiny-llama"},
        {"lockstep diff m --golden golden/tiny-gemma3.", "golden/tiny-gemma3.h5\n", "--"},
        {"lockstep diff m --fault norm-", "norm-no-offset\n", "kv-stale"},
        {"lockstep diff m --on ''", "engine,reference\n", "--"},
        {"lockstep run m --on ''", "engine\nreference\n", "engine,reference"},
        {"lockstep run m --preset g", "gemma2-debug\n", "bench"},
        {"lockstep trace m --stages layer_", "layer_out\n", "embed"},
        {"lockstep run m -n ''", "\n", "golden"},
        {"lockstep devices ''", "\n", "golden"},
    };
    if (access("/bin/bash", X_OK) != 0) {
        skip();
    }
    char path[512];
    write_printed(path, "lockstep.bash", "--completion", "bash", "");
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char script[512];
        struct outcome outcome;
        snprintf(script, sizeof(script), COMPLETE, cases[i].words);
        run_bash(&outcome, script, path);
        assert_string_equal(outcome.err, "");
        expect_text(outcome.out, cases[i].found);
        expect_no_text(outcome.out, cases[i].not_found);
        outcome_free(&outcome);
    }
}

/* zsh reads its script without an error; of the twin, whose last quote is open, it has one. */
static void zsh_reads_its_script(void **state)
{
    (void)state;
    char path[512], twin[512];
    struct outcome outcome;
    write_printed(path, "_lockstep", "--completion", "zsh", "");
    write_printed(twin, "_twin", "--completion", "zsh", "'");
    run_bash(&outcome, "command -v zsh >/dev/null || exit 77; zsh -n \"$1\"", path);
    bool absent = outcome.status == 77;
    assert_true(absent || (outcome.status == 0 && outcome.err[0] == '\0'));
    outcome_free(&outcome);
    if (absent) {
        skip();
    }
    run_bash(&outcome, "zsh -n \"$1\"", twin);
    assert_int_not_equal(outcome.status, 0);
    outcome_free(&outcome);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(overview_fits_a_screen),
        cmocka_unit_test(each_command_describes_its_options),
        cmocka_unit_test(a_command_can_change_an_options_meaning),
        cmocka_unit_test(errors_show_the_usage),
        cmocka_unit_test_setup_teardown(man_page_is_sound_roff, set_up, tear_down),
        cmocka_unit_test(man_page_has_all),
        cmocka_unit_test_setup_teardown(bash_completes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(zsh_reads_its_script, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
