/* What Tab offers.
 *
 * A command's completion is a list of words: "op layer token". In place of a word may stand the name of a list, like
 * <stages>. "preset:<presets>" offers preset, and after it the presets. What stands before a / is offered for the
 * command's first word alone, what stands behind it for further ones (there "preset:<presets>" only
 * says what follows preset). After the word from, the sources are offered.
 */
#ifndef LOCKSTEP_WORKBENCH_DEBUGGER_COMPLETION_H
#define LOCKSTEP_WORKBENCH_DEBUGGER_COMPLETION_H

#include <stdbool.h>
#include <stdint.h>

#include "model/plan.h"
#include "workbench/text/suggest.h"

struct repl_command;

struct candidates {
    char **word; /* [n] that begin like the word to complete */
    uint32_t n;
    bool files;      /* names of files fit: readline completes them */
    bool open_ended; /* more characters may follow the word: @LAYER */
};

/* What completes the word that begins at `start` of a line. prefix: the word as far as it is typed. plan: only its
 * layers and stages are offered; NULL: all stages. */
void candidates_find(struct candidates *candidates, const struct plan *plan, const char *line, uint32_t start,
                     const char *prefix);
void candidates_free(struct candidates *candidates);

/* Writes which of a command's words may be meant by an unknown one, or nothing. Returns text. */
const char *candidates_suggest(const struct repl_command *command, const char *word, char text[SUGGEST_SIZE]);

#endif
