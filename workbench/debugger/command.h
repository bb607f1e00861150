/* The prompt's commands. */
#ifndef LOCKSTEP_WORKBENCH_DEBUGGER_COMMAND_H
#define LOCKSTEP_WORKBENCH_DEBUGGER_COMMAND_H

#include "workbench/debugger/command_words.h"

typedef enum status command_function(struct repl *repl, const struct words *words, struct error *err);

/* One row of command_rows.h. */
struct repl_command {
    const char *name;
    command_function *function; /* do_NAME */
    const char *args;           /* as help shows them; NULL: none */
    const char *help;           /* one or two sentences, without a full stop at the end */
    const char *example;        /* a command line; NULL: none */
    const char *completion;     /* words that Tab offers, see completion.h; NULL: none */
    uint32_t min, max;          /* number of words after the name */
    bool raw;                   /* the rest of the line is one word, as it stands */
    bool runs;                  /* runs steps: `reload` repeats it */
    bool repeats;               /* an empty line runs it again */
    bool streams;               /* prints as it goes, as those that run steps do: no pager */
};

/* Prototypes of all do_NAME. */
#define COMMAND(name, ...) command_function do_##name;
#include "workbench/debugger/command_rows.h"
#undef COMMAND

/* command_table.c: command number i in the order of help, or NULL past the last one. */
const struct repl_command *repl_command_at(uint32_t i);

/* Alias number i and what it stands for: a command, as gdb calls it. false: past the last one. */
bool repl_alias_at(uint32_t i, const char **alias, const char **command);

/* commands/help.c: prints a command's arguments, what it does and an example. */
void repl_describe_command(const struct repl_command *command);

/* Topic number i of help, or NULL past the last one. */
const char *repl_topic_at(uint32_t i);

/* The command with this name, or the only one whose name begins with it. NULL: none, or several. */
const struct repl_command *repl_command_by_name(const char *name);

/* The same; STATUS_USAGE, and what fits, where there is none or several. */
enum status repl_find_command(const char *name, const struct repl_command **command, struct error *err);

/* commands/step.c: "[op|layer|token] [N]" of step and back. */
struct unit_count {
    enum { UNIT_OP, UNIT_LAYER, UNIT_TOKEN } unit;
    int64_t n; /* ops or tokens, 1 by default; or a layer's number, -1 by default */
};
enum status parse_unit_count(const struct repl *repl, const struct words *words, int64_t most, struct unit_count *count,
                             struct error *err);

/* commands/engine.c: STATUS_USAGE if the session has no engine; what: of the command. */
enum status repl_need_engine(const struct repl *repl, const char *what, struct error *err);

/* Opens an engine with other settings, brings it to the position, and replaces the old one. On failure nothing changes.
 */
enum status repl_exchange_engine(struct repl *repl, const struct repl_settings *settings, struct error *err);

/* commands/kernel.c: set kernel [STAGE KERNEL|auto]; and the line of show. */
enum status repl_set_kernel(struct repl *repl, const struct words *words, struct error *err);
void repl_show_kernels(const struct repl_settings *settings);

/* commands/shaders.c: the folder with the GLSL, as set, or the program's own. *folder is malloc'ed. */
enum status repl_shader_folder(const struct repl *repl, char **folder, struct error *err);

/* commands/break.c: "layer 17 ffn_down if maxabs>100" */
const char *breakpoint_text(const struct repl *repl, const struct repl_breakpoint *breakpoint, char text[128]);
void print_breakpoints(const struct repl *repl);

/* commands/audit.c: prints the answer (report/answer.h) for an introduced error. */
void print_answer(const struct repl *repl, const struct repl_introduced *introduced);

/* Prints an introduced error, the known bugs that explain it, for the run's first error also its
 * symptoms, and what to try next. */
void print_diagnosis(const struct repl *repl, const struct repl_introduced *introduced);

#endif
