#include "workbench/cli/usage.h"

#include <stdlib.h>
#include <string.h>

#include "workbench/report/wrapped_text.h"
#include "workbench/text/terminal.h"

#define WIDTH terminal_text_width() /* columns */
#define HELP_COLUMN 22              /* where the sentences of options begin */

const char usage_purpose[] =
    "Lockstep finds the first wrong operation of an LLM inference engine: its layer, op, token "
    "and dim, and the known bug that explains it.";
const char usage_model[] = "MODEL is a folder with config.json and *.safetensors, a folder with an RDRR manifest.json, "
                           "or a .gguf file.";

/* Prints some bytes of a synopsis, with the value behind each option that has one. */
static void print_with_values(const struct command *command, const char *text, size_t length, FILE *out)
{
    for (size_t i = 0; i < length;) {
        size_t word = strcspn(text + i, " \n()[]|");
        struct option option;
        if (word == 0) {
            fputc(text[i++], out);
            continue;
        }
        fprintf(out, "%.*s", (int)word, text + i);
        if (text[i] == '-' && command_option(command, text + i, word, &option) && option.value != NULL) {
            fprintf(out, " %s", option.value);
        }
        i += word;
    }
}

bool usage_next_part(const struct command *command, size_t *at, FILE *out)
{
    const char *text = command->synopsis + *at;
    size_t begin = strspn(text, " "), end = begin;
    for (unsigned depth = 0; text[end] != '\0' && text[end] != '\n' && (text[end] != ' ' || depth > 0); end++) {
        depth += text[end] == '(' || text[end] == '[';
        depth -= text[end] == ')' || text[end] == ']';
    }
    *at += end;
    print_with_values(command, text + begin, end - begin, out);
    return end > begin;
}

char *usage_line(const struct command *command)
{
    char *line = NULL;
    size_t size;
    FILE *out = open_memstream(&line, &size);
    ASSERT(out != NULL);
    for (const char *at = command->synopsis; at != NULL;) {
        size_t length = strcspn(at, "\n");
        fprintf(out, "%slockstep %s%s", at == command->synopsis ? "" : " or ", command->name, length > 0 ? " " : "");
        print_with_values(command, at, length, out);
        at = at[length] == '\n' ? at + length + 1 : NULL;
    }
    fclose(out);
    return line;
}

/* Prints the ways to use a command, each broken between parts, and lines after the first indented. */
static void print_synopsis(const struct command *command, FILE *out)
{
    size_t at = 0;
    do {
        at += command->synopsis[at] == '\n';
        unsigned column = (unsigned)fprintf(out, "lockstep %s", command->name);
        for (bool more = true; more;) {
            char *part = NULL;
            size_t size;
            FILE *memory = open_memstream(&part, &size);
            ASSERT(memory != NULL);
            more = usage_next_part(command, &at, memory);
            fclose(memory);
            if (more) {
                bool fits = column + 1 + size <= WIDTH;
                fprintf(out, fits ? " %s" : "\n    %s", part);
                column = (unsigned)size + (fits ? column + 1 : 4);
            }
            free(part);
        }
        fputc('\n', out);
    } while (command->synopsis[at] == '\n');
}

/* Prints "  --name VALUE" and, from HELP_COLUMN on, a sentence. */
static void print_entry(const char *name, const char *value, const char *help, FILE *out)
{
    int column = fprintf(out, "  %s%s%s", name, value != NULL ? " " : "", value != NULL ? value : "");
    if (column + 2 > HELP_COLUMN) {
        fputc('\n', out);
        column = 0;
    }
    fprintf(out, "%*s", HELP_COLUMN - column, "");
    text_print_wrapped(help, (struct text_layout){HELP_COLUMN, HELP_COLUMN, WIDTH}, out);
}

void usage_print_command(const struct command *command, FILE *out)
{
    struct option option;
    print_synopsis(command, out);
    fputc('\n', out);
    text_print_wrapped(command->description, (struct text_layout){0, 0, WIDTH}, out);
    if (strstr(command->synopsis, "MODEL") != NULL) {
        fputc('\n', out);
        text_print_wrapped(usage_model, (struct text_layout){0, 0, WIDTH}, out);
    }
    if (strchr(command->synopsis, '-') != NULL) {
        fputs("\nOptions:\n", out);
    }
    for (size_t at = 0; command_next_option(command, &at, &option);) {
        print_entry(option.name, option.value, option.help, out);
    }
}

void usage_print_overview(FILE *out)
{
    uint32_t n_commands, n_options, n_meanings;
    const struct command *commands = command_list(&n_commands);
    const struct program_option *options = program_option_list(&n_options);
    const struct exit_meaning *meanings = exit_meaning_list(&n_meanings);
    text_print_wrapped(usage_purpose, (struct text_layout){0, 0, WIDTH}, out);
    for (int group = 0; group < GROUP_COUNT; group++) {
        fprintf(out, "\n%s\n", command_group_name((enum command_group)group));
        for (uint32_t i = 0; i < n_commands; i++) {
            if (commands[i].group == (enum command_group)group) {
                fprintf(out, "  %-10s %s\n", commands[i].name, commands[i].summary);
            }
        }
    }
    fputs("\nOptions\n", out);
    for (uint32_t i = 0; i < n_options; i++) {
        print_entry(options[i].name, options[i].value, options[i].help, out);
    }
    fputs("\nExit status\n", out);
    for (uint32_t i = 0; i < n_meanings; i++) {
        fprintf(out, "  %-4d %s\n", meanings[i].status, meanings[i].text);
    }
    fputc('\n', out);
    text_print_wrapped(usage_model, (struct text_layout){0, 0, WIDTH}, out);
    fputc('\n', out);
    text_print_wrapped("Read on: `lockstep help COMMAND` for a command and its options, README.md for a first example, "
                       "docs/ for traces, configuration, the prompt and the known bugs.",
                       (struct text_layout){0, 0, WIDTH}, out);
}
