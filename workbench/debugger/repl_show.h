/* What the prompt's commands share in showing things, and the commands themselves by file. */
#ifndef LOCKSTEP_WORKBENCH_DEBUGGER_REPL_SHOW_H
#define LOCKSTEP_WORKBENCH_DEBUGGER_REPL_SHOW_H

#include "workbench/debugger/repl.h"

/* The words of a command line, after the command's name. */
#define REPL_MAX_WORDS 64
struct words {
    char *word[REPL_MAX_WORDS];
    uint32_t n;
};

/* Splits a line as a shell does: blanks part words, '…' and "…" keep them together, \ takes the next character as it
 * is, a # that begins a word begins a comment. STATUS_USAGE for a quote that is not closed. Freed with words_free. */
enum status words_split(struct words *words, const char *line, struct error *err);
void words_free(struct words *words);

/* A whole number in [low, high]; what names it in the message. */
enum status words_number(const char *word, const char *what, int64_t low, int64_t high, int64_t *number,
                         struct error *err);

/* A side by the name of its source, which must be there. */
enum status words_side(struct repl *repl, const char *word, struct repl_side **side, struct error *err);

/* STAGE[@LAYER] as a step of the plan; without @LAYER the layer that ran last. layer_given may be NULL. */
enum status words_step(struct repl *repl, const char *word, uint32_t *step, bool *layer_given, struct error *err);

/* LAYER.STAGE, or STAGE[@LAYER], as a step of the plan. */
enum status words_place(struct repl *repl, const char *word, uint32_t *step, struct error *err);

/* repl_step.c: runs to step `last` of the current batch layer by layer; ends early, with repl->stopped set, where a
 * breakpoint holds. */
enum status run_to(struct repl *repl, uint32_t last, struct error *err);

/* To the end of the current token: of the whole prompt, whose positions run in batches, or of one decoded token; or of
 * the next one if it is done. A line sums up each batch. */
enum status step_token(struct repl *repl, struct error *err);

/* "layer 17 ffn_down if maxabs>100" */
const char *show_break(const struct repl *repl, const struct repl_break *point, char text[128]);
/* An introduced error, the known bugs that explain it, of the first one the symptoms too, and how to go on. */
void show_diagnosis(const struct repl *repl, const struct repl_introduced *introduced);

void info_breakpoints(const struct repl *repl);

/* One line a stage for the steps [first, last) of the current batch, with a heading where a layer begins, and before
 * the first line if wanted. */
void show_steps(struct repl *repl, uint32_t first, uint32_t last, bool heading);

/* The errors introduced from number `first` on, one line each. */
void show_introduced(const struct repl *repl, uint32_t first);

/* One line that sums up the batch that is done. */
void show_batch(struct repl *repl);

/* Text between quotes, control characters escaped, into quoted[size]. */
void show_quoted(const char *text, char *quoted, size_t size);

/* "positions 0-5 (prefill)" */
const char *show_positions(const struct repl *repl, char text[64]);

typedef enum status repl_function(struct repl *repl, const struct words *words, struct error *err);

/* repl_step.c */
repl_function repl_step, repl_restart_command, repl_where;
/* repl_move.c */
repl_function repl_run_command, repl_continue, repl_until, repl_back, repl_goto;
/* repl_break.c */
repl_function repl_break_command, repl_delete;
/* repl_patch.c */
repl_function repl_patch_command, repl_unpatch;
/* repl_engine.c */
repl_function repl_fault, repl_reload, repl_set, repl_show_settings;
/* repl_probe.c */
repl_function repl_probe, repl_probes, repl_trace, repl_log;
/* repl_load.c */
repl_function repl_load;
/* repl_plot.c */
repl_function repl_plot;
/* repl_audit.c */
repl_function repl_audit, repl_diagnose;
/* repl_values.c */
repl_function repl_print, repl_stats, repl_dump;
/* repl_diff.c */
repl_function repl_diff, repl_first;
/* repl_logits.c */
repl_function repl_logits;
/* repl_info.c */
repl_function repl_info, repl_faults;
/* repl_commands.c */
repl_function repl_help, repl_py, repl_source, repl_quit;

/* What Tab completes a word of a command to. */
enum completion {
    COMPLETE_NOTHING,
    COMPLETE_STAGES,
    COMPLETE_COMMANDS,
    COMPLETE_FAULTS,
    COMPLETE_FILES,
    COMPLETE_UNITS,
    COMPLETE_TOPICS,
    COMPLETE_RESTART,
    COMPLETE_UNTIL,
    COMPLETE_SWITCH,
    COMPLETE_RELOAD,
    COMPLETE_PROBE,
    COMPLETE_TRACE,
    COMPLETE_LOG,
    COMPLETE_LOAD,
    COMPLETE_SETTINGS,
};

/* One row a command. */
struct repl_command {
    const char *name;
    const char *args;  /* as help shows them */
    uint32_t min, max; /* words after the name */
    bool raw;          /* the rest of the line is one word, as it stands */
    const char *help;
    repl_function *function;
    enum completion completion;
};

/* The command of a name, or of the beginning of one that fits no other. NULL: none, or several. */
const struct repl_command *repl_command_by_name(const char *name);

/* The words that Tab offers: NULL-terminated, or NULL for what is no list (files). The caller frees the array, not the
 * words. */
const char **repl_candidates(enum completion completion, const char *previous_word);

#endif
