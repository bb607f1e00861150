/* Finds the command that a line calls, checks its arguments and runs it. */
#include "workbench/debugger/command.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "workbench/debugger/run/run.h"

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

const struct repl_command *repl_command_by_name(const char *name)
{
    const struct repl_command *found = NULL;
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
    return error_set(err, STATUS_USAGE, NULL, name, ERROR_NO_OFFSET,
                     "unknown command, expected one of those that help lists");
}

static enum status read_arguments(struct words *words, const char *rest, struct error *err)
{
    const struct repl_command *command = words->command;
    if (!command->raw) {
        TRY(words_split(words, rest, err));
    } else if (*rest != '\0') {
        words->word[words->n++] = xstrdup(rest);
    }
    if (words->n >= command->min && words->n <= command->max) {
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
    TRY(read_arguments(&words, skip_blanks(line + length), err));
    repl->stopped = false;
    uint64_t from = repl_point(repl);
    enum status status = words.command->function(repl, &words, err);
    words_free(&words);
    remember_run(repl, words.command, line, from, status);
    return status;
}
