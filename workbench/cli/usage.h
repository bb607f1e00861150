/* Help for people, made from the tables: usage lines, the overview, and the page of one command. */
#ifndef LOCKSTEP_WORKBENCH_CLI_USAGE_H
#define LOCKSTEP_WORKBENCH_CLI_USAGE_H

#include <stdio.h>

#include "workbench/cli/command_table.h"

/* One sentence: what the program is for. */
extern const char usage_purpose[];
/* What MODEL may be. */
extern const char usage_model[];

/* How to use a command, on one line, malloc'ed: "lockstep audit MODEL TRACE.h5 [--json FILE]". */
char *usage_line(const struct command *command);

/* Prints the synopsis with each option's value, starting at part *at. A part is what stands between two blanks outside
 * brackets: "[-n N | --decode-ids 4,5]". Moves *at behind it. Returns false at the end of a line of the synopsis. */
bool usage_next_part(const struct command *command, size_t *at, FILE *out);

/* `lockstep --help`. */
void usage_print_overview(FILE *out);

/* `lockstep COMMAND --help`. */
void usage_print_command(const struct command *command, FILE *out);

/* `lockstep --man`: a page for man(1), in roff with the man(7) macros. */
void manual_print(FILE *out);

/* `lockstep --completion bash` or zsh: a script that the shell reads. */
enum status completion_print(const char *shell, FILE *out, struct error *err);

#endif
