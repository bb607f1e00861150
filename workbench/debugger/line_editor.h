/* Reads lines from a terminal through readline: editing, history kept between sessions, completion. */
#ifndef LOCKSTEP_WORKBENCH_DEBUGGER_LINE_EDITOR_H
#define LOCKSTEP_WORKBENCH_DEBUGGER_LINE_EDITOR_H

#include "model/plan.h"

/* Sets up completion, of this plan's layers and stages, and reads the history file: $XDG_STATE_HOME/lockstep/history,
 * or
 * ~/.local/state/lockstep/history. */
void line_editor_begin(const struct plan *plan);

/* From now on completion is of this plan: another model was opened. */
void line_editor_set_plan(const struct plan *plan);

/* A line, which the caller frees; NULL at the end of input. Adds it to the history. Ctrl-C drops what was typed. */
char *line_editor_read(const char *prompt);

/* Writes the history file. Failures are ignored. */
void line_editor_end(void);

#endif
