/* The parser of command lines. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "workbench/cli/doppler_lines.h"
#include "workbench/cli/output_guard.h"
#include "workbench/cli/usage.h"
#include "workbench/text/output.h"
#include "workbench/text/suggest.h"
#include "workbench/trace/version.h"

static enum status unknown_command(const char *name, struct error *err)
{
    struct suggestion suggestion = {.word = name};
    char text[SUGGEST_SIZE];
    uint32_t n;
    const struct command *commands = command_list(&n);
    for (uint32_t i = 0; i < n; i++) {
        suggest_offer(&suggestion, commands[i].name);
    }
    return error_set(err, STATUS_USAGE, NULL, name, ERROR_NO_OFFSET,
                     "unknown command, expected one of those that lockstep --help lists%s",
                     suggest_text(&suggestion, text));
}

/* `lockstep help` and `lockstep help COMMAND`. */
static enum status show_help(const char *name, struct error *err)
{
    const struct command *command = name != NULL ? command_find(name) : NULL;
    if (name != NULL && command == NULL) {
        return unknown_command(name, err);
    }
    output_hold();
    if (command != NULL) {
        usage_print_command(command, stdout);
    } else {
        usage_print_overview(stdout);
    }
    return STATUS_OK;
}

static enum status show_manual(const char *value, struct error *err)
{
    (void)value;
    (void)err;
    manual_print(stdout);
    return STATUS_OK;
}

static enum status show_completion(const char *value, struct error *err)
{
    return completion_print(value, stdout, err);
}

static const struct program_option program_options[] = {
    {"--help", "[COMMAND]", "Describe the program, or a command and its options.", show_help},
    {"--version", NULL, "Print the version and the commit.", version_print},
    {"--man", NULL, "Print the man page, in roff.", show_manual},
    {"--completion", "bash|zsh", "Print a completion script for this shell.", show_completion},
};
#define N_PROGRAM_OPTIONS (sizeof(program_options) / sizeof(program_options[0]))

const struct program_option *program_option_list(uint32_t *n_options)
{
    *n_options = N_PROGRAM_OPTIONS;
    return program_options;
}

/* Fails with "WORD: what is wrong, expected: lockstep COMMAND …". */
static enum status usage_error(const struct command *command, const char *word, const char *what, struct error *err)
{
    char *line = usage_line(command);
    enum status status = error_set(err, STATUS_USAGE, NULL, word, ERROR_NO_OFFSET, "%s, expected: %s", what, line);
    free(line);
    return status;
}

static enum status unknown_option(const struct command *command, const char *word, struct error *err)
{
    struct suggestion suggestion = {.word = word};
    struct option option;
    char text[SUGGEST_SIZE], *line = usage_line(command);
    suggest_offer(&suggestion, "--help");
    for (size_t at = 0; command_next_option(command, &at, &option);) {
        suggest_offer(&suggestion, option.name);
    }
    enum status status = error_set(err, STATUS_USAGE, NULL, word, ERROR_NO_OFFSET, "unknown option, expected: %s%s",
                                   line, suggest_text(&suggestion, text));
    free(line);
    return status;
}

/* second: the field of a second value; NULL: the option may be given once. */
static enum status store_text(const struct option *option, const char *text, const char **field, const char **second,
                              struct error *err)
{
    field = *field != NULL && second != NULL ? second : field;
    if (*field != NULL) {
        return error_set(err, STATUS_USAGE, NULL, option->name, ERROR_NO_OFFSET, "given %s, expected %s",
                         second != NULL ? "three times" : "twice", second != NULL ? "twice" : "once");
    }
    *field = text;
    return STATUS_OK;
}

static enum status store_count(const struct option *option, const char *text, int64_t *field, struct error *err)
{
    char *end;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (end == text || *end != '\0' || errno != 0 || value < 0 || value > 1000000) {
        return error_set(err, STATUS_USAGE, NULL, option->name, ERROR_NO_OFFSET,
                         "\"%s\", expected a count from 0 to 1000000", text);
    }
    *field = value;
    return STATUS_OK;
}

static enum status store_in_list(const struct option *option, const char *text, struct text_list *field,
                                 struct error *err)
{
    if (field->n == TEXT_LIST_MOST) {
        return error_set(err, STATUS_USAGE, NULL, option->name, ERROR_NO_OFFSET, "given more than %u times", field->n);
    }
    field->text[field->n++] = text;
    return STATUS_OK;
}

