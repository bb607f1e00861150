/* Finds the command that a line calls, checks its arguments and runs it. */
#include "workbench/debugger/command.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "workbench/debugger/run/judge.h"
#include "workbench/debugger/run/run.h"
#include "workbench/text/output.h"
#include "workbench/text/suggest.h"

static const struct repl_command commands[] = {
#define COMMAND(command, ...) {.name = #command, .function = do_##command, __VA_ARGS__},
#include "workbench/debugger/command_rows.h"
#undef COMMAND
};
#define N_COMMANDS (sizeof(commands) / sizeof(commands[0]))

const struct repl_command *repl_command_at(uint32_t i)
{
    return i < N_COMMANDS ? &commands[i] : NULL;
}

/* As gdb has them; those that a beginning names anyway need no row. */
static const struct {
    const char *alias, *command;
} aliases[] = {{"s", "step"},          {"n", "next"},     {"b", "break"},   {"p", "print"},    {"bt", "where"},
               {"backtrace", "where"}, {"c", "continue"}, {"u", "until"},   {"r", "run"},      {"l", "list"},
               {"d", "delete"},        {"q", "quit"},     {"exit", "quit"}, {"finish", "next"}};
#define N_ALIASES (sizeof(aliases) / sizeof(aliases[0]))

bool repl_alias_at(uint32_t i, const char **alias, const char **command)
{
    if (i < N_ALIASES) {
        *alias = aliases[i].alias;
        *command = aliases[i].command;
    }
    return i < N_ALIASES;
}

const struct repl_command *repl_command_by_name(const char *name)
{
    const struct repl_command *found = NULL;
    for (size_t i = 0; i < N_ALIASES; i++) {
        name = strcmp(aliases[i].alias, name) == 0 ? aliases[i].command : name;
    }
    uint32_t n_found = 0;
    for (size_t i = 0; i < N_COMMANDS; i++) {
        if (strcmp(commands[i].name, name) == 0) {
            return &commands[i];
        }
        if (strncmp(commands[i].name, name, strlen(name)) == 0) {
            found = &commands[i];
            n_found++;
        }
    }
    return n_found == 1 ? found : NULL;
}

enum status repl_find_command(const char *name, const struct repl_command **command, struct error *err)
{
    *command = repl_command_by_name(name);
    if (*command != NULL) {
        return STATUS_OK;
    }
    char fitting[256] = "";
    for (size_t i = 0; i < N_COMMANDS; i++) {
        if (strncmp(commands[i].name, name, strlen(name)) == 0) {
            strcat(strcat(fitting, fitting[0] != '\0' ? ", " : ""), commands[i].name);
        }
    }
    if (fitting[0] != '\0') {
        return error_set(err, STATUS_USAGE, NULL, name, ERROR_NO_OFFSET, "fits several commands: %s", fitting);
    }
    struct suggestion suggestion = {.word = name};
    char text[SUGGEST_SIZE];
    for (size_t i = 0; i < N_COMMANDS; i++) {
        suggest_offer(&suggestion, commands[i].name);
    }
    return error_set(err, STATUS_USAGE, NULL, name, ERROR_NO_OFFSET,
                     "unknown command, expected one of those that help lists%s", suggest_text(&suggestion, text));
}

/* Whether a command's words ask for its description: `diff --help`. */
static bool asks_for_help(const struct words *words)
{
    bool asks = false;
    for (uint32_t i = 0; i < words->n && !words->command->raw; i++) {
        asks = asks || strcmp(words->word[i], "--help") == 0;
    }
    return asks || (words->command->raw && words->n == 1 && strcmp(words->word[0], "--help") == 0);
}

static enum status read_arguments(struct words *words, const char *rest, struct error *err)
{
    const struct repl_command *command = words->command;
    if (!command->raw) {
        TRY(words_split(words, rest, err));
    } else if (*rest != '\0') {
        words->word[words->n++] = xstrdup(rest);
    }
    if ((words->n >= command->min && words->n <= command->max) || asks_for_help(words)) {
        return STATUS_OK;
    }
    const char *many = words->n < command->min ? "too few" : "too many";
    words_free(words);
    return error_set(err, STATUS_USAGE, NULL, command->name, ERROR_NO_OFFSET, "%s arguments, expected: %s %s", many,
                     command->name, command->args != NULL ? command->args : "alone");
}

/* Keeps the last command that ran steps, for `reload`; forgets it if the command failed. */
static void remember_run(struct repl *repl, const struct repl_command *command, const char *line, uint64_t from,
                         enum status status)
{
    if (command->runs) {
        free(repl->last_run);
        repl->last_run = status == STATUS_OK ? xstrdup(line) : NULL;
        repl->last_from = command->function == do_run ? 0 : from;
        repl->last_to = repl_point(repl);
    }
}

/* Keeps the line for an empty one that follows; forgets the one before if this one is not to be repeated. */
static void remember_line(struct repl *repl, const struct repl_command *command, const char *line, enum status status)
{
    char *kept = status == STATUS_OK && command->repeats ? xstrdup(line) : NULL; /* line may be the one before */
    free(repl->last_line);
    repl->last_line = kept;
}

static enum status run_words(struct repl *repl, const struct words *words, const char *line, struct error *err)
{
    const struct repl_command *command = words->command;
    repl->stopped = false;
    uint64_t from = repl_point(repl);
    if (repl->on_terminal && !command->runs && !command->streams) {
        output_hold();
    }
    enum status status = command->function(repl, words, err);
    repl_show_probes(repl);
    remember_run(repl, command, line, from, status);
    return status;
}

static const char *skip_blanks(const char *text)
{
    while (isspace((unsigned char)*text)) {
        text++;
    }
    return text;
}

enum status repl_run_line(struct repl *repl, const char *line, struct error *err)
{
    line = skip_blanks(line);
    size_t length = 0;
    while (line[length] != '\0' && !isspace((unsigned char)line[length])) {
        length++;
    }
    if (length == 0 || line[0] == '#') {
        return STATUS_OK;
    }
    char name[64];
    length = length < sizeof(name) ? length : sizeof(name) - 1;
    memcpy(name, line, length);
    name[length] = '\0';
    struct words words = {0};
    TRY(repl_find_command(name, &words.command, err));
    enum status status = read_arguments(&words, skip_blanks(line + length), err);
    if (status == STATUS_OK && asks_for_help(&words)) {
        repl_describe_command(words.command);
    } else if (status == STATUS_OK) {
        status = run_words(repl, &words, line, err);
    }
    remember_line(repl, words.command, line, status);
    words_free(&words);
    return status;
}
