/* The words of a command line, and what they name. */
#ifndef LOCKSTEP_WORKBENCH_DEBUGGER_COMMAND_WORDS_H
#define LOCKSTEP_WORKBENCH_DEBUGGER_COMMAND_WORDS_H

#include "workbench/debugger/repl.h"

struct repl_command;

#define MAX_WORDS 64
struct words {
    const struct repl_command *command; /* what the line calls */
    char *word[MAX_WORDS];              /* after the command's name */
    uint32_t n;
};

/* Appends the words of a line, split as a shell does: blanks separate, '…' and "…" keep together, \ takes the next
 * character as it is, a # that begins a word begins a comment. STATUS_USAGE: a quote is not closed, or there are too
 * many words. The caller frees the words. */
enum status words_split(struct words *words, const char *line, struct error *err);
void words_free(struct words *words);

/* STATUS_USAGE for word i: names it and shows what the command expects. */
enum status words_refuse(const struct words *words, uint32_t i, struct error *err);

/* A whole number in [low, high]. what: its name in the message. */
enum status word_number(const char *word, const char *what, int64_t low, int64_t high, int64_t *number,
                        struct error *err);

/* A side of the run by the name of its source. */
enum status word_side(struct repl *repl, const char *word, struct repl_side **side, struct error *err);

/* STAGE[@LAYER] as a step of the plan; without @LAYER in the layer that ran last. layer_given may be NULL. */
enum status word_step(struct repl *repl, const char *word, uint32_t *step, bool *layer_given, struct error *err);

/* LAYER.STAGE, STAGE[@LAYER], or LAYER, whose last step it is, as a step of the plan. */
enum status word_place(struct repl *repl, const char *word, uint32_t *step, struct error *err);

#endif
