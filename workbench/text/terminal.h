/* What is known of the terminal that standard output goes to. This is the one place that asks. */
#ifndef LOCKSTEP_WORKBENCH_TEXT_TERMINAL_H
#define LOCKSTEP_WORKBENCH_TEXT_TERMINAL_H

#include <stdbool.h>

/* Columns of a line: those that were set; on a terminal $COLUMNS, or what the terminal says, or 80. 0: lines may have
 * any length, for standard output is a file or a pipe. */
unsigned terminal_width(void);

/* `set width`: a number of columns, for pipes too; 0: what the terminal has. */
void terminal_set_width(unsigned columns);
bool terminal_width_is_set(void);

/* Columns of running text: at most 80, which reads best, unless a width was set. */
unsigned terminal_text_width(void);

/* Lines that a terminal shows at once. */
unsigned terminal_height(void);

/* Whether standard output (or standard error) is a terminal. */
bool terminal_is_output(void);
bool terminal_is_error(void);

/* Whether text may be coloured: on a terminal that is not dumb, unless $NO_COLOR is set. */
bool terminal_has_colour(void);

/* The command that shows long output page by page: $PAGER, or less. NULL: none; standard output is no terminal, or a
 * dumb one, or pages are off. */
const char *terminal_pager(void);

/* `set pager on|off` */
void terminal_set_pager(bool on);
bool terminal_pager_is_on(void);

#endif
