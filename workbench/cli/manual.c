/* The man page. */
#include <stdlib.h>
#include <string.h>

#include "workbench/cli/usage.h"

/* Prints text so that roff takes no character of it for a request or an escape. A "-" stays one that can be copied. */
static void print_escaped(const char *text, FILE *out)
{
    if (text[0] == '.' || text[0] == '\'') {
        fputs("\\&", out);
    }
    for (; *text != '\0'; text++) {
        if (*text == '\\') {
            fputs("\\e", out);
        } else if (*text == '-') {
            fputs("\\-", out);
        } else if (*text == '"') {
            fputs("\\(dq", out);
        } else {
            fputc(*text, out);
        }
    }
}

static void print_paragraph(const char *text, FILE *out)
{
    fputs(".PP\n", out);
    print_escaped(text, out);
    fputc('\n', out);
}

/* An option, its value, and below it a sentence. */
static void print_option(const char *name, const char *value, const char *help, FILE *out)
{
    fputs(".TP\n\\fB", out);
    print_escaped(name, out);
    fputs("\\fR", out);
    if (value != NULL) {
        fputs(" \\fI", out);
        print_escaped(value, out);
        fputs("\\fR", out);
    }
    fputc('\n', out);
    print_escaped(help, out);
    fputc('\n', out);
}

static void print_command(const struct command *command, FILE *out)
{
    struct option option;
    char *line = usage_line(command);
    fputs(".SS \"", out);
    print_escaped(command->name, out);
    fputs("\"\n\\fB", out);
    print_escaped(line, out);
    fputs("\\fR\n", out);
    print_paragraph(command->description, out);
    for (size_t at = 0; command_next_option(command, &at, &option);) {
        print_option(option.name, option.value, option.help, out);
    }
    free(line);
}

static void print_exit_meanings(FILE *out)
{
    uint32_t n;
    const struct exit_meaning *meanings = exit_meaning_list(&n);
    fputs(".SH EXIT STATUS\n", out);
    for (uint32_t i = 0; i < n; i++) {
        fprintf(out, ".TP\n\\fB%d\\fR\n", meanings[i].status);
        print_escaped(meanings[i].text, out);
        fputc('\n', out);
    }
}

static void print_examples(FILE *out)
{
    static const char *const examples[][2] = {
        {"Find the first wrong op of a model on its golden's tokens:", "lockstep diff MODEL --golden G.h5"},
        {"Judge another engine's dump; no device is needed:", "lockstep audit MODEL TRACE.h5"},
        {"Plant a known bug and see that it is found:",
         "lockstep diff MODEL --golden G.h5 --fault softmax-sizes-swapped"},
    };
    fputs(".SH EXAMPLES\n", out);
    for (size_t i = 0; i < sizeof(examples) / sizeof(examples[0]); i++) {
        print_paragraph(examples[i][0], out);
        fputs(".PP\n.in +4n\n.nf\n", out);
        print_escaped(examples[i][1], out);
        fputs("\n.fi\n.in\n", out);
    }
}

void manual_print(FILE *out)
{
    uint32_t n_commands, n_options;
    const struct command *commands = command_list(&n_commands);
    const struct program_option *options = program_option_list(&n_options);
    fputs(".\\\" Made by: lockstep --man\n"
          ".TH LOCKSTEP 1 \"\" \"lockstep\" \"User Commands\"\n"
          ".SH NAME\n"
          "lockstep \\- find the first wrong operation of an LLM inference engine\n"
          ".SH SYNOPSIS\n"
          "\\fBlockstep\\fR \\fICOMMAND\\fR [\\fIWORDS\\fR] [\\fIOPTIONS\\fR]\n"
          ".SH DESCRIPTION\n",
          out);
    print_escaped(usage_purpose, out);
    fputc('\n', out);
    print_paragraph(usage_model, out);
    fputs(".SH OPTIONS\n", out);
    for (uint32_t i = 0; i < n_options; i++) {
        print_option(options[i].name, options[i].value, options[i].help, out);
    }
    fputs(".SH COMMANDS\n", out);
    for (int group = 0; group < GROUP_COUNT; group++) {
        for (uint32_t i = 0; i < n_commands; i++) {
            if (commands[i].group == (enum command_group)group) {
                print_command(&commands[i], out);
            }
        }
    }
    print_exit_meanings(out);
    print_examples(out);
}
