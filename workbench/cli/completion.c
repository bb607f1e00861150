/* Completion for bash and zsh: scripts made from the tables, with the names of faults and stages in them. */
#include <stdlib.h>
#include <string.h>

#include "model/stages.h"
#include "workbench/cli/usage.h"
#include "workbench/fault/fault.h"

/* Whether a value is a path. Its name says so (option_table.c). */
static bool is_path(const char *value)
{
    size_t length = strlen(value);
    return strcmp(value, "FILE") == 0 || strcmp(value, "MODEL") == 0 || strcmp(value, "SCRIPT") == 0 ||
           strcmp(value, "FOLDER") == 0 || (length > 3 && strcmp(value + length - 3, ".h5") == 0);
}

/* Prints the names of all faults. */
static void print_faults(FILE *out)
{
    uint32_t n;
    const struct fault *faults = fault_list(&n);
    for (uint32_t i = 0; i < n; i++) {
        fprintf(out, "%s%s", i > 0 ? " " : "", faults[i].name);
    }
}

/* Prints the names of all stages. */
static void print_stages(FILE *out)
{
    for (int stage = 0; stage < STAGE_COUNT; stage++) {
        fprintf(out, "%s%s", stage > 0 ? " " : "", stage_name((enum stage)stage));
    }
}

/* Prints the words of "off|all|both". */
static void print_choices(const char *value, FILE *out)
{
    for (; *value != '\0'; value++) {
        fputc(*value == '|' ? ' ' : *value, out);
    }
}

/* Whether a value lists the words that are possible. */
static bool is_choice(const char *value)
{
    return value != NULL && strchr(value, '|') != NULL;
}

/* Prints text inside '…' of a shell. */
static void print_quoted(const char *text, FILE *out)
{
    for (; *text != '\0'; text++) {
        if (*text == '\'') {
            fputs("'\\''", out);
        } else {
            fputc(*text, out);
        }
    }
}

static void print_command_names(FILE *out)
{
    uint32_t n;
    const struct command *commands = command_list(&n);
    for (uint32_t i = 0; i < n; i++) {
        fprintf(out, "%s ", commands[i].name);
    }
}

/* The branch of bash's `case $before in` for an option that a value follows. */
static void print_bash_value(const struct option *option, FILE *out)
{
    fprintf(out, "        %s) ", option->name);
    if (is_path(option->value)) {
        fputs("paths=1", out);
    } else if (strcmp(option->value, "FAULT") == 0) {
        fputs("choices=$faults", out);
    } else if (strcmp(option->value, "STAGES") == 0) {
        fputs("choices=$stages", out);
    } else if (is_choice(option->value)) {
        fputs("choices='", out);
        print_choices(option->value, out);
        fputc('\'', out);
    }
    fputs(" ;;\n", out);
}

/* The branch of bash's `case $command in`: what can follow an option, else the options and paths. */
static void print_bash_command(const struct command *command, FILE *out)
{
    struct option option;
    fprintf(out, "    %s)\n        case $before in\n", command->name);
    for (size_t at = 0; command_next_option(command, &at, &option);) {
        if (option.value != NULL) {
            print_bash_value(&option, out);
        }
    }
    fprintf(out, "        *) options='");
    for (size_t at = 0; command_next_option(command, &at, &option);) {
        fprintf(out, "%s ", option.name);
    }
    fprintf(out, "--help' paths=%s ;;\n        esac\n        ;;\n", command->max_words > 0 ? "1" : "");
}

static void print_bash(FILE *out)
{
    uint32_t n_commands, n_options;
    const struct command *commands = command_list(&n_commands);
    const struct program_option *program = program_option_list(&n_options);
    fputs("# Completion of lockstep for bash; made by: lockstep --completion bash\n"
          "_lockstep()\n"
          "{\n"
          "    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} command=${COMP_WORDS[1]}\n"
          "    local choices= options= paths=\n"
          "    local faults='",
          out);
    print_faults(out);
    fputs("'\n    local stages='", out);
    print_stages(out);
    fputs("'\n"
          "    COMPREPLY=()\n"
          "    ((COMP_CWORD == 1)) && command=\n"
          "    case $command in\n"
          "    '') choices='",
          out);
    print_command_names(out);
    for (uint32_t i = 0; i < n_options; i++) {
        fprintf(out, "%s ", program[i].name);
    }
    fputs("help' ;;\n    help | --help) choices='", out);
    print_command_names(out);
    fputs("' ;;\n", out);
    for (uint32_t i = 0; i < n_options; i++) {
        if (is_choice(program[i].value)) {
            fprintf(out, "    %s) choices='", program[i].name);
            print_choices(program[i].value, out);
            fputs("' ;;\n", out);
        }
    }
    for (uint32_t i = 0; i < n_commands; i++) {
        print_bash_command(&commands[i], out);
    }
    fputs("    esac\n"
          "    if [[ $word == -* && -n $options ]]; then\n"
          "        choices=$options paths=\n"
          "    fi\n"
          "    if [[ -n $choices ]]; then\n"
          "        mapfile -t COMPREPLY < <(compgen -W \"$choices\" -- \"$word\")\n"
          "    elif [[ -n $paths ]]; then\n"
          "        mapfile -t COMPREPLY < <(compgen -f -- \"$word\")\n"
          "        compopt -o filenames 2>/dev/null\n"
          "    fi\n"
          "    return 0\n"
          "}\n"
          "complete -F _lockstep lockstep\n",
          out);
}

