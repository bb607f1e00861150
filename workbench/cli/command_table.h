/* The commands: one row each. Parser, help, man page and completion are made from these rows and from the options'. */
#ifndef LOCKSTEP_WORKBENCH_CLI_COMMAND_TABLE_H
#define LOCKSTEP_WORKBENCH_CLI_COMMAND_TABLE_H

#include "workbench/cli/command.h"
#include "workbench/cli/option_table.h"

/* The overview lists commands under these heads, in this order. */
enum command_group { GROUP_COMPARE, GROUP_RUN, GROUP_DEBUG, GROUP_INSPECT, GROUP_COUNT };
const char *command_group_name(enum command_group group); /* "Compare" */

/* What an option means in one command, where that is not what its own row says. A NULL leaves the row's text. */
struct option_meaning {
    const char *option; /* "--on"; NULL ends the list */
    const char *value, *help;
    size_t second;  /* as in struct option */
    size_t as_text; /* a field of text that the option fills here, where its own row is a flag; 0: as the row says */
};
#define COMMAND_MOST_MEANINGS 6

struct command {
    const char *name;
    enum command_group group;
    /* Words and options as a usage line orders them, but without the options' values: "MODEL [--json]". A newline
     * separates two ways to use the command. The command takes the options that stand here, and no others. */
    const char *synopsis;
    unsigned min_words, max_words; /* words that belong to no option */
    const char *summary;           /* one line of at most 66 columns */
    const char *description;       /* a paragraph */
    struct option_meaning meanings[COMMAND_MOST_MEANINGS];
    bool checks_outputs; /* the function itself: its inputs are not those of the command line alone */
    bool pages;          /* prints all at its end, through the pager if that is long */
    enum status (*function)(const struct arguments *arguments, struct error *err);
};

const struct command *command_list(uint32_t *n_commands);

/* NULL: there is none of this name. */
const struct command *command_find(const char *name);

/* Fills *option with the command's option of this name (these `length` bytes, exactly), as the command means it.
 * Returns false if the command takes no such option. */
bool command_option(const struct command *command, const char *name, size_t length, struct option *option);

/* Walks the command's options in the order of its synopsis, each once. Begin with *at = 0. Returns false at the end. */
bool command_next_option(const struct command *command, size_t *at, struct option *option);

/* What the program does without a command: `lockstep --man`. */
struct program_option {
    const char *name;  /* "--man" */
    const char *value; /* "bash|zsh"; "[COMMAND]": may be left out; NULL: none follows */
    const char *help;  /* one sentence */
    enum status (*function)(const char *value, struct error *err); /* value NULL: left out */
};
const struct program_option *program_option_list(uint32_t *n_options);

/* What the exit status says. */
struct exit_meaning {
    int status;
    const char *text;
};
const struct exit_meaning *exit_meaning_list(uint32_t *n_meanings);

#endif
