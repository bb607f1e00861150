/* Reading lines from a terminal: editing, history that outlives the program, completion from the command table. */
#ifndef LOCKSTEP_WORKBENCH_DEBUGGER_REPL_READLINE_H
#define LOCKSTEP_WORKBENCH_DEBUGGER_REPL_READLINE_H

/* Sets up completion and reads the history file, $XDG_STATE_HOME/lockstep/history or ~/.local/state/lockstep/history.
 */
void readline_begin(void);

/* One line, malloc'ed, added to the history; NULL at the end of input. Ctrl-C drops what was typed. */
char *readline_read(const char *prompt);

/* Writes the history file. A history that cannot be written is no reason to complain. */
void readline_end(void);

#endif