/* One option for zsh's _arguments: '--on[The side that runs.]:value:(engine reference)'. */
static void print_zsh_option(const struct option *option, FILE *out)
{
    fprintf(out, " \\\n            '%s%s[", option->kind == OPTION_LIST ? "*" : "", option->name);
    print_quoted(option->help, out); /* no row's sentence holds a bracket */
    fputc(']', out);
    if (option->value != NULL) {
        fputs(":value:", out);
        if (is_path(option->value)) {
            fputs("_files", out);
        } else {
            fputc('(', out);
            if (strcmp(option->value, "FAULT") == 0) {
                print_faults(out);
            } else if (strcmp(option->value, "STAGES") == 0) {
                print_stages(out);
            } else if (is_choice(option->value)) {
                print_choices(option->value, out);
            }
            fputc(')', out);
        }
    }
    fputc('\'', out);
}

static void print_zsh_command(const struct command *command, FILE *out)
{
    struct option option;
    fprintf(out, "    %s)\n        _arguments", command->name);
    for (size_t at = 0; command_next_option(command, &at, &option);) {
        print_zsh_option(&option, out);
    }
    fputs(" \\\n            '--help[Describe the command and its options.]'", out);
    fputs(command->max_words > 0 ? " \\\n            '*:file:_files'\n        ;;\n" : "\n        ;;\n", out);
}

static void print_zsh(FILE *out)
{
    uint32_t n_commands, n_options;
    const struct command *commands = command_list(&n_commands);
    const struct program_option *program = program_option_list(&n_options);
    fputs("#compdef lockstep\n"
          "# Completion of lockstep for zsh; made by: lockstep --completion zsh\n"
          "_lockstep()\n"
          "{\n"
          "    local -a entries\n"
          "    entries=(\n",
          out);
    for (uint32_t i = 0; i < n_commands; i++) {
        fprintf(out, "        '%s:", commands[i].name);
        print_quoted(commands[i].summary, out);
        fputs("'\n", out);
    }
    for (uint32_t i = 0; i < n_options; i++) {
        fprintf(out, "        '%s:", program[i].name);
        print_quoted(program[i].help, out);
        fputs("'\n", out);
    }
    fputs("        'help:Describe the program, or a command and its options.'\n"
          "    )\n"
          "    if ((CURRENT == 2)); then\n"
          "        _describe command entries\n"
          "        return\n"
          "    fi\n"
          "    shift words\n"
          "    ((CURRENT--))\n"
          "    case $words[1] in\n"
          "    help | --help) compadd ",
          out);
    print_command_names(out);
    fputs(";;\n", out);
    for (uint32_t i = 0; i < n_options; i++) {
        if (is_choice(program[i].value)) {
            fprintf(out, "    %s) compadd ", program[i].name);
            print_choices(program[i].value, out);
            fputs(" ;;\n", out);
        }
    }
    for (uint32_t i = 0; i < n_commands; i++) {
        print_zsh_command(&commands[i], out);
    }
    fputs("    esac\n"
          "}\n"
          "_lockstep \"$@\"\n",
          out);
}

enum status completion_print(const char *shell, FILE *out, struct error *err)
{
    if (strcmp(shell, "bash") == 0) {
        print_bash(out);
    } else if (strcmp(shell, "zsh") == 0) {
        print_zsh(out);
    } else {
        return error_set(err, STATUS_USAGE, NULL, "--completion", ERROR_NO_OFFSET, "\"%s\", expected bash or zsh",
                         shell);
    }
    return STATUS_OK;
}