/* Stores an option's value in its field. */
static enum status store_value(const struct option *option, const char *text, struct arguments *arguments,
                               struct error *err)
{
    void *field = (char *)arguments + option->offset;
    void *second = option->second > 0 ? (char *)arguments + option->second : NULL;
    switch (option->kind) {
    case OPTION_FLAG:
        *(bool *)field = true;
        return STATUS_OK;
    case OPTION_TEXT:
        return store_text(option, text, field, second, err);
    case OPTION_COUNT:
        return store_count(option, text, field, err);
    case OPTION_LIST:
        return store_in_list(option, text, field, err);
    }
    return STATUS_OK;
}

static enum status parse_arguments(const struct command *command, int argc, char **argv, struct arguments *arguments,
                                   struct error *err)
{
    for (int i = 0; i < argc; i++) {
        const char *word = argv[i];
        struct option option;
        if (word[0] != '-' || word[1] == '\0') {
            if (arguments->n_positional == command->max_words) {
                return usage_error(command, word, "one word too many", err);
            }
            arguments->positional[arguments->n_positional++] = word;
            continue;
        }
        if (!command_option(command, word, strlen(word), &option)) {
            return unknown_option(command, word, err);
        }
        if (option.kind != OPTION_FLAG && ++i == argc) {
            return error_set(err, STATUS_USAGE, NULL, word, ERROR_NO_OFFSET, "nothing follows it, expected a value");
        }
        TRY(store_value(&option, argv[i], arguments, err));
    }
    if (arguments->n_positional < command->min_words && arguments->resume_file == NULL) {
        char what[64];
        snprintf(what, sizeof(what), "%u of %u words given", arguments->n_positional, command->min_words);
        return usage_error(command, command->name, what, err);
    }
    return STATUS_OK;
}

/* Whether a word is the value of the option before it: --prompt --help. */
static bool is_value(const struct command *command, char **argv, int i)
{
    struct option option;
    return i > 0 && command_option(command, argv[i - 1], strlen(argv[i - 1]), &option) && option.kind != OPTION_FLAG;
}

static bool asks_for_help(const char *word)
{
    return strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0;
}

/* Runs `lockstep --man` and its like; n_words: how many words follow the option. */
static enum status run_program_option(const struct program_option *option, int n_words, char **words, struct error *err)
{
    bool needs_value = option->value != NULL && option->value[0] != '[';
    if (n_words > (option->value != NULL) || n_words < needs_value) {
        return error_set(err, STATUS_USAGE, NULL, option->name, ERROR_NO_OFFSET, "%d words follow, expected: %s %s",
                         n_words, option->name, option->value != NULL ? option->value : "and none");
    }
    return option->function(n_words > 0 ? words[0] : NULL, err);
}

/* Runs a command; or, with --help anywhere among its words, describes it. */
static enum status run_command(const struct command *command, int argc, char **argv, struct error *err)
{
    for (int i = 0; i < argc; i++) {
        if (asks_for_help(argv[i]) && !is_value(command, argv, i)) {
            return show_help(command->name, err);
        }
    }
    struct arguments arguments = {.n = -1, .n_prompt = -1, .jobs = -1};
    TRY(parse_arguments(command, argc, argv, &arguments, err));
    if (!command->checks_outputs) {
        TRY(check_outputs(&arguments, err));
    }
    if (command->pages && !arguments.check) {
        output_hold();
    }
    return command->function(&arguments, err);
}

enum status command_line_run(int argc, char **argv, struct error *err)
{
    if (argc < 2) {
        usage_print_overview(stderr);
        return STATUS_USAGE;
    }
    if (doppler_line(argc, argv, err)) {
        return STATUS_USAGE;
    }
    const char *name = argv[1];
    if (strcmp(name, "help") == 0 || asks_for_help(name)) {
        name = "--help";
    }
    for (size_t i = 0; i < N_PROGRAM_OPTIONS; i++) {
        if (strcmp(program_options[i].name, name) == 0) {
            return run_program_option(&program_options[i], argc - 2, argv + 2, err);
        }
    }
    const struct command *command = command_find(argv[1]);
    if (command != NULL) {
        return run_command(command, argc - 2, argv + 2, err);
    }
    return unknown_command(argv[1], err);
}
